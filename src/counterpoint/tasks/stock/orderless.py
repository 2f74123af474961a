"""What the case of digit pairs starts from: two towers that know digits and not their order, and a denoiser that knows both.

"orderless" is a small CLIP taught for 450 steps with captions whose order is drawn by chance. "digit-pairs" is a caption denoiser taught
for 800 steps with the captions as they are. Each is taught in under a minute on first use, then kept in the cache.
"""

from __future__ import annotations

import inspect
from pathlib import Path

import torch

from counterpoint.data.captioned.digit_pairs import digit_pairs
from counterpoint.data.captioned.items import CaptionedSet
from counterpoint.generation.flow import noisy
from counterpoint.models.captioned.clip import TwoTowers, load_towers, open_towers
from counterpoint.models.captioned.denoiser import CaptionDenoiser, small_denoiser
from counterpoint.objectives.contrast.infonce import symmetric_info_nce
from counterpoint.tasks.stock.stored import stored_as

NAME = "orderless"
DENOISER = "digit-pairs"


def load(seed: int) -> TwoTowers:
    """Return the towers of a seed, taught now or taken from the cache."""
    identity = f"{seed}/{inspect.getsource(towers)}{inspect.getsource(digit_pairs)}"

    def save(model: TwoTowers, folder: Path) -> None:
        model.save_pretrained(folder)

    return stored_as("captioned", NAME, identity, lambda: towers(seed), save, open_towers)


def load_denoiser() -> CaptionDenoiser:
    """Return the denoiser, taught now or taken from the cache."""
    identity = f"{inspect.getsource(denoiser)}{inspect.getsource(digit_pairs)}"

    def save(model: CaptionDenoiser, folder: Path) -> None:
        model.save_pretrained(folder)

    return stored_as("captioned", DENOISER, identity, denoiser, save, CaptionDenoiser.from_pretrained)


def towers(seed: int, *, steps: int = 450, batch_size: int = 32, learning_rate: float = 1e-3) -> TwoTowers:
    """Teach a fresh small CLIP which digits occur; the same weights for the same seed.

    Args:
        seed: of the weights, the pairs and the batches. steps, batch_size, learning_rate: of the training.
    """
    data = digit_pairs(order="random", seed=seed + 1000).train
    model = load_towers("clip-small", (1, 16, 16), _texts(data), seed=seed).train()
    ids, g = model.read(_texts(data)), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    for _ in range(steps):
        rows = torch.randint(len(data), (batch_size,), generator=g)
        images, texts = model(data.pixels[rows], ids[rows])
        loss = symmetric_info_nce(images, texts, temperature=model.temperature()).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def denoiser(*, steps: int = 800, batch_size: int = 128, learning_rate: float = 2e-3) -> CaptionDenoiser:
    """Teach a fresh denoiser the pairs and their captions by flow matching.

    Args:
        steps, batch_size, learning_rate: of the training; the rate falls to 0.
    """
    data = digit_pairs(seed=2000).train
    model = small_denoiser((1, 16, 16), _texts(data), patch=16, width=192).train()
    ids, clean, g = model.read(_texts(data)), model.encode(data.pixels), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * (1 - step / steps)
        rows = torch.randint(len(data), (batch_size,), generator=g)
        t, noise = torch.rand(batch_size, generator=g), torch.randn(batch_size, *model.shape, generator=g)
        answer = model.velocity(noisy(clean[rows], noise, t), t, ids[rows])
        loss = (answer - (noise - clean[rows])).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def _texts(data: CaptionedSet) -> list[str]:
    return [row[0] for row in data.captions]
