"""What every training of a denoiser shares, on EDM's path or the straight one: a step's noise, its error, the averaged result.

Shapes: n rows of this rank, * the axes of a picture.
"""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass

from torch import Tensor

from counterpoint.data.pictures.load import PictureBatch, Pictures
from counterpoint.generation.diffusion import Diffusion
from counterpoint.generation.flow import squared_norm
from counterpoint.generation.pictures import as_clean, pictures
from counterpoint.models.pictures.denoiser import Denoiser
from counterpoint.models.pictures.prompts import dropped
from counterpoint.phases.pictures.flow_training import grid_prompts
from counterpoint.training import Optimizer, Run
from counterpoint.training.batches import Batch
from counterpoint.training.seeds import derive


@dataclass(frozen=True)
class NoisyRows:
    """A step's rows: pictures in [-1, 1], their noise and levels, and prompts of which some were dropped."""

    clean: Tensor
    noise: Tensor
    level: Tensor
    prompts: Tensor


def noisy_rows(batch: Batch, model: Denoiser, how: Diffusion, prompt_dropout: float) -> NoisyRows:
    """Draw noise, levels and dropped prompts for a batch of pictures."""
    items: PictureBatch = batch.items
    noise = batch.random.normal(*model.shape)
    level = how.levels(batch.random.normal())
    drop = batch.random.uniform() < prompt_dropout
    clean = as_clean(items.pixels).to(noise.dtype)
    return NoisyRows(clean, noise, level, dropped(items.prompts, drop))


def denoising_error(clean: Tensor, denoised: Tensor, level_N: Tensor, how: Diffusion) -> Tensor:
    """The weighted squared error of a picture, mean over its values; [n].

    >>> import torch
    >>> denoising_error(torch.zeros(1, 4), torch.ones(1, 4), torch.tensor([0.5]), Diffusion(path="flow")).item()
    4.0
    """
    return how.weight(level_N) * squared_norm(clean - denoised) / math.prod(clean.shape[1:])


def denoising_optimizer(learning_rate: float, warmup: float) -> Optimizer:
    """Adam, its rate rising first and then falling to 0 along a line."""
    return Optimizer(name="adam", learning_rate=learning_rate, schedule="linear", warmup=warmup, fused=True)


def drawn_result(average: Denoiser, data: Pictures, how: Diffusion, run: Run) -> Denoiser:
    """The averaged model as the result of a training, with its sampling and a grid of what it draws for each number of steps."""
    model = copy.deepcopy(average).requires_grad_(True)
    model.sampling = asdict(how)
    prompts = grid_prompts(data)
    seed = derive(run.seed, "grids") % 2**31

    def draw() -> dict[str, Tensor]:
        return {
            f"samples_{steps:03d}_steps": pictures(model, prompts, steps=steps, seed=seed, sampling=how)
            for steps in how.steps
        }

    model.grids = run.stage("grids", draw)
    return model
