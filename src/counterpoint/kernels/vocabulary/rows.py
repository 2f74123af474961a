"""Statistics of whole vocabulary rows in owned buffers: the value, then the buffer turned in place into the gradient.

A buffer holds logits divided by the temperature, [n, V]. Work goes over it in tiles that stay in cache, so the only
temporaries are tile-sized. Every gradient has the form ``e - S sum(e)``, e the derivative by log S up to multiples of S.
Rows with logits of -inf take the plain formulas, where 0 log 0 = 0 is spelt out.
Axes: n rows of one chunk, V vocabulary, K values per row.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from counterpoint.kernels.config import tile_elements
from counterpoint.kernels.divergence_rows import Kind, near_end, row_divergence, row_terms
from counterpoint.kernels.mixture_rows import log_gap
from counterpoint.kernels.vocabulary.projection import Projection

RowIndex = slice | Tensor


class RowStatistic(Protocol):
    """What a streaming pass computes for every row.

    Attributes:
        extra_buffers: how many [n, V] buffers it needs besides the student's.
    """

    extra_buffers: int

    @property
    def width(self) -> int:
        """K."""
        ...

    def __call__(self, z: Tensor, rows: RowIndex, spare: Tensor | None, upstream: Tensor | None) -> Tensor:
        """Return the values [n, K]; with upstream [n, K], overwrite z with the gradient by z."""
        ...


def tiles(z: Tensor) -> Iterator[slice]:
    """Split the vocabulary so that one tile of all rows stays in cache."""
    width = max(256, tile_elements(z.device.type) // max(len(z), 1))
    for start in range(0, z.shape[1], width):
        yield slice(start, min(start + width, z.shape[1]))


class Normaliser(NamedTuple):
    """The log-normaliser of each row as maximum and remainder, [n, 1] each: their sum alone would lose digits of z."""

    top: Tensor
    rest: Tensor

    def into(self, part: Tensor) -> Tensor:
        """Turn logits into log-probabilities, in place."""
        return part.sub_(self.top).sub_(self.rest)

    def probs(self, part: Tensor) -> Tensor:
        """Return the probabilities of a tile."""
        return (part - self.top).sub_(self.rest).exp_()


def normaliser(z: Tensor) -> Normaliser:
    """Return the log-normaliser of each row."""
    return _normaliser(z)[0]


def _normaliser(z: Tensor) -> tuple[Normaliser, bool]:
    """Return the log-normalisers and whether some logit is -inf, reading each tile from memory once."""
    lowest = torch.finfo(z.dtype).min
    tops, sums, bottoms = [], [], []
    for tile in tiles(z):
        part = z[:, tile]
        tops.append(part.amax(1, keepdim=True).clamp_(min=lowest))
        bottoms.append(part.amin(1, keepdim=True))
        sums.append((part - tops[-1]).exp_().sum(1, keepdim=True))
    here = torch.cat(tops, 1)
    top = here.amax(1, keepdim=True)
    total = torch.cat(sums, 1).mul_((here - top).exp_()).sum(1, keepdim=True)
    return Normaliser(top, total.log_()), bool((torch.cat(bottoms, 1) == -math.inf).any())


@dataclass
class PickedLogProbs:
    """Log-probabilities of K given entries per row; the entropy [N] and the likeliest entry's log-probability [N] where wanted."""

    ids: Tensor
    entropy: Tensor | None = None
    extra_buffers: int = 0
    peak: Tensor | None = None

    @property
    def width(self) -> int:
        """K."""
        return self.ids.shape[1]

    def __call__(self, z: Tensor, rows: RowIndex, spare: Tensor | None, upstream: Tensor | None) -> Tensor:
        """Gradient: ``sum_k g_k (onehot_k - S)``."""
        ids = self.ids[rows]
        norm = normaliser(z)
        values = norm.into(z.gather(1, ids))
        if self.peak is not None:
            self.peak[rows] = norm.rest.squeeze(1).neg()
        if self.entropy is None and upstream is None:
            return values
        mean = torch.zeros_like(norm.top)
        total = None if upstream is None else upstream.sum(1, keepdim=True).neg_()
        for tile in tiles(z):
            part = z[:, tile]
            probs = norm.probs(part)
            if self.entropy is not None:
                depth = (part - norm.top).clamp_(min=torch.finfo(z.dtype).min)
                mean += torch.linalg.vecdot(probs, depth).unsqueeze(1)
            if total is not None:
                torch.mul(probs, total, out=part)
        if self.entropy is not None:
            self.entropy[rows] = (norm.rest - mean).squeeze(1)
        if upstream is not None:
            z.scatter_add_(1, ids, upstream)
        return values


@dataclass
class RowEntropy:
    """Entropy in nats, ``-sum S log S``; gradient ``-S (log S + entropy)``."""

    extra_buffers: int = 0
    width: int = 1

    def __call__(self, z: Tensor, rows: RowIndex, spare: Tensor | None, upstream: Tensor | None) -> Tensor:
        """One value per row."""
        normaliser(z).into(z).clamp_(min=torch.finfo(z.dtype).min / 4)
        value = z.new_zeros(len(z), 1)
        for tile in tiles(z):
            value -= torch.linalg.vecdot(z[:, tile].exp(), z[:, tile]).unsqueeze(1)
        if upstream is not None:
            for tile in tiles(z):
                part = z[:, tile]
                probs = part.exp().mul_(upstream.neg())
                part.add_(value).mul_(probs)
        return value


@dataclass
class TopEntries:
    """Ids of the K largest scores, as numbers of the scores' type; no gradient."""

    width: int
    extra_buffers: int = 0

    def __call__(self, z: Tensor, rows: RowIndex, spare: Tensor | None, upstream: Tensor | None) -> Tensor:
        """[n, K] ids."""
        return z.topk(self.width, dim=1).indices.to(z.dtype)


@dataclass
class RowDivergence:
    """Divergence from a constant teacher."""

    teacher: Projection
    kind: Kind
    extra_buffers: int = 1
    width: int = 1

    def __call__(self, z: Tensor, rows: RowIndex, spare: Tensor | None, upstream: Tensor | None) -> Tensor:
        """One value per row."""
        assert spare is not None
        t = self.teacher.logits(rows, out=spare)
        (norm_s, zeros_s), (norm_t, zeros_t) = _normaliser(z), _normaliser(t)
        if zeros_s or zeros_t:
            return self._careful(norm_s.into(z), norm_t.into(t), upstream)
        value, inner = z.new_zeros(len(z), 1), z.new_zeros(len(z), 1)
        form = self._forward if self.kind.name == "forward" else self._centred
        for tile in tiles(z):
            form(norm_s.into(z[:, tile]), norm_t.into(t[:, tile]), value, inner, upstream is not None)
        if upstream is None:
            return value
        if self.kind.name == "forward":
            return value if _is_one(upstream) else (z.mul_(upstream), value)[1]
        inner.mul_(upstream).neg_()
        for tile in tiles(z):
            # z holds S and t holds e.
            z[:, tile].mul_(inner).addcmul_(t[:, tile], upstream)
        return value

    def _forward(self, s: Tensor, t: Tensor, value: Tensor, inner: Tensor, gradient: bool) -> None:
        probs = t.exp()
        value += torch.linalg.vecdot(t.sub_(s), probs).unsqueeze(1)
        if gradient:
            s.exp_().sub_(probs)

    def _centred(self, s: Tensor, t: Tensor, value: Tensor, inner: Tensor, gradient: bool) -> None:
        """Add a tile to the value; leave S in s and e in t, and add ``sum(e)`` to inner."""
        name, x, tiny = self.kind.name, self.kind.parameter, torch.finfo(s.dtype).tiny
        dot = torch.linalg.vecdot
        probs = s.exp()
        if near_end(self.kind):
            terms, t_e = _near_end(s, t, self.kind)
            value += terms.sum(1, keepdim=True)
            t.copy_(t_e)
        elif name == "reverse":
            torch.sub(s, t, out=t).mul_(probs)
            value += t.sum(1, keepdim=True)
        elif name == "jeffreys":
            teacher = t.exp()
            torch.sub(s, t, out=t)
            value += dot(t, probs - teacher).unsqueeze(1)
            t.mul_(probs).sub_(teacher)
        elif name in ("jsd", "skewed_forward", "skewed_reverse"):
            teacher = t.exp()
            share_t = x if name != "skewed_reverse" else 1 - x
            log_mix = torch.mul(probs, 1 - share_t).add_(teacher, alpha=share_t).clamp_(min=tiny).log_()
            if name == "skewed_forward":
                value += dot(t.sub_(log_mix), teacher).unsqueeze(1)
                torch.mul(log_mix.neg_().exp_(), teacher, out=t).mul_(probs).mul_(-(1 - share_t))
            elif name == "jsd":
                value += dot(t.sub_(log_mix), teacher).unsqueeze(1).mul_(x)
                torch.sub(s, log_mix, out=t).mul_(probs).mul_(1 - x)
                value += t.sum(1, keepdim=True)
            else:
                torch.sub(s, log_mix, out=t)
                value += dot(t, probs).unsqueeze(1)
                t.sub_(log_mix.neg_().exp_().mul_(probs).mul_(1 - share_t)).mul_(probs)
        elif name == "tv":
            gap = probs - t.exp_()
            value += gap.abs().sum(1, keepdim=True).mul_(0.5)
            torch.mul(gap.sign_(), probs, out=t).mul_(0.5)
        elif name == "alpha":
            # The powers less P, as in ``divergence_rows``: near 0 and 1 the powers alone would cancel.
            near_s = x < 0.5
            log_p = s if near_s else t.clone()
            t.sub_(s).mul_(x if near_s else x - 1)
            base = probs if near_s else log_p.exp()
            steep = t > 1
            excess = torch.where(steep, (log_p + t).exp_() - base, t.clamp_(max=1).expm1_().mul_(base))
            value += excess.sum(1, keepdim=True).div_(x * (x - 1))
            torch.mul(excess if near_s else excess.add_(base), -1 / x, out=t)
        elif name == "hellinger":
            root_s, root_t = (s * 0.5).exp_(), t.mul_(0.5).exp_()
            value += (root_s - root_t).square_().sum(1, keepdim=True).mul_(0.5)
            t.mul_(root_s).mul_(-0.5)
        if gradient:
            inner += t.sum(1, keepdim=True)
            s.copy_(probs)

    def _careful(self, s: Tensor, t: Tensor, upstream: Tensor | None) -> Tensor:
        """Row by row through the plain formulas, gradient by log S first and then through the softmax."""
        values = s.new_zeros(len(s), 1)
        for i in range(len(s)):
            with torch.enable_grad():
                leaf = s[i].clone().requires_grad_()
                value = row_divergence(leaf.log_softmax(-1), t[i], self.kind)
            values[i] = value.detach()
            if upstream is not None:
                s[i] = torch.autograd.grad(value, leaf)[0] * upstream[i]
        return values


def _near_end(s: Tensor, t: Tensor, kind: Kind) -> tuple[Tensor, Tensor]:
    """(addends, e) as in ``RowDivergence``, where one of both rows all but is the mixture; what e drops is a multiple of S."""
    terms = row_terms(s, t, kind)
    x, teacher, probs = kind.parameter, t.exp(), s.exp()
    share_t = 1 - x if kind.name == "skewed_reverse" else x
    mix = torch.mul(probs, 1 - share_t).add_(teacher, alpha=share_t).clamp_(min=torch.finfo(s.dtype).tiny)
    if kind.name == "skewed_forward":
        return terms, (1 - x) ** 2 * probs * (probs - teacher) / mix
    if kind.name == "skewed_reverse":
        return terms, terms - (1 - x) ** 2 * teacher * (teacher - probs) / mix
    return terms, (1 - x) * probs * (-log_gap(s, t, x) if x < 0.5 else s - mix.log())


def _is_one(upstream: Tensor) -> bool:
    return bool((upstream == 1).all())
