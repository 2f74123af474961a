"""Sub-networks of a super-network by their sizes, spaces of them, and what each costs (AutoDistil, arXiv 2201.12507, table 1). No torch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from counterpoint.errors import CounterpointError, nearest

TOKENS = 128
"""Length that floating-point operations are counted for."""


@dataclass(frozen=True)
class Sizes:
    """The super-network: its layers, width D, heads N (each of D / N), and rows of its tables.

    >>> Sizes().head
    64
    """

    layers: int = 12
    width: int = 768
    heads: int = 12
    vocabulary: int = 30522
    positions: int = 512
    types: int = 2

    @property
    def head(self) -> int:
        """Width of a head, which no sub-network changes."""
        return self.width // self.heads


@dataclass(frozen=True, order=True)
class Architecture:
    """A sub-network: l layers of width d, feed-forward width r d, h heads; all layers alike."""

    layers: int
    width: int
    ratio: Fraction
    heads: int

    @property
    def inner(self) -> int:
        """Width of the feed-forward part."""
        return int(self.ratio * self.width)

    def layer_indices(self, sizes: Sizes) -> list[int]:
        """Which layers of the super-network are its own: floor(i L / l).

        >>> Architecture(7, 128, Fraction(2), 7).layer_indices(Sizes())
        [0, 1, 3, 5, 6, 8, 10]
        """
        return [i * sizes.layers // self.layers for i in range(self.layers)]

    def parameters(self, sizes: Sizes, formula: str = "paper") -> float:
        """Number of weights: "paper" as its tables count them, "exact" as there are without a pooler.

        The paper charges attention H (H A / N) a projection, as if heads shrank with the width.

        >>> Architecture(12, 544, Fraction(3), 9).parameters(Sizes())
        50108928.0
        """
        d, n, layers = self.width, Fraction(self.heads, sizes.heads), self.layers
        if formula == "paper":
            each = d**2 + 3 * d**2 * n + 6 * d + 2 * d**2 * self.ratio + d * self.ratio + 3 * d
            return float(
                d * (sizes.vocabulary + sizes.positions + sizes.types + 2) + each * layers + d**2 + 2 * d
            )
        a = self.heads * sizes.head
        exact = 3 * (d * a + a) + a * d + d + 2 * d + 2 * d * self.inner + self.inner + d + 2 * d
        return float(d * (sizes.vocabulary + sizes.positions + sizes.types + 2) + exact * layers)

    def operations(self, sizes: Sizes, formula: str = "paper", tokens: int = TOKENS) -> float:
        """Multiplications of one text of so many tokens; formulas as for ``parameters``."""
        d, share, t = self.width, Fraction(self.heads, sizes.heads), tokens
        if formula == "paper":
            each = 3 * t * d**2 * share + 2 * t**2 * d * share + t * d**2 + 2 * t * self.ratio * d**2
            return float(each * self.layers + t * d**2 + 2 * d)
        a = self.heads * sizes.head
        return float((4 * t * d * a + 2 * t**2 * a + 2 * t * d * self.inner) * self.layers)

    def cost(self, sizes: Sizes, of: str, formula: str = "paper") -> float:
        """``of`` "parameters" or "operations"."""
        return (self.parameters if of == "parameters" else self.operations)(sizes, formula)

    def __str__(self) -> str:
        """In words."""
        return f"{self.layers} layers of {self.width}, {self.heads} heads, ratio {float(self.ratio):g}"


@dataclass(frozen=True)
class Space:
    """Sub-networks that one super-network is trained for: every combination of the sizes."""

    layers: tuple[int, ...]
    widths: tuple[int, ...]
    ratios: tuple[Fraction, ...]
    heads: tuple[int, ...]

    def __iter__(self) -> Iterator[Architecture]:
        """All of them, the smallest first."""
        for layers, width, ratio, heads in itertools.product(
            sorted(self.layers), sorted(self.widths), sorted(self.ratios), sorted(self.heads)
        ):
            yield Architecture(layers, width, ratio, heads)

    @property
    def extremes(self) -> tuple[Architecture, Architecture]:
        """The largest and the smallest."""
        largest = Architecture(max(self.layers), max(self.widths), max(self.ratios), max(self.heads))
        return largest, Architecture(min(self.layers), min(self.widths), min(self.ratios), min(self.heads))

    def between(self) -> list[Architecture]:
        """All but the two extremes."""
        return [each for each in self if each not in self.extremes]


PAPER = {
    "base": "layers=9-12 width=544-640/32 ratio=2.5-4/0.5 heads=9-12",
    "small": "layers=9-12 width=256-352/32 ratio=2.5-4/0.5 heads=7-10",
    "tiny": "layers=4-7 width=128-224/32 ratio=2-3.5/0.5 heads=7-10",
}
"""The paper's three spaces of 256 students each, for a super-network of 12 layers of 768."""


def space_of(text: str, sizes: Sizes) -> Space:
    """A space from its name in the paper, or written out as ``PAPER`` has them: ``low-high/step``, or single values.

    Raises:
        CounterpointError: no such space, or one that is no part of the super-network.

    >>> len(list(space_of("layers=1-2 width=32 ratio=2-4/2 heads=2", Sizes(2, 32, 2))))
    4
    """
    written = PAPER.get(text, text)
    example = "spaces='layers=3-4 width=96-128/16 ratio=2-4 heads=9-12'"
    parts = dict(part.partition("=")[::2] for part in written.split())
    if set(parts) != {"layers", "width", "ratio", "heads"}:
        raise CounterpointError(
            f"space '{text}'; {nearest(text, PAPER)}, or write its sizes out, as in {example}"
        )
    try:
        numbers = {name: _range(given) for name, given in parts.items()}
    except (ValueError, ZeroDivisionError):
        raise CounterpointError(
            f"space '{text}': a range is LOW-HIGH or LOW-HIGH/STEP, as in {example}"
        ) from None
    whole = {name: tuple(int(x) for x in values if x.denominator == 1) for name, values in numbers.items()}
    limits = {"layers": sizes.layers, "width": sizes.width, "heads": sizes.heads}
    for name, most in limits.items():
        if (
            len(whole[name]) != len(numbers[name])
            or not whole[name]
            or min(whole[name]) < 1
            or max(whole[name]) > most
        ):
            raise CounterpointError(
                f"space '{text}': {name}={parts[name]}, and the super-network has {most}; write out a space of whole numbers from 1 to "
                f"that, as in {example}"
            )
    ratios = numbers["ratio"]
    if min(ratios) <= 0 or max(ratios) > 4:
        raise CounterpointError(
            f"space '{text}': ratio={parts['ratio']}; expected numbers above 0 and up to 4"
        )
    return Space(whole["layers"], whole["width"], tuple(ratios), whole["heads"])


def _range(text: str) -> list[Fraction]:
    bounds, _, step = text.partition("/")
    low, _, high = bounds.partition("-")
    first, last, by = Fraction(low), Fraction(high or low), Fraction(step or 1)
    if by <= 0 or last < first:
        raise ValueError(text)
    return [first + i * by for i in range(int((last - first) / by) + 1)]
