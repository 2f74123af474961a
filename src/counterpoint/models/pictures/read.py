"""A denoiser that is also contrasted: what it reads of itself goes through two small heads, which are set aside afterwards.

The projector is of the teacher, too; the predictor is the student's alone (MoCo v3 2104.02057). Shapes: N pictures, D of z, P of a
projection.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from counterpoint.models.pictures.denoiser import Denoiser


class Read(nn.Module):
    """A denoiser with a projector and a predictor on z.

    Args:
        denoiser: one that reads a layer, see ``Denoiser.read_at``.
        hidden, dim: widths of the heads.
        norm: "batch", normalised over the batch as MoCo v3's; "none".
        seed: of the heads' initial weights.
    """

    def __init__(
        self, denoiser: Denoiser, hidden: int, dim: int, norm: Literal["batch", "none"], seed: int
    ) -> None:
        super().__init__()
        self.denoiser = denoiser
        given = denoiser.state_width(denoiser.tap)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.projector, self.predictor = head(given, hidden, dim, norm), head(dim, hidden, dim, norm)

    def forward(
        self, x_NCHW: Tensor, t_N: Tensor, prompts: Tensor, predicted: bool = True
    ) -> tuple[Tensor, Tensor]:
        """The denoiser's output [N, C, H, W], and q [N, P], or k without the predictor."""
        trace = self.denoiser.traced(x_NCHW, t_N, prompts)
        assert trace.z is not None
        projected = self.projector(trace.z)
        return trace.output, self.predictor(projected) if predicted else projected


def head(given: int, hidden: int, dim: int, norm: Literal["batch", "none"]) -> nn.Sequential:
    """Two layers."""
    if norm == "none":
        return nn.Sequential(nn.Linear(given, hidden), nn.ReLU(), nn.Linear(hidden, dim))
    first = nn.Linear(given, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU()
    return nn.Sequential(*first, nn.Linear(hidden, dim, bias=False), nn.BatchNorm1d(dim, affine=False))
