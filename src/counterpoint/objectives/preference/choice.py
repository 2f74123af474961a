"""Which settings a preference loss reads: what it would pass over is refused before anything runs."""

from __future__ import annotations

from typing import Protocol

import torch

from counterpoint.errors import CounterpointError, nearest
from counterpoint.objectives.preference.preference import PAIRWISE, Pair, pairwise

WITH_LIKELIHOOD = {"rpo": ("sigmoid", 1.0), "orpo": ("odds_ratio", 1.0)}
"""Published sums of a preference loss and the likelihood of the chosen answer: name -> (loss, default weight)."""
SHIFTED = "bco"
"""BCO (2404.04656, section 4): ``bco_pair`` with the running mean of the implicit rewards of all answers taken off both."""


class Choice(Protocol):
    """A loss with its settings; see ``methods.baselines.dpo.DPO``."""

    loss: str
    beta: float
    smoothing: float
    margin: float
    link: str
    length_weight: float
    sft_weight: float | None
    sft_mean: str
    undesirable_weight: float


def check_choice(chosen: Choice) -> list[str]:
    """Check a loss with its settings; returns lines that a person should read, where a default suits another loss.

    Raises:
        CounterpointError: an unknown loss, or a setting that it does not read or cannot have.
    """
    loss = chosen.loss
    names = [*PAIRWISE, *WITH_LIKELIHOOD, SHIFTED, "kto"]
    if loss not in names:
        raise CounterpointError(f"dpo: there is no loss {loss!r}; {nearest(loss, names)}")
    if chosen.sft_mean not in ("token_mean", "sequence_mean"):
        raise CounterpointError(f"dpo: sft_mean={chosen.sft_mean!r}; expected token_mean or sequence_mean")
    name, weight = WITH_LIKELIHOOD.get(loss, (loss, 0.0))
    if chosen.sft_mean != "token_mean" and not (weight if chosen.sft_weight is None else chosen.sft_weight):
        raise _unread(
            "sft_mean", chosen.sft_mean, loss, "there is no likelihood beside it: add --sft-weight 1"
        )
    if loss == "kto":
        for setting, usual in {
            "smoothing": 0.0,
            "margin": 0.0,
            "link": "reverse_kl",
            "length_weight": 1.0,
        }.items():
            if getattr(chosen, setting) != usual:
                raise _unread(setting, getattr(chosen, setting), loss, f"leave it at {usual}")
    elif chosen.undesirable_weight != 1.0:
        raise _unread("undesirable_weight", chosen.undesirable_weight, loss, "it is of loss=kto")
    else:
        _try(chosen, "bco_pair" if name == SHIFTED else name)
    if not chosen.beta and name != "slic":
        raise CounterpointError(
            f"dpo: beta=0 makes the loss {loss} constant; expected a number above 0, for example 0.1"
        )
    return _hints(chosen)


def _try(chosen: Choice, name: str) -> None:
    """One pair through the loss: what it refuses is refused here."""
    one = torch.tensor([-1.0])
    try:
        pairwise(
            name,
            Pair(one, 2 * one, one, 2 * one, -one, -one),
            beta=chosen.beta or 1.0,
            smoothing=chosen.smoothing,
            margin=chosen.margin,
            link=chosen.link,
        )
    except CounterpointError as error:
        raise CounterpointError(f"dpo: {error}") from None


def _hints(chosen: Choice) -> list[str]:
    if chosen.loss == "slic" and not chosen.margin:
        raise CounterpointError(
            "dpo: loss=slic with margin=0 is 0 wherever the order is right already; give its margin, for example --margin 1"
        )
    if chosen.loss == "slic" and chosen.beta != 0.1:
        raise _unread("beta", chosen.beta, "slic", "its tie is the likelihood beside it: --sft-weight")
    if chosen.loss == "simpo" and (chosen.beta < 1 or not chosen.margin):
        return [
            f"loss=simpo with beta={chosen.beta:g} and margin={chosen.margin:g}: its paper has beta from 2 to 10 and a margin "
            "of 0.3 to 1.6, for example --beta 2 --margin 1"
        ]
    return []


def _unread(setting: str, value: object, loss: str, instead: str) -> CounterpointError:
    return CounterpointError(f"dpo: {setting}={value}, and loss={loss} does not read it; {instead}")
