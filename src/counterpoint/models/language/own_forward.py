"""Whether hidden states and head give what a model's own forward gives, tried once on a few tokens.

Knows: which output transforms configurations declare, which passes a model may need. Does not know: tokenizers, losses.
What does not agree is run through the model's own forward or without padding or without a cache, with a warning; a model
whose log-probabilities cannot be had in any of these ways is refused. B rows, L positions, D width, V vocabulary.
"""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.kernels.evaluating import evaluating
from counterpoint.kernels.prefix.cache_names import select_rows

logger = logging.getLogger("counterpoint")

LENGTH = 8
"""Tokens of the trial."""
FOREIGN = (
    AssertionError,
    AttributeError,
    IndexError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What a model of another's making raises over a pass that it was not made for."""


@dataclass(frozen=True)
class Pass:
    """How a model is run so that its scores are those of its own forward.

    Attributes:
        whole: through the model with its head, whose input is read off; False: through the model without its head.
        scale: factor on the logits.
        softcap: None, or the bound c in ``c * tanh(z / c)``.
        positions: whether position ids, counted without padding, are handed over.
        padded: whether rows of unequal length go together behind a mask; else those of one length do.
        cached: whether decoding keeps keys and values (or a recurrent state); else every step reads the whole row.
    """

    whole: bool = False
    scale: float = 1.0
    softcap: float | None = None
    positions: bool = True
    padded: bool = True
    cached: bool = True

    @property
    def fast(self) -> bool:
        """Whether nothing had to be given up: no logits that nobody reads, no row alone, no token read twice."""
        return not self.whole and self.padded and self.cached

    def given_up(self) -> list[str]:
        """What is slower than usual, in words."""
        lines = []
        if self.whole:
            lines.append("its whole forward runs, logits included")
        if not self.padded:
            lines.append("rows go together only where their lengths are equal")
        if not self.cached:
            lines.append("sampling reads the whole row again for every token")
        return lines


class Scored(Protocol):
    """What is tried here: a language model whose way of running can be set."""

    runs: Pass

    @property
    def base(self) -> Any:
        """The transformers model with its head."""

    def logits(self, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """[B, L, V] by hidden states and head."""

    def decode(self, ids_BL: Tensor, mask_BL: Tensor, cache: Any = None) -> tuple[Tensor, Any]:
        """One decoding step."""


@torch.no_grad()
def settle(model: Scored, few: bool = False) -> Pass:
    """Return how the model must be run; a warning, once, where that is not the fast way.

    Args:
        model: is tried. few: with fewer passes, since each reads all weights from disk: rows go together that could go apart, and
            two tokens are decoded, not four.

    Raises:
        CounterpointError: not a causal model of one head over tokens, or one whose scores cannot be had.
    """
    base = model.base
    name = type(base).__name__
    device = next(base.parameters()).device
    if device.type == "meta":
        return Pass()
    with evaluating(base):
        ids = trial_tokens(base, device, name)
        own = _own_logits(base, ids, name, few)
        chosen = _scores(model, ids, own)
        if chosen is None:
            raise CounterpointError(
                f"{name}: the scores of its own forward are not its output layer's, by any scale or soft-cap that its "
                "configuration declares, so no log-probability would be right; give another causal language model"
            )
        bound, padding = _bound(own), lambda: _behind_padding(model, ids, own)
        chosen = replace(chosen, padded=_agrees(model, chosen, padding, bound))
        chosen = replace(
            chosen, cached=_agrees(model, chosen, lambda: _step_by_step(model, ids, own, few), bound)
        )
    if not chosen.fast:
        _say(f"{name} takes the plain path: {'; '.join(chosen.given_up())}")
    return chosen


def _own_logits(base: Any, ids: Tensor, name: str, few: bool) -> Tensor:
    """[2, L, V] of the model's own forward, after it has been seen to be a causal one."""

    def call(given: Tensor) -> Tensor:
        return base(input_ids=given, use_cache=False).logits

    cut = LENGTH // 2 + 1
    # Other tokens from there on, and as many: what stands before is the same but for the last bits.
    other = torch.cat([ids[:, :cut], ids.flip(0)[:, cut:]], 1)
    try:
        if few:
            own, again, ahead = call(torch.cat([ids, ids, other])).chunk(3)
        else:
            own, again, ahead = call(ids), call(ids), call(other)
        start, ahead = call(ids[:, :cut]), ahead[:, :cut]
    except FOREIGN as error:
        raise CounterpointError(
            f"{name} does not run on token ids alone ({_in_short(error)}); "
            "give a decoder-only language model, or an image-text model whose text can go without images"
        ) from None
    if own.shape[:2] != ids.shape or own.dim() != 3:
        raise CounterpointError(
            f"{name} gives logits of shape {tuple(own.shape)} for {tuple(ids.shape)} tokens; expected one head over the "
            "vocabulary, [rows, positions, vocabulary]"
        )
    bound = _bound(own)
    if not _close(own, again, bound):
        raise CounterpointError(
            f"{name} gives different logits for the same tokens, so a log-probability would mean nothing"
        )
    bits = bound / 100 if own.dtype in (torch.float32, torch.float64) else bound
    if not _close(own[:, :cut], start, bound) or not _close(own[:, :cut], ahead, bits):
        raise CounterpointError(
            f"{name} reads the tokens that it should predict: its logits at a position change with what follows; "
            "give a causal language model (for encoders such as BERT: set is_decoder in its configuration)"
        )
    return own


def _scores(model: Scored, ids: Tensor, own: Tensor) -> Pass | None:
    """The fastest way of running, without padding, whose logits are the model's own."""
    mask = torch.ones_like(ids)
    before, bound = model.runs, _bound(own)
    config = model.base.config
    try:
        for whole, positions in ((False, True), (True, True), (False, False), (True, False)):
            errors: list[tuple[float, Pass]] = []
            for scale, cap in transforms(config):
                model.runs = Pass(whole=whole, scale=scale, softcap=cap, positions=positions)
                error = _error(model, ids, mask, own)
                if error is not None and error <= bound:
                    errors.append((error, model.runs))
            if (
                errors
            ):  # what the configuration declares first, unless another is nearer by more than rounding
                least = min(error for error, _ in errors)
                return next(candidate for error, candidate in errors if error <= 4 * least + 1e-3 * bound)
    finally:
        model.runs = before
    return None


def _error(model: Scored, ids: Tensor, mask: Tensor, own: Tensor) -> float | None:
    try:
        ours = model.logits(ids, mask)
    except (*FOREIGN, CounterpointError):
        return None
    return float((ours - own.float()).abs().max()) if ours.shape == own.shape else None


def transforms(config: Any) -> Iterator[tuple[float, float | None]]:
    """Scales and soft-caps on the logits that a configuration may mean, those it declares first.

    >>> class Declared:
    ...     final_logit_softcapping = 30.0
    >>> list(transforms(Declared()))
    [(1.0, 30.0), (1.0, None)]
    """
    fields: dict[str, float] = {}
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    for each in (config, text):
        values = {**{n: getattr(type(each), n) for n in dir(type(each)) if "logit" in n}, **vars(each)}
        for field, value in values.items():
            if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
                fields[field] = float(value)
    ours = {f: v for f, v in fields.items() if _of_output(f)}
    caps: list[float | None] = [v for f, v in ours.items() if "cap" in f]
    scales = [
        s for f, v in ours.items() if "cap" not in f for s in ((1 / v, v) if "scaling" in f else (v, 1 / v))
    ]
    if "dim_model_base" in fields and "hidden_size" in fields:  # MiniCPM divides the states by their ratio
        scales.append(fields["dim_model_base"] / fields["hidden_size"])
    seen = dict.fromkeys(itertools.product([*scales, 1.0], [*caps, None]))
    yield from seen


def _of_output(field: str) -> bool:
    inner = ("attn", "attention", "router", "expert", "loss", "aux")
    return ("logit" in field or "lm_head" in field) and not any(word in field for word in inner)


def _behind_padding(model: Scored, ids: Tensor, own: Tensor) -> float:
    """Largest error of two rows of unequal length, padded on both sides."""
    short, width = LENGTH // 2 + 1, LENGTH + 3
    rows, mask = ids[:, :1].repeat(1, width), ids.new_zeros(2, width)
    for row, length in enumerate((LENGTH, short)):
        columns = slice(width - 1 - length, width - 1)
        rows[row, columns], mask[row, columns] = ids[row, :length], 1
    expected = torch.cat([own[0], own[1, :short]]).float()
    return float((model.logits(rows, mask)[mask.bool()] - expected).abs().max())


def _step_by_step(model: Scored, ids: Tensor, own: Tensor, few: bool) -> float:
    """Largest error of decoding: a left-padded prompt, then tokens one by one, near the end one row less in the cache."""
    half, missing = LENGTH - 2 if few else LENGTH // 2, LENGTH // 2 - 2
    columns, mask = ids.clone(), torch.ones_like(ids)
    columns[1, missing:], mask[1, :missing] = ids[1, : LENGTH - missing], 0  # row 1 begins behind padding
    cache: Any = None
    worst, rows = 0.0, [0, 1]
    for end in range(half, LENGTH + 1):
        new = columns[:, :half] if end == half else columns[:, end - 1, None]
        if end == LENGTH - 1 and select_rows(cache, torch.tensor([1], device=ids.device)):
            rows = [1]
        logits, cache = model.decode(new[rows], mask[rows, :end], cache)
        expected = torch.stack([own[row, end - 1 - row * missing] for row in rows])
        worst = max(worst, float((logits - expected.float()).abs().max()))
    return worst


def _agrees(model: Scored, chosen: Pass, error: Callable[[], float], bound: float) -> bool:
    before, model.runs = model.runs, chosen
    try:
        return error() <= bound  # not so where it is no number
    except (*FOREIGN, CounterpointError):
        return False
    finally:
        model.runs = before


def trial_tokens(base: Any, device: torch.device, name: str) -> Tensor:
    """[2, L] ids from all over the vocabulary, none that the configuration gives a role (padding, image, end)."""
    try:
        size = min(base.get_input_embeddings().weight.shape[0], base.config.get_text_config().vocab_size)
    except FOREIGN as error:
        raise CounterpointError(
            f"{name} does not say which vocabulary it reads ({_in_short(error)}); "
            "give a decoder-only language model, or an image-text model whose text can go without images"
        ) from None
    roles = set()
    for each in (base.config, base.config.get_text_config()):
        for field, value in vars(each).items():
            if field.endswith(("_token_id", "_token_index", "_token", "_ids")):
                roles |= set(value) if isinstance(value, list | tuple) else {value}
    free = [number for number in range(size) if number not in roles] if size <= 1 << 20 else list(range(size))
    step = max(len(free) // (2 * LENGTH + 1), 1)
    picked = [free[(step * (i + 1)) % len(free)] for i in range(2 * LENGTH)]
    return torch.tensor(picked, device=device).view(2, LENGTH)


def _in_short(error: Exception) -> str:
    first = (str(error).strip().splitlines() or ["no message"])[0][:200]
    return f"{type(error).__name__}: {first}"


def _bound(own: Tensor) -> float:
    """Largest error that is mere rounding in the precision of the logits."""
    share = 1e-3 if own.dtype in (torch.float32, torch.float64) else 5e-2
    return share * float(own.float().abs().max())


def _close(one: Tensor, other: Tensor, bound: float) -> bool:
    return float((one.float() - other.float()).abs().max()) <= bound


@functools.cache
def _say(line: str) -> None:
    logger.warning(line)
