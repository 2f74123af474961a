"""Weighted words and a linear model: TF-IDF with logistic regression. The baseline that small text sets are judged by.

min_w sum_i log(1 + e^{-y_i (w.x_i + b)}) + |w|^2 / (2 C)   for each class against the rest, x_i as in ``models.tfidf``
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from counterpoint.data.text.load import Texts
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.text import outputs
from counterpoint.methods.base import Method, Search
from counterpoint.models.text.encoder import LinearHead, TextClassifier, check_classes
from counterpoint.models.text.tfidf import fit_tfidf
from counterpoint.training import Run


@dataclass(kw_only=True)
class TfidfLinear(Method[nn.Module, Texts]):
    """Settings. There is nothing to initialise and no budget: the optimum is found, the model that is given is not used.

    Attributes:
        strength: C, the inverse of the regularisation.
        balanced: errors on a class weigh by the inverse of its size.
        least: texts that a word must occur in.
        iterations: of the solver, at most.
    """

    key: ClassVar[str] = "tfidf"
    search: ClassVar[Search] = {"strength": (0.1, 1000.0), "balanced": [True, False]}

    strength: float = 10.0
    balanced: bool = True
    least: int = 1
    iterations: int = 200

    def __post_init__(self) -> None:
        """Refuse a solver that does nothing."""
        super().__post_init__()
        self.demand(above_zero=["iterations"])

    def fit(self, model: nn.Module, data: Texts, run: Run) -> nn.Module:
        """Words are counted in all training texts, the linear model is fitted on the labelled ones."""
        check_classes(data.classes)
        labelled = data.train.with_labels()
        if not len(labelled):
            raise CounterpointError(
                f"{data.name} has no labelled training texts, and weighted words know nothing without; give labels"
            )
        if self.strength <= 0:
            raise CounterpointError(f"strength={self.strength}; expected a number above 0, such as 10")
        encoder = fit_tfidf(data.train.texts, self.least)
        solution = run.stage(
            "linear model", lambda: self.solve(outputs(encoder, labelled.texts), labelled.targets)
        )
        head = LinearHead(encoder.num_features, list(data.classes), data.multi_label, dropout=0.0)
        with torch.no_grad():
            head.linear.weight.copy_(solution["weight"])
            head.linear.bias.copy_(solution["bias"])
        return run.state(model=TextClassifier(encoder, head))

    def solve(self, rows: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """Weight [C, V] and bias [C] of each class against the rest; a class without texts gets the lowest score."""
        from scipy.sparse import csr_matrix
        from sklearn.linear_model import LogisticRegression

        sparse, truth = csr_matrix(rows.double().numpy()), targets.numpy()
        weight = torch.zeros(truth.shape[1], rows.shape[1])
        bias = torch.full((truth.shape[1],), -20.0)
        for number in range(truth.shape[1]):
            if truth[:, number].all():
                bias[number] = 20.0
            if truth[:, number].all() or not truth[:, number].any():
                continue
            fitted = LogisticRegression(
                C=self.strength,
                class_weight="balanced" if self.balanced else None,
                solver="liblinear",
                max_iter=self.iterations,
                random_state=0,
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # an unfinished solve is a setting (iterations), not a fault
                fitted.fit(sparse, truth[:, number])
            weight[number] = torch.from_numpy(fitted.coef_[0]).float()
            bias[number] = float(fitted.intercept_[0])
        return {"weight": weight, "bias": bias}
