"""A small frozen text encoder, whose projections can be adapted to each of two domains.

Words are rows of a fixed random table by their hash, so that there is no vocabulary to bring along; two layers of attention follow.
Nothing of it was trained: it tells words apart, and says nothing of what they mean. A pretrained encoder comes with a pipeline's folder.
Shapes: P prompts, L words, D dimensions.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from counterpoint.models.styles.adapted import Mode, TwoAdapters
from counterpoint.models.styles.domains import Domain

ROWS, LONGEST = 1024, 32
PROJECTIONS = ("q", "k", "v", "out")


class Layer(nn.Module):
    """Attention of one head and a network, after normalisations."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in PROJECTIONS)
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, h_PLD: Tensor, mask_PL: Tensor, domain: Domain) -> Tensor:
        """[P, L, D] -> [P, L, D]."""

        def projected(name: str, value: Tensor) -> Tensor:
            layer = getattr(self, name)
            result: Tensor = layer(value, domain) if isinstance(layer, TwoAdapters) else layer(value)
            return result

        seen = self.first(h_PLD)
        q, k, v = (projected(name, seen) for name in ("q", "k", "v"))
        scores = (q @ k.transpose(1, 2)) / q.shape[-1] ** 0.5
        weights = scores.masked_fill(~mask_PL[:, None, :], float("-inf")).softmax(-1)
        h_PLD = h_PLD + projected("out", weights @ v)
        return h_PLD + self.mlp(self.second(h_PLD))


class PromptEncoder(nn.Module):
    """Prompts to vectors; frozen but for adapters.

    Args:
        width: D. depth: layers.
    """

    def __init__(self, width: int = 16, depth: int = 2) -> None:
        super().__init__()
        self.width = width
        self.words = nn.Embedding(ROWS, width)
        self.positions = nn.Parameter(0.5 * torch.randn(LONGEST, width))
        self.layers = nn.ModuleList(Layer(width) for _ in range(depth))
        self.requires_grad_(False)

    def adapt(self, mode: Mode, rank: int, scale: float) -> None:
        """Give every projection its adapters, in place of those that it has."""
        for layer in self.layers:
            for name in PROJECTIONS:
                present = getattr(layer, name)
                plain = present.linear if isinstance(present, TwoAdapters) else present
                setattr(layer, name, plain if mode == "frozen" else TwoAdapters(plain, rank, scale, mode))

    def forward(self, prompts: Sequence[str], domain: Domain) -> Tensor:
        """[P, D], the mean over words of the last layer, for ``domain``."""
        ids, mask = word_rows(prompts, self.positions.device)
        h_PLD = self.words(ids) + self.positions[: ids.shape[1]]
        for layer in self.layers:
            h_PLD = layer(h_PLD, mask, domain)
        words = mask[..., None].to(h_PLD.dtype)
        return (h_PLD * words).sum(1) / words.sum(1)


def word_rows(prompts: Sequence[str], device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Rows of the table [P, L] and which of them are words; the first 32 words, in lower case.

    >>> ids, mask = word_rows(["A photo", "a photo of tea"])
    >>> torch.equal(ids[0, :2], ids[1, :2]), mask.tolist()
    (True, [[True, True, False, False], [True, True, True, True]])
    """
    rows = [
        [zlib.crc32(word.encode()) % ROWS for word in text.lower().split()[:LONGEST]] or [0]
        for text in prompts
    ]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=device)
    mask = torch.tensor([[True] * len(row) + [False] * (longest - len(row)) for row in rows], device=device)
    return ids, mask


def cosines(plain_PD: Tensor, styled_QD: Tensor) -> tuple[float, float]:
    """The mean cosine of prompts within the domains, and between them; within is NaN where no domain has two prompts."""
    sides = [functional.normalize(each.double(), dim=1) for each in (plain_PD, styled_QD)]
    pairs = [(each @ each.T)[torch.triu(torch.ones(len(each), len(each)), 1).bool()] for each in sides]
    return float(torch.cat(pairs).mean()), float((sides[0] @ sides[1].T).mean())
