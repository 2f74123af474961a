"""What every training of a flow on pictures shares: a step's noise, times and dropped prompts; the average that is kept; grids.

Shapes: n rows of this rank, * the axes of a picture.
"""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from counterpoint.data.pictures.load import PictureBatch, Pictures
from counterpoint.errors import CounterpointError
from counterpoint.generation.flow import noisy, shift_of, training_times
from counterpoint.generation.flow_sampler import Sampling
from counterpoint.generation.pictures import as_clean, pictures
from counterpoint.models.pictures.denoiser import COLUMNS, Denoiser
from counterpoint.models.pictures.prompts import dropped, no_prompt
from counterpoint.teachers.ema import Ema
from counterpoint.training import Optimizer, Run
from counterpoint.training.batches import Batch
from counterpoint.training.seeds import derive

BETAS = (0.9, 0.95)
ROWS = 8
"""Prompts of a grid, at most."""


@dataclass(kw_only=True)
class Times:
    """At which times a flow is trained.

    Attributes:
        shift: mu; None goes by the number of the picture's patches.
        earliest, latest: what times are clamped to; the weight 1/t^2 is infinite at 0.
    """

    shift: float | None = None
    earliest: float = 0.02
    latest: float = 0.995

    def check(self) -> None:
        """Refuse an interval outside of (0, 1].

        Raises:
            CounterpointError: with both ends.
        """
        if not 0 < self.earliest < self.latest <= 1:
            raise CounterpointError(
                f"times.earliest={self.earliest} and times.latest={self.latest}; expected 0 < earliest < latest <= 1"
            )

    def of(self, normal_N: Tensor, model: Denoiser) -> Tensor:
        """Times from standard normal draws."""
        mu = shift_of(model.patches) if self.shift is None else self.shift
        return training_times(normal_N, mu, self.earliest, self.latest)


@dataclass(frozen=True)
class FlowRows:
    """A step's rows: pictures x_0 in [-1, 1], x_t at times t, prompts of which some were dropped, and which ask for something."""

    clean: Tensor
    noisy: Tensor
    t: Tensor
    prompts: Tensor
    dropped: Tensor
    fakes: Tensor | None


def flow_rows(batch: Batch, model: Denoiser, times: Times, prompt_dropout: float) -> FlowRows:
    """Draw noise, times and dropped prompts for a batch of pictures."""
    items: PictureBatch = batch.items
    noise = batch.random.normal(*model.shape)
    clean = as_clean(items.pixels).to(noise.dtype)
    t = times.of(batch.random.normal(), model)
    drop = batch.random.uniform() < prompt_dropout
    return FlowRows(clean, noisy(clean, noise, t), t, dropped(items.prompts, drop), drop, items.fakes)


def require_shares(key: str, **shares: float) -> None:
    """Refuse settings that are no shares.

    Raises:
        CounterpointError: one that is not from 0 to 1, with its value.
    """
    for name, value in shares.items():
        if not 0 <= value <= 1:
            raise CounterpointError(f"{key}: {name}={value}; expected a number from 0 to 1")


def average_of(model: Denoiser, run: Run) -> Ema[Denoiser]:
    """The moving average that is sampled from and kept; registered with the run."""
    average: Ema[Denoiser] = run.state(average=Ema(model, 1.0))
    return average


def follow(average: Ema[Denoiser], model: torch.nn.Module, decay: float, step: int) -> None:
    """Let the average follow after step ``step``, counted from 0, faster in the first ones: at most (1 + step) / (10 + step)."""
    average.decay = min(decay, (1 + step) / (10 + step))
    average.follow(model)


def flow_optimizer(learning_rate: float, warmup: float) -> Optimizer:
    """Adam with the paper's averages, its rate falling to 0 along a line."""
    return Optimizer(
        name="adam", learning_rate=learning_rate, betas=BETAS, schedule="linear", warmup=warmup, fused=True
    )


def averaged_result(average: Ema[Denoiser], data: Pictures, sampling: Sampling, run: Run) -> Denoiser:
    """The averaged model as the result of a training, with its sampling and grids of what it draws.

    A grid for each number of steps, and a second one without guidance where there is any: a row a prompt (at most eight, spread
    over the training data's), each with eight pictures of fixed noise.
    """
    model = copy.deepcopy(average.model).requires_grad_(True)
    model.sampling = asdict(sampling)
    prompts = grid_prompts(data)
    ways = {"": sampling}
    if sampling.guidance != 1:
        ways["_without_guidance"] = Sampling(**{**asdict(sampling), "guidance": 1.0})
    seed = derive(run.seed, "grids") % 2**31

    def draw() -> dict[str, Tensor]:
        return {
            f"samples_{steps:03d}_steps{name}": pictures(model, prompts, steps=steps, seed=seed, sampling=how)
            for name, how in ways.items()
            for steps in sampling.steps
        }

    model.grids = run.stage("grids", draw)
    return model


def grid_prompts(data: Pictures) -> Tensor:
    """The prompts of a grid, row by row: each of its rows eight times."""
    if data.by == "classes":
        rows = torch.arange(min(len(data.names), ROWS))
    elif data.by == "captions":
        rows = data.train.prompts[torch.linspace(0, len(data.train) - 1, ROWS).long()]
    else:
        rows = no_prompt(torch.zeros(ROWS, dtype=torch.long))
    return rows.repeat_interleave(COLUMNS, 0)
