"""Contrastive decoding: a strong model against a weak one, token by token. Nothing is trained.

Original form (arXiv 2210.15097): log p_expert - log p_amateur inside the plausible tokens. Reasoning form (2309.09117), the
default: (1 + beta) z_expert - beta z_amateur there. SCMoE is the second with the model's own weak routing as the amateur.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

from counterpoint.data.language.problems import ProblemData
from counterpoint.errors import CounterpointError
from counterpoint.generation.contrast import Contrast, Form
from counterpoint.generation.contrasted import Contrasted
from counterpoint.generation.weak import Amateur
from counterpoint.methods.base import Method, Search
from counterpoint.models.language.language import Language
from counterpoint.tasks.task import open_model, task
from counterpoint.training import Run


@dataclass(kw_only=True)
class ContrastiveDecoding(Method[Language, ProblemData]):
    """Settings.

    Attributes:
        amateur: the weaker model, of the same vocabulary: a folder or a bundled name.
        beta: how far beyond the expert ("extrapolate" only).
        alpha: which tokens are plausible: at least this share of the likeliest one's probability.
        form: "extrapolate", the reasoning form, or "difference", the original one.
        expert_temperature, amateur_temperature: divide the logits.
    """

    key: ClassVar[str] = "contrastive-decoding"
    search: ClassVar[Search] = {"beta": [0.1, 0.3, 0.5, 0.7, 0.9], "alpha": [0.05, 0.1, 0.2]}

    amateur: str = ""
    beta: float = 0.5
    alpha: float = 0.1
    form: Form = "extrapolate"
    expert_temperature: float = 1.0
    amateur_temperature: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.contrast()

    def contrast(self) -> Contrast:
        """The settings as what makes scores."""
        return Contrast(self.beta, self.alpha, self.form, self.expert_temperature, self.amateur_temperature)

    def fit(self, model: Language, data: ProblemData, run: Run) -> Contrasted:
        """Open the amateur and see that it has the expert's vocabulary."""
        if not self.amateur:
            raise CounterpointError(
                f"{self.key}: no amateur to contrast with; give a weaker model of the same tokenizer, such as "
                "--amateur FOLDER, or contrast experts (scmoe) or layers (dola) of the model alone"
            )
        amateur = cast(Language, open_model(task("problems"), self.amateur, data, run.seed))
        return Contrasted(run.constant(model), Amateur(run.constant(amateur)), self.contrast())
