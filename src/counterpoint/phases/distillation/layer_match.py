"""A student's layers learn from a teacher's: projections, critics and the weight of each pair (Distiller, arXiv 2109.11105).

B texts, N + 1 student and M + 1 teacher states (0 the embeddings), L tokens.
"""

from __future__ import annotations

from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from counterpoint.errors import CounterpointError
from counterpoint.models.text.critic import Critic
from counterpoint.objectives.distillation.layer_map import layer_pairs, transport_plan
from counterpoint.objectives.distillation.layer_states import state_loss
from counterpoint.objectives.distillation.mutual_information import interpolated_bound
from counterpoint.objectives.reduction import Loss

Kind = Literal["none", "mse", "ce", "cosine", "pkd", "mi"]
FIRST_TOKEN = ("pkd", "mi")
"""Kinds that look at the first token alone, so that the two may read different tokens."""


class Ranks(Protocol):
    """The part of a run that knows of other processes."""

    world: int

    def gather_constant(self, rows: Tensor) -> Tensor:
        """[n, ...] -> [N, ...] over processes, without gradient."""


class LayerMatch(nn.Module):
    """The intermediate loss with what it trains beside the student.

    Args:
        kind: of the loss. mapping: "skip", "last" or "emd".
        layers: N and M. widths: of student and teacher states.
        alpha: of "mi". seed: of projections and critics.
        hidden, out: of the critics.

    A critic is shared by all pairs of a fixed mapping, and each pair of "emd" has its own. Where widths differ, each student
    layer has a projection to the teacher's.
    """

    def __init__(
        self,
        kind: Kind,
        mapping: str,
        layers: tuple[int, int],
        widths: tuple[int, int],
        alpha: float = 0.9,
        seed: int = 0,
        hidden: int = 512,
        out: int = 64,
    ) -> None:
        super().__init__()
        self.kind, self.alpha, self.transport = kind, alpha, mapping == "emd"
        n, m = layers
        if self.transport:
            self.pairs = [(0, 0), *((i, j) for i in range(1, n + 1) for j in range(1, m + 1))]
        else:
            self.pairs = layer_pairs(mapping, n, m)
        self.sizes = layers
        self.critics, self.projections = nn.ModuleDict(), nn.ModuleDict()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if kind == "mi":
                names = [f"{i}-{j}" for i, j in self.pairs] if self.transport else ["all"]
                for name in names:
                    wide = 2 * out if name == "0-0" else out
                    self.critics[name] = Critic(widths[0], widths[1], hidden, wide)
            elif widths[0] != widths[1]:
                for i in sorted({i for i, _ in self.pairs}):
                    self.projections[str(i)] = nn.Linear(*widths)

    def forward(
        self, student_BNLd: Tensor, teacher_BMLd: Tensor, mask_BL: Tensor, ranks: Ranks, offset: int = 0
    ) -> Loss:
        """The weighted sum over pairs, an item a text.

        Args:
            student_BNLd, teacher_BMLd: states of all layers; of kinds of the first token L may differ.
            offset: of this process's rows in the global batch.
        """
        if self.kind in FIRST_TOKEN:
            student_BNLd, teacher_BMLd, mask_BL = (
                student_BNLd[:, :, :1],
                teacher_BMLd[:, :, :1],
                mask_BL[:, :1],
            )
        elif student_BNLd.shape[2] != teacher_BMLd.shape[2]:
            raise CounterpointError(
                f"loss={self.kind} compares tokens one by one, and the teacher cuts these texts into other tokens than the student; "
                f"give loss={' or '.join(FIRST_TOKEN)}"
            )
        terms = [self._pair(i, j, student_BNLd, teacher_BMLd, mask_BL, ranks, offset) for i, j in self.pairs]
        values = torch.stack([term.values for term in terms], 1)
        weights = self._weights(values, terms[0].counts, ranks).to(values)
        return Loss((values * weights).sum(1), counts=terms[0].counts)

    def _weights(self, values_BP: Tensor, counts_B: Tensor | None, ranks: Ranks) -> Tensor:
        """[P] a constant weight of each pair; by transport of the mean losses over the global batch."""
        if not self.transport:
            return torch.ones(len(self.pairs))
        counts = torch.ones_like(values_BP[:, 0]) if counts_B is None else counts_B
        every = torch.cat([values_BP.detach(), counts[:, None]], 1)
        every = ranks.gather_constant(every) if ranks.world > 1 else every
        mean = every[:, :-1].sum(0) / every[:, -1].sum().clamp(min=1)
        plan = transport_plan(mean[1:].reshape(self.sizes))
        return torch.cat([torch.ones_like(mean[:1]), plan.flatten()])

    def _pair(
        self, i: int, j: int, student: Tensor, teacher: Tensor, mask: Tensor, ranks: Ranks, offset: int
    ) -> Loss:
        s, t = student[:, i], teacher[:, j].detach()
        if self.kind == "mi":
            critic = self.critics[f"{i}-{j}" if self.transport else "all"]
            own = t[:, 0]
            every = ranks.gather_constant(own) if ranks.world > 1 else None
            scores, baseline = critic(s[:, 0], own, every)
            return Loss(-interpolated_bound(scores, baseline, self.alpha, offset))
        if str(i) in self.projections:
            s = self.projections[str(i)](s)
        return state_loss(s, t, mask, self.kind)
