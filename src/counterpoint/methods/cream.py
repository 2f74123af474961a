"""CREAM: consistency regularised self-rewarding (arXiv 2410.12735).

Rounds of sampling, self-judging and training, as in self-rewarding; but the labels count only as far as the model of the
round before ranks the same answers alike. With C the mean rank agreement, in [0, 1],

    L = -C log sigmoid(m) - (1 - C) log sigmoid(-m),    m = beta (u_chosen - u_rejected),

so that C = 1 is DPO and C = 1/2 holds the margin at 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch

from counterpoint.data.language.problems import ProblemData
from counterpoint.generation.sampler import Sampler
from counterpoint.generation.samplers import CandidateSource
from counterpoint.judges.agreement import agreement_rates, best_and_worst, first_of_each
from counterpoint.judges.likelihood import implicit_rewards, mean_rewards
from counterpoint.methods.base import Ablations, Method, Search
from counterpoint.methods.optimization import CosineDecayed
from counterpoint.models.language.adapters import Adapter
from counterpoint.models.language.language import Language, adapt
from counterpoint.objectives.preference.preference import pairwise, reward_statistics
from counterpoint.objectives.reduction import Loss
from counterpoint.phases.self_training import (
    SHARD,
    answers_log_probs,
    label_precision,
    learn_seed,
    pair_of,
    pairs_from,
    record_answers,
    sample_answers,
    seed_and_prompts,
)
from counterpoint.teachers.frozen import Frozen
from counterpoint.teachers.past import Past
from counterpoint.training import Run


@dataclass(kw_only=True)
class CREAM(Method[Language, ProblemData]):
    """Learn from one's own ranking, as far as one's earlier self agrees.

    Attributes:
        rounds: T, each on its own part of the unlabelled prompts; 0 learns the solved seed and ends, without ranking anything.
        answers: N sampled per prompt; rankings are over the distinct ones.
        weight: "average" weighs every label by the round's mean agreement (the paper's method), "sample" each by its own.
        measure: rank agreement: "kendall" (the paper's), "spearman" or "top_order".
        ties: which of equal rewards ranks better: "last" (the paper's) or "first".
        seed_examples: how many solved problems the model first learns from; None takes all that have a solution.
        lora_rank: train adapters of this rank; 0 trains all weights.
        sampler: where answers are sampled: the model itself, a vLLM server that follows it, or another server.
    """

    key: ClassVar[str] = "cream"
    shards: ClassVar[bool] = True
    copies: ClassVar[int] = 2
    search: ClassVar[Search] = {
        "learning_rate": (2e-7, 5e-6),
        "beta": (0.05, 0.5),
    }
    ablations: ClassVar[Ablations] = {
        "weight of each prompt": {"weight": "sample"},
        "agreement on the best alone": {"measure": "top_order"},
    }

    rounds: int = 3
    answers: int = 5
    weight: Literal["average", "sample"] = "average"
    measure: Literal["kendall", "spearman", "top_order"] = "kendall"
    ties: Literal["last", "first"] = "last"
    temperature: float = 0.8
    top_p: float = 0.95
    max_new_tokens: int = 768
    beta: float = 0.1
    learning_rate: float = 1e-6
    epochs: float = 1.0
    batch_size: int = 32
    seed_examples: int | None = None
    sft_epochs: float = 5.0
    sft_learning_rate: float = 5e-6
    lora_rank: int = 0
    adapter: Adapter = field(default_factory=Adapter)
    optimizer: CosineDecayed = field(default_factory=CosineDecayed)
    sampler: CandidateSource = field(default_factory=CandidateSource)

    def sequences(self) -> float:
        """The chosen and the rejected answer."""
        return 2.0

    def staged(self) -> float:
        """The answers of a shard's prompts."""
        return SHARD * float(self.answers)

    def fit(self, model: Language, data: ProblemData, run: Run) -> Language:
        """Learn the solved seed, then ``rounds`` times: sample, judge, measure agreement, train."""
        seed, prompts = seed_and_prompts(data.train, self.seed_examples, self.rounds)
        # Without dropout: what is judged is what is trained.
        model = adapt(model, self.lora_rank, run.seed, self.adapter).eval()
        # theta_0, what likelihoods are compared with in every round.
        initial = run.constant(Frozen(model))
        past = run.state(past=Past(model))  # theta_{t-1}: the judge whose opinion is compared
        policy = run.state(model=model)
        how = Sampler(max_new_tokens=self.max_new_tokens, temperature=self.temperature, top_p=self.top_p)
        sampler = self.sampler.build(self.key, policy, how, folder=run.out)
        for r in run.rounds(self.rounds + 1):
            if r == 0:
                learn_seed(
                    policy,
                    seed,
                    run,
                    self.optimizer.at(self.sft_learning_rate),
                    self.batch_size,
                    self.sft_epochs,
                )
                continue
            problems = prompts[r - 1]
            drawn = sample_answers(run, sampler, problems, self.answers, r)
            (current, first, before), lengths = answers_log_probs(
                run, (policy, initial.model, past.model), problems, drawn
            )
            rewards = implicit_rewards(current, first)
            # In the first round the earlier self is the initial model, which has no reference but itself.
            earlier = mean_rewards(first, lengths) if r == 1 else implicit_rewards(before, first)
            unique = torch.tensor([first_of_each([a["text"] for a in row]) for row in drawn])
            rates = agreement_rates(rewards, earlier, self.measure, unique, self.ties)
            pairs = pairs_from(drawn, current, rewards, unique, *best_and_worst(rewards, unique))
            record_answers(run, problems, drawn, "intrinsic", rewards)
            run.log(
                round=r,
                pairs=len(pairs),
                consistency=float(rates.nanmean()),
                label_precision=label_precision(pairs, problems, data.train),
            )
            run.once("past", lambda: past.refresh(policy))
            if not pairs:
                run.say(
                    f"round {r}: no prompt has two different answers, one better than the other; raise temperature or answers"
                )
                continue
            trust = rates if self.weight == "sample" else rates.nanmean().expand_as(rates)
            run.optimize(policy, self.optimizer.at(self.learning_rate))
            for batch in run.batches(pairs, self.batch_size, epochs=self.epochs):
                pair = pair_of(policy, batch.items, problems, run)
                c = trust[[item["prompt"] for item in batch.items]].to(pair.chosen)
                values = pairwise("cdpo", pair, beta=self.beta, smoothing=1.0 - c)
                run.step(Loss(values, stats=reward_statistics(pair, self.beta)))
        return policy
