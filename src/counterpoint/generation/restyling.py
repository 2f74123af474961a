"""Pictures through a restyler: uint8 in and out, of any size, in pieces, with each domain's prompts in turn."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError, nearest
from counterpoint.generation.pictures import as_clean, as_pixels
from counterpoint.models import passes

CHUNK = 64
DOMAINS = ("plain", "styled")


@torch.no_grad()
def restyled(model: Any, pixels: Tensor, towards: str = "styled", prompt: int = 0) -> Tensor:
    """Bring pictures into a domain.

    Args:
        model: a ``models.styles.restyler.Restyler``, or whatever has its call and ``prompts``.
        pixels: [N, C, H, W] uint8. towards: "styled" stylises, "plain" takes the style off.
        prompt: the number of the domain's prompt.

    Returns:
        [N, C, H, W] uint8 on the CPU.

    Raises:
        CounterpointError: another domain, or a prompt that there is not.
    """
    if towards not in DOMAINS:
        raise CounterpointError(f"towards='{towards}'; {nearest(towards, DOMAINS)}")
    if not 0 <= prompt < len(model.prompts[towards]):
        raise CounterpointError(
            f"prompt {prompt}; the model has {len(model.prompts[towards])} {towards} prompts, counted from 0"
        )
    first, training = next(model.parameters()), model.training
    model.eval()
    try:
        made = []
        for rows in passes.over(range(len(pixels)), CHUNK):
            x = as_clean(pixels[list(rows)]).to(first.device, first.dtype)
            numbers = torch.full((len(x),), prompt, device=first.device)
            made.append(as_pixels(model(x, numbers, towards)).cpu())
    finally:
        model.train(training)
    return torch.cat(made) if made else pixels[:0]
