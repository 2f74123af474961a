"""DoLa: a model's last layer against one of its early ones, token by token (arXiv 2309.03883). Nothing is trained.

log p_last - log p_early inside the plausible tokens; the early layer is, of the candidates, the one whose own prediction has
the largest Jensen-Shannon divergence from the last one's (eq. 3), chosen anew for every token.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from counterpoint.data.language.problems import ProblemData
from counterpoint.errors import CounterpointError
from counterpoint.generation.contrast import Contrast
from counterpoint.generation.contrasted import Contrasted
from counterpoint.generation.weak import EarlyLayers
from counterpoint.methods.base import Method, Search
from counterpoint.models.language.language import Language
from counterpoint.training import Run


@dataclass(kw_only=True)
class DoLa(Method[Language, ProblemData]):
    """Settings.

    Attributes:
        layers: candidates: "low" (every second layer of the first half), "high" (of the second half), or numbers such as
            "2,4,6", from 1 on.
        alpha: which tokens are plausible: at least this share of the likeliest one's probability.
    """

    key: ClassVar[str] = "dola"
    search: ClassVar[Search] = {"layers": ["low", "high"], "alpha": [0.05, 0.1, 0.2]}

    layers: str = "low"
    alpha: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layers not in ("low", "high") and not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", self.layers):
            raise CounterpointError(
                f"{self.key}: layers={self.layers!r}; expected low, high, or numbers such as 2,4,6"
            )
        Contrast(alpha=self.alpha)

    def fit(self, model: Language, data: ProblemData, run: Run) -> Contrasted:
        """Choose the candidates and see that their states can be read."""
        plain = run.constant(model)
        depth = int(plain.config.get_text_config().num_hidden_layers)
        return Contrasted(
            plain, EarlyLayers(plain, self.candidates(depth)), Contrast(alpha=self.alpha, form="difference")
        )

    def candidates(self, depth: int) -> tuple[int, ...]:
        """Numbers of layers of a model that has ``depth``.

        >>> DoLa(layers="low").candidates(8), DoLa(layers="high").candidates(8), DoLa(layers="3").candidates(8)
        ((1, 3), (5, 7), (3,))
        """
        if self.layers == "low":
            return tuple(range(1, max(depth // 2, 1) + 1, 2))
        if self.layers == "high":
            return tuple(range(depth // 2 + 1, depth, 2)) or (depth - 1,)
        return tuple(int(each) for each in self.layers.split(","))
