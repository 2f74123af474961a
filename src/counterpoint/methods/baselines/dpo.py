"""Direct Preference Optimization and its loss family (arXiv 2305.18290).

With u = log pi(y|x) - log ref(y|x), the model is its own reward model: -log sigmoid(beta (u_chosen - u_rejected)), and
twenty relatives that change the link, the outer function, or the normalisation. The reference is the model as it was
given; its log-probabilities of the rows that the budget will use are computed once, in a durable stage, and no second model
stays in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from counterpoint.data.language.preferences import Preference, PreferenceData
from counterpoint.errors import CounterpointError
from counterpoint.methods.base import Method, Search
from counterpoint.methods.optimization import Linear
from counterpoint.models.language.adapters import Adapter
from counterpoint.models.language.language import Language, adapt
from counterpoint.models.language.likelihood import completion_log_probs
from counterpoint.models.tokens import Tokens
from counterpoint.objectives.preference.choice import SHIFTED, WITH_LIKELIHOOD, check_choice
from counterpoint.objectives.preference.kto import kto, reference_point
from counterpoint.objectives.preference.likelihood import nll
from counterpoint.objectives.preference.preference import (
    REFERENCE_FREE,
    Pair,
    pairwise,
    reward_statistics,
)
from counterpoint.objectives.reduction import Loss
from counterpoint.objectives.tokens import desensitised_sum, sequence_sum
from counterpoint.phases.reference import reference_sums
from counterpoint.phases.reward_baseline import RewardBaseline
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
        undesirable_weight: of bad answers under kto, against 1 for good ones.
        lora_rank: train adapters of this rank; 0 trains all weights. adapter: of those adapters.
        learning_rate: about ten times higher for adapters than for all weights. optimizer: how the weights move.
    """

    key: ClassVar[str] = "dpo"
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
    undesirable_weight: float = 1.0
    lora_rank: int = 0
    adapter: Adapter = field(default_factory=Adapter)
    learning_rate: float = 1e-6
    optimizer: Linear = field(default_factory=Linear)
    batch_size: int = 32
    epochs: float = 1.0

    def fit(self, model: Language, data: PreferenceData, run: Run) -> Language:
        """Train on ``data.train``; without dropout, so that policy and reference start equal."""
        for line in check_choice(self):
            run.say(line)
        self._check(data)
        policy = run.state(model=adapt(model, self.lora_rank, run.seed, self.adapter).eval())
        rows = data.train
        name, sft_weight = WITH_LIKELIHOOD.get(self.loss, (self.loss, 0.0))
        sft_weight = sft_weight if self.sft_weight is None else self.sft_weight
        rewards = None
        if name == SHIFTED:
            name, rewards = "bco_pair", run.state(rewards=RewardBaseline(decay=None))
        reference = None
        if name not in REFERENCE_FREE:
            # [N, 2 or 4]: chosen, rejected, and under kto the two mismatched
            reference = reference_sums(
                run,
                policy,
                lambda shard: self._rows(policy, rows, shard),
                run.stage("rows", lambda: self._ahead(policy, rows, run)),
                len(rows),
                self._reduce,
                f"length_weight={self.length_weight}" if self.length_weight != 1.0 else "",
            )
        run.optimize(policy, self.optimizer.at(self.learning_rate))
        # KTO's reference point needs two rows: a last batch of one would have none.
        for batch in run.batches(
            range(len(rows)), self.batch_size, epochs=self.epochs, drop_last=name == "kto"
        ):
            fixed = None if reference is None else reference[batch.index].to(run.device)
            prompts, answers = self._rows(policy, rows, batch.items)
            token_logp = completion_log_probs(policy, prompts, answers, forward=run.forward)
            sums_R, lengths_R = self._reduce(token_logp, answers), answers.authored.sum(1)
            if name == "kto" and fixed is not None:
                before = [rows[(int(index) - 1) % len(rows)] for index in batch.items]
                terms = self._kto(sums_R, fixed, rows[batch.index], before, run)
            else:
                pair = Pair(
                    *sums_R.chunk(2),
                    *((None, None) if fixed is None else (fixed[:, 0], fixed[:, 1])),
                    *lengths_R.chunk(2),
                )
                values = pairwise(
                    name,
                    pair,
                    beta=self.beta,
                    smoothing=self.smoothing,
                    margin=self.margin,
                    link=self.link,
                    shift=0.0 if rewards is None else self._shift(pair, rewards, run),
                )
                terms = {"preference": Loss(values, stats=reward_statistics(pair, self.beta))}
            if sft_weight:
                half = len(batch.items)
                whole = sequence_sum(token_logp, answers.authored)[:half]
                terms["sft"] = nll(whole, lengths_R[:half], self.sft_mean, weight=sft_weight)  # type: ignore[arg-type]
            run.step(terms, tokens=int(answers.authored.sum()))
        return policy

    def _shift(self, pair: Pair, rewards: RewardBaseline, run: Run) -> Tensor:
        """Mean implicit reward of all answers so far, this batch's of every process among them."""
        rewards.advantages(run.gather_constant(self.beta * torch.cat(pair.ratios()).detach()))
        return rewards.mean.to(pair.chosen)

    def _check(self, data: PreferenceData) -> None:
        if not data.train.paired and self.loss != "kto":
            raise CounterpointError(
                f"dpo: loss {self.loss!r} compares two answers to one prompt, and this data has single answers with a label; "
                "use loss=kto"
            )

    def _rows(self, policy: Language, rows: Any, index: Sequence[int]) -> tuple[Tokens, Tokens]:
        """Prompts and answers as one batch: all chosen, all rejected, and under kto the same answers behind other prompts."""
        preferences: list[Preference] = [rows[int(i)] for i in index]
        prompts, completions = (
            [r.prompt for r in preferences],
            [r.chosen for r in preferences] + [r.rejected for r in preferences],
        )
        if self.loss == "kto":
            # The answer of the row before, in the order of the data: which rows share a batch cannot change the reference.
            before: list[Preference] = [rows[(int(i) - 1) % len(rows)] for i in index]
            completions += [r.chosen for r in before] + [r.rejected for r in before]
            return policy.rows(prompts * 4, completions)
        return policy.rows(prompts * 2, completions, answers=2)

    def _reduce(self, token_logp: Tensor, answers: Tokens) -> Tensor:
        if self.length_weight == 1.0:
            return sequence_sum(token_logp, answers.authored)
        chosen, rejected = answers.authored.sum(1).chunk(2)
        public = torch.minimum(chosen, rejected).repeat(2)
        return desensitised_sum(token_logp, answers.authored, public, self.length_weight)

    def _ahead(self, policy: Language, rows: Any, run: Run) -> list[int]:
        def tokens(index: int) -> int:
            return int(self._rows(policy, rows, [index])[1].authored.sum())

        return run.rows_ahead(
            range(len(rows)),
            self.batch_size,
            epochs=self.epochs,
            drop_last=self.loss == "kto",
            tokens=tokens,
        )

    def _kto(
        self, sums: Tensor, fixed: Tensor, rows: list[Preference], before: list[Preference], run: Run
    ) -> dict[str, Loss]:
        has = _present(rows, sums.device)
        ratio = (sums - fixed.T.reshape(-1).to(sums.dtype)).chunk(2)
        mismatched = run.gather_constant(ratio[1][_present(before, sums.device)])
        good = torch.arange(len(has), device=sums.device) < len(rows)
        values = kto(
            ratio[0],
            good,
            reference_point(mismatched),
            beta=self.beta,
            undesirable_weight=self.undesirable_weight,
        )
        present = has.to(values.dtype)  # an unpaired row has one answer; the empty place counts for nothing
        return {"kto": Loss(values * present, counts=present)}


def _present(rows: list[Preference], device: torch.device) -> Tensor:
    """[2 B] bool, whether there is a chosen and a rejected answer; an unpaired row has one of them."""
    return torch.tensor(
        [bool(row.chosen) for row in rows] + [bool(row.rejected) for row in rows],
        dtype=torch.bool,
        device=device,
    )
