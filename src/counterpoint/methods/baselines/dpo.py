"""Direct Preference Optimization and its loss family (arXiv 2305.18290).

With u = log pi(y|x) - log ref(y|x), the model is its own reward model: -log sigmoid(beta (u_chosen - u_rejected)), and
twenty relatives that change the link, the outer function, or the normalisation. The reference is the model as it was
given; its log-probabilities of the rows that the budget will use are computed once, in a durable stage, and no second model
stays in memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from counterpoint.data.language.preferences import PreferenceData
from counterpoint.methods.base import Method, Search
from counterpoint.methods.optimization import Linear
from counterpoint.models.language.adapters import Adapter
from counterpoint.models.language.language import Language, adapt
from counterpoint.models.language.length_batches import LengthBatches
from counterpoint.objectives.preference.choice import check_choice
from counterpoint.objectives.preference.graded import Graded
from counterpoint.phases.preference.terms import PreferenceTerms, check_rows, scored_at_once
from counterpoint.training import Run


@dataclass(kw_only=True)
class DPO(Method[Language, PreferenceData]):
    """Learn from pairs of a better and a worse answer.

    Attributes:
        loss: a name of ``objectives.preference.PAIRWISE``, "rpo", "orpo", "bco" (``bco_pair`` with the
            paper's reward shift), or "kto" (which also takes unpaired data).
        beta: strength of the tie to the reference; simpo uses 2 to 10, orpo 0.1.
        smoothing: believed share of flipped labels, for cdpo, robust, exo_pair, reference_free and simpo.
        margin: target margin of simpo and slic.
        link: "reverse_kl", "forward_kl", "js" or "alpha": the divergence that ties policy to reference.
        length_weight: weight of tokens beyond the length both answers share (LD-DPO); 1 is the ordinary sum.
        sft_weight: weight of the likelihood of the chosen answer beside the loss; None means what the loss's paper adds.
        sft_mean: whether that likelihood pools "token_mean" or averages "sequence_mean".
        graded: what is learnt of a pair beside its order: the data's margins, and ties.
        undesirable_weight: of bad answers under kto, against 1 for good ones.
        like_lengths: batches of rows of like length, in a seeded order; other batches, less padding.
        lora_rank: train adapters of this rank; 0 trains all weights. adapter: of those adapters.
        learning_rate: about ten times higher for adapters than for all weights. optimizer: how the weights move.
    """

    key: ClassVar[str] = "dpo"
    shards: ClassVar[bool] = True
    search: ClassVar[Search] = {
        "beta": (0.01, 0.5),
        "learning_rate": (5e-7, 1e-4),
    }

    loss: str = "sigmoid"
    beta: float = 0.1
    smoothing: float = 0.0
    margin: float = 0.0
    link: str = "reverse_kl"
    length_weight: float = 1.0
    sft_weight: float | None = None
    sft_mean: str = "token_mean"
    graded: Graded = field(default_factory=Graded)
    undesirable_weight: float = 1.0
    like_lengths: bool = False
    lora_rank: int = 0
    adapter: Adapter = field(default_factory=Adapter)
    learning_rate: float = 1e-6
    optimizer: Linear = field(default_factory=Linear)
    batch_size: int = 32
    epochs: float = 1.0

    def sequences(self) -> float:
        """Both answers; under kto the same two behind another prompt, too."""
        return 4.0 if self.loss == "kto" else 2.0

    def staged(self) -> float:
        """The answers whose log-probabilities are those of the reference."""
        return scored_at_once(self)

    def check(self, data: PreferenceData) -> None:
        """Refuse rows that the loss cannot learn from."""
        check_rows(self, data.train, self.key)

    def fit(self, model: Language, data: PreferenceData, run: Run) -> Language:
        """Train on ``data.train``; without dropout, so that policy and reference start equal."""
        for line in check_choice(self):
            run.say(line)
        self.check(data)
        policy = run.state(model=adapt(model, self.lora_rank, run.seed, self.adapter).eval())
        order = None
        if self.like_lengths:
            pairs = ((row.prompt, (row.chosen, row.rejected)) for row in data.train)
            order = LengthBatches.of(policy, pairs, self.batch_size)
        terms = PreferenceTerms(self, self.key, policy, data.train, run, order)
        run.optimize(policy, self.optimizer.at(self.learning_rate))
        for batch in run.batches(
            range(len(data.train)),
            self.batch_size,
            epochs=self.epochs,
            drop_last=terms.drop_last,
            order=order,
        ):
            losses, tokens = terms.of(batch.index, batch.items)
            run.step(losses, tokens=tokens)
        return policy
