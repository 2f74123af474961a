"""SCMoE: a mixture of experts decodes against its own poorer routing (arXiv 2405.14507). Nothing is trained.

Every step runs the model twice on the same tokens, once as trained (z^s) and once with one, usually unchosen, expert a layer
(z^w). With V the tokens of probability at least alpha times the largest of the strong pass (eq. 5-6),

    z = (1 + beta) z^s - beta z^w   in V, else -inf;   greedy takes the largest, sampling softmax(z).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from counterpoint.data.language.problems import ProblemData
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.routing import token_gaps
from counterpoint.generation.contrast import Contrast
from counterpoint.generation.contrasted import Contrasted, self_contrast
from counterpoint.methods.base import Ablations, Method, Search
from counterpoint.models.language.experts import Routing
from counterpoint.models.language.find_routers import routers
from counterpoint.models.language.language import Language
from counterpoint.training import Run

MEASURED = 64
"""References that the gap of the two passes is measured on."""


@dataclass(kw_only=True)
class SCMoE(Method[Language, ProblemData]):
    """Self-contrast of experts.

    Attributes:
        weak: the weak pass's experts: "rank-2" (the second best alone), "top-1", ..., or "random-1".
        strong: the strong pass's: "own" (as trained), or the best so many, "top-3".
        beta: how far beyond the strong pass; 0 is the strong pass alone, at its own cost.
        alpha: which tokens are plausible: at least this share of the likeliest one's probability.
        strong_temperature, weak_temperature: divide the logits of each pass.
    """

    key: ClassVar[str] = "scmoe"
    search: ClassVar[Search] = {
        "beta": [0.1, 0.3, 0.5, 0.7, 0.9],
        "weak": ["rank-1", "rank-2", "rank-3", "random-1"],
    }
    ablations: ClassVar[Ablations] = {
        "without contrast": {"beta": 0.0},
        "every token is a candidate": {"alpha": 1e-9},
        "random experts as the weak side": {"weak": "random-1"},
    }

    weak: str = "rank-2"
    strong: str = "own"
    beta: float = 0.5
    alpha: float = 0.1
    strong_temperature: float = 1.0
    weak_temperature: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        Routing.of(self.strong)
        if Routing.of(self.weak).kind == "own":
            raise CounterpointError(
                f"{self.key}: weak=own would contrast the model with itself; give rank-2, top-1 or random-1"
            )
        self.contrast()

    def contrast(self) -> Contrast:
        """The settings as what makes scores."""
        return Contrast(
            beta=self.beta,
            alpha=self.alpha,
            strong_temperature=self.strong_temperature,
            weak_temperature=self.weak_temperature,
        )

    def fit(self, model: Language, data: ProblemData, run: Run) -> Contrasted:
        """Find the routers, try that they can be redirected, and measure how far the two passes are apart."""
        plain = run.constant(model)
        contrasted = self_contrast(plain, self.strong, self.weak, self.contrast())
        rows = [row for row in data.train if row.reference][:MEASURED]

        def gap() -> dict[str, Any]:
            gaps, _ = token_gaps(plain, routers(plain), rows, self.weak, strong=self.strong)
            return {"gap": float(gaps.mean()), "tokens": len(gaps)}

        if rows:
            run.report(gap=run.stage("gap", gap)["gap"])
        return contrasted
