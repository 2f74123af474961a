"""A text-to-image pipeline of diffusers as a denoiser of captioned pictures: its U-Net, its text encoder, its VAE, all as they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from counterpoint import library_bars
from counterpoint.errors import CounterpointError, MissingExtra
from counterpoint.models.captioned.denoiser import Denoiser, as_pictures
from counterpoint.models.pictures.diffusion import noise_of_velocity

PARTS = ("unet", "text_encoder", "tokenizer", "scheduler", "vae")


class PipelineDenoiser(Denoiser):
    """Pipelines of Stable Diffusion's form: one text encoder whose last hidden states a U-Net reads, latents of a VAE.

    Args:
        folder: with model_index.json.

    Raises:
        MissingExtra: diffusers is not installed.
        CounterpointError: a pipeline of other parts, or a scheduler that predicts something else.
    """

    def __init__(self, folder: str | Path) -> None:
        pipe = open_pipeline(folder)
        shape = (pipe.unet.config.in_channels, *_sides(pipe.unet.config.sample_size))
        super().__init__(shape, pipe.scheduler.alphas_cumprod.double())
        self.kind = str(pipe.scheduler.config.prediction_type)
        self.unet, self.text_encoder, self.vae = pipe.unet, pipe.text_encoder, pipe.vae
        self.tokenizer = pipe.tokenizer
        self.eval().requires_grad_(False)

    def read(self, captions: Sequence[str]) -> Tensor:
        """[N, L] token ids of the pipeline's own tokenizer, cut to what it reads, as the pipeline does."""
        return token_rows(self.tokenizer, captions)

    def forward(self, z_t: Tensor, t_N: Tensor, texts: Tensor) -> Tensor:
        """See ``Denoiser``; the captions' states carry no gradient."""
        with torch.no_grad():
            states = self.text_encoder(texts)[0]
        answer = self.unet(z_t.to(states.dtype), t_N, encoder_hidden_states=states).sample.to(z_t.dtype)
        return answer if self.kind == "epsilon" else noise_of_velocity(z_t, answer, self._of(t_N, z_t))

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """The VAE's mean latents times its scale."""
        scale = 2 ** (len(self.vae.config.block_out_channels) - 1)
        full = as_pictures(
            pixels, (self.vae.config.in_channels, scale * self.shape[1], scale * self.shape[2])
        )
        return self.vae.encode(full.to(self.vae.dtype)).latent_dist.mean * self.vae.config.scaling_factor


def open_pipeline(folder: str | Path) -> Any:
    """A pipeline of Stable Diffusion's form whose scheduler knows its noise, and predicts noise or velocity.

    Raises:
        MissingExtra: diffusers is not installed.
        CounterpointError: a pipeline of other parts, or a scheduler that predicts something else.
    """
    try:
        from diffusers import DiffusionPipeline
    except ImportError:
        raise MissingExtra("diffusers", "diffusion") from None
    library_bars.hide("diffusers", "transformers")
    pipe: Any = DiffusionPipeline.from_pretrained(str(folder), local_files_only=True)
    lacking = [name for name in PARTS if getattr(pipe, name, None) is None]
    if lacking or getattr(pipe, "text_encoder_2", None) is not None:
        why = f"has no {', '.join(lacking)}" if lacking else "has two text encoders"
        raise CounterpointError(
            f"{folder}: {type(pipe).__name__} {why}; expected a pipeline of Stable Diffusion's form (versions 1 and 2): {', '.join(PARTS)}"
        )
    kind = str(pipe.scheduler.config.prediction_type)
    if kind not in ("epsilon", "v_prediction"):
        raise CounterpointError(
            f"{folder}: its scheduler predicts '{kind}'; expected 'epsilon' or 'v_prediction'"
        )
    return pipe


def token_rows(tokenizer: Any, texts: Sequence[str]) -> Tensor:
    """[N, L] token ids of a pipeline's tokenizer, cut to what it reads, as the pipeline does."""
    rows = tokenizer(
        list(texts),
        padding="max_length",
        truncation=True,
        max_length=tokenizer.model_max_length,
        return_tensors="pt",
    )
    ids: Tensor = rows.input_ids
    return ids


def _sides(sample: int | Sequence[int]) -> tuple[int, int]:
    return (sample, sample) if isinstance(sample, int) else (int(sample[0]), int(sample[1]))
