"""A reward model from pairs (Bradley-Terry; InstructGPT, arXiv 2203.02155): the better answer gets the higher number.

A language model's state at the last token of prompt and answer, one linear layer, and -log sigmoid(r_w - r_l - m). The model is saved as
transformers' sequence classifier with one label, which judges answers for any method with a setting ``judge``: ``scored:FOLDER``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from counterpoint.data.language.preferences import Preference, PreferenceData
from counterpoint.errors import CounterpointError
from counterpoint.methods.base import Method, Search
from counterpoint.methods.optimization import Linear
from counterpoint.models.language.adapters import Adapter
from counterpoint.models.language.language import Language
from counterpoint.models.language.reward import RewardModel
from counterpoint.objectives.preference.reward import bradley_terry, centre, pair_statistics
from counterpoint.objectives.reduction import Loss
from counterpoint.training import Run


@dataclass(kw_only=True)
class Reward(Method[nn.Module, PreferenceData]):
    """Learn to score answers from pairs of a better and a worse one.

    Attributes:
        margin_weight: of the data's margins (how much better), taken off the difference of rewards; 0 passes them over.
        centre_weight: of (r_w + r_l)^2, which keeps rewards around 0; 0.01 is usual where several models' rewards are compared.
        lora_rank: train adapters of this rank beside the head; 0 trains all weights. adapter: of those adapters.
        learning_rate: about ten times higher for adapters than for all weights. optimizer: how the weights move.
    """

    key: ClassVar[str] = "reward"
    shards: ClassVar[bool] = True
    search: ClassVar[Search] = {"learning_rate": (1e-6, 1e-3)}

    margin_weight: float = 1.0
    centre_weight: float = 0.0
    lora_rank: int = 0
    adapter: Adapter = field(default_factory=Adapter)
    learning_rate: float = 1e-5
    optimizer: Linear = field(default_factory=Linear)
    batch_size: int = 32
    epochs: float = 1.0

    def sequences(self) -> float:
        """The chosen and the rejected answer."""
        return 2.0

    def fit(self, model: nn.Module, data: PreferenceData, run: Run) -> nn.Module:
        """Train on ``data.train``, without dropout; a reward model that is given goes on learning."""
        if not data.train.paired:
            raise CounterpointError(
                "reward: a reward model learns from pairs, and this data has single answers with a label; give 'chosen' and "
                "'rejected', or take the method dpo with loss=kto"
            )
        start = model if isinstance(model, RewardModel) else RewardModel.on(_language(model), run.seed)
        judge = run.state(model=start.adapt(self.lora_rank, run.seed, self.adapter).eval())
        rows = data.train
        run.optimize(judge, self.optimizer.at(self.learning_rate))
        for batch in run.batches(range(len(rows)), self.batch_size, epochs=self.epochs):
            pairs = rows[batch.index]
            both = judge.rows(
                [pair.prompt for pair in pairs] * 2,
                [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs],
            )
            chosen_B, rejected_B = run.forward(judge, both.ids, both.mask).chunk(2)
            values = bradley_terry(chosen_B, rejected_B, self._margins(pairs, chosen_B))
            terms = {"preference": Loss(values, stats=pair_statistics(chosen_B, rejected_B))}
            if self.centre_weight:
                terms["centre"] = Loss(centre(chosen_B, rejected_B), weight=self.centre_weight)
            run.step(terms, tokens=int(both.mask.sum()))
        return judge

    def _margins(self, pairs: list[Preference], like_B: Tensor) -> Tensor | None:
        given = [pair.margin or 0.0 for pair in pairs]
        if not self.margin_weight or not any(given):
            return None
        return torch.tensor(given, dtype=like_B.dtype, device=like_B.device) * self.margin_weight


def _language(model: nn.Module) -> Language:
    if not isinstance(model, Language):
        raise CounterpointError(
            f"reward: a {type(model).__name__} has no states to read; give a causal language model or a reward model's folder"
        )
    return model
