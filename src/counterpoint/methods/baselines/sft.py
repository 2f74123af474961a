"""Supervised fine-tuning: cross-entropy on the reference completions, L = -sum_t m_t log p(y_t | x, y_<t) / sum m_t."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from counterpoint.conversation import Completion, Prompt
from counterpoint.data.language.preferences import PreferenceData
from counterpoint.data.language.problem import Problem, Turns
from counterpoint.data.language.problems import ProblemData
from counterpoint.kernels.vocabulary import log_probs_and_peak
from counterpoint.methods.base import Method, Search
from counterpoint.methods.optimization import Cosine
from counterpoint.models.language.adapters import Adapter
from counterpoint.models.language.language import Language, adapt
from counterpoint.models.language.length_batches import LengthBatches
from counterpoint.models.language.packing import pack
from counterpoint.models.tokens import join
from counterpoint.objectives.preference.likelihood import nll
from counterpoint.pairs.demonstrations import demonstrations
from counterpoint.training import Run


@dataclass(kw_only=True)
class SFT(Method[Language, ProblemData | PreferenceData]):
    """Imitate the references.

    Attributes:
        reduction: "token_mean" weighs every token alike, "sequence_mean" every completion.
        turns: of whole conversations (`messages` rows), "all" turns of the assistant are learnt, or the "last" one.
        packing: lay a batch's rows behind one another without padding; the same rows, losses and gradients.
        like_lengths: batches of rows of like length, in a seeded order; other batches, less padding.
        lora_rank: rank of the adapters that are trained; 0 trains every weight.
        adapter: of those adapters. optimizer: how the weights move.
    """

    key: ClassVar[str] = "sft"
    shards: ClassVar[bool] = True
    search: ClassVar[Search] = {"learning_rate": (1e-5, 1e-3)}
    also: ClassVar[tuple[str, ...]] = ("preferences",)

    reduction: Literal["token_mean", "sequence_mean"] = "token_mean"
    turns: Turns = "all"
    packing: bool = False
    like_lengths: bool = False
    lora_rank: int = 64
    adapter: Adapter = field(default_factory=Adapter)
    learning_rate: float = 2e-5
    optimizer: Cosine = field(default_factory=Cosine)
    batch_size: int = 16
    epochs: float = 1.0

    def fit(self, model: Language, data: ProblemData | PreferenceData, run: Run) -> Language:
        """Train on prompt and reference of every problem, or on prompt and chosen answer of every preference."""
        rows = demonstrations(data, self.key)
        order = None
        if self.like_lengths:
            order = LengthBatches.of(model, ((p, [c]) for p, c in map(self._example, rows)), self.batch_size)
        model = adapt(model, self.lora_rank, run.seed, self.adapter)
        if self.packing:
            pack(model)
        model = run.state(model=model)
        run.optimize(model, self.optimizer.at(self.learning_rate))
        for batch in run.batches(rows, self.batch_size, epochs=self.epochs, order=order):
            examples = [self._example(problem) for problem in batch.items]
            prompts, completions = model.rows(
                [prompt for prompt, _ in examples], [completion for _, completion in examples]
            )
            both, mask = join(prompts, completions), completions.authored
            hidden = run.forward(model, both.ids, both.mask, last=completions.width)
            logp, peak = log_probs_and_peak(model.scores(hidden), completions.ids, mask=mask)
            loss = nll(logp.sum(1), mask.sum(1), self.reduction)
            likeliest = (logp.detach() >= peak)[mask].float()
            run.step(replace(loss, stats={"token_accuracy": likeliest}), tokens=int(mask.sum()))
        return model

    def _example(self, problem: Problem) -> tuple[Prompt, Completion]:
        return problem.example(self.turns)
