"""Bad rationales: a good one with words left out or replaced, and what the student itself wrote some epochs ago.

QCRD (arXiv 2405.13014), section 3.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any


def spoilt(text: str, others: Sequence[str], draw: float, share: float = 0.3) -> str:
    """The text with a share of its words left out or replaced by words of other texts, at least one.

    Args:
        text: a rationale. others: where replacements come from.
        draw: a number in [0, 1) that decides everything.
        share: of the words that change.

    >>> spoilt("97 75 42", ["11 12 13"], 0.5) != "97 75 42"
    True
    """
    chance, words = random.Random(draw), text.split()
    pool = [word for other in others for word in other.split() if other != text] or words
    changed = chance.sample(range(len(words)), min(len(words), max(1, round(share * len(words)))))
    for at in changed:
        fresh = [word for word in pool if word != words[at]]
        words[at] = chance.choice(fresh) if fresh and chance.random() < 0.5 else ""
    return " ".join(word for word in words if word)


class Recent:
    """What was written at the beginning of each of the last epochs, one text a problem; saved with the run.

    >>> recent = Recent(back=2)
    >>> for epoch in range(3):
    ...     recent.add(epoch, [f"written at {epoch}"])
    >>> recent.of(2), recent.of(3), recent.of(1)
    (['written at 0'], ['written at 1'], None)
    """

    def __init__(self, back: int) -> None:
        self.back = back
        self._texts: dict[int, list[str]] = {}

    @property
    def latest(self) -> int:
        """The last epoch that something was written at; -1 before the first."""
        return max(self._texts, default=-1)

    def add(self, epoch: int, texts: Sequence[str]) -> None:
        """Keep an epoch's texts, and drop those that no later epoch looks back to."""
        self._texts[epoch] = list(texts)
        self._texts = {at: each for at, each in self._texts.items() if at >= epoch - self.back}

    def of(self, epoch: int) -> list[str] | None:
        """What was written ``back`` epochs before this one; None where there is nothing."""
        return self._texts.get(epoch - self.back)

    def state_dict(self) -> dict[str, Any]:
        """Epochs and texts."""
        return {"texts": {str(epoch): list(texts) for epoch, texts in self._texts.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put them back."""
        self._texts = {int(epoch): list(texts) for epoch, texts in state["texts"].items()}
