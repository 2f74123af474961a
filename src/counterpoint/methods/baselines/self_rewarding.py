"""Self-rewarding rounds without a regulariser (arXiv 2401.10020): sample, judge oneself, train on the best and the worst.

The judge is the model's own likelihood against the initial model's, or another: as an upper bound a verifier that knows the
answers, a majority vote, a person, a reward function. Loss per pair: -log sigmoid(beta (u_chosen - u_rejected)), reference = the model at the start of the round.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch

from counterpoint.data.language.problems import ProblemData
from counterpoint.generation.sampler import Sampler
from counterpoint.generation.samplers import CandidateSource
from counterpoint.judges.agreement import best_and_worst, first_of_each
from counterpoint.judges.choose import judge
from counterpoint.judges.likelihood import implicit_rewards
from counterpoint.methods.base import Method, Search
from counterpoint.methods.optimization import CosineDecayed
from counterpoint.models.language.adapters import Adapter
from counterpoint.models.language.language import Language, adapt
from counterpoint.objectives.preference.preference import pairwise, reward_statistics
from counterpoint.objectives.reduction import Loss
from counterpoint.phases.self_training import (
    SHARD,
    answers_log_probs,
    judge_answers,
    label_precision,
    learn_seed,
    pair_of,
    pairs_from,
    record_answers,
    sample_answers,
    seed_and_prompts,
)
from counterpoint.teachers.frozen import Frozen
from counterpoint.training import Run


@dataclass(kw_only=True)
class SelfRewarding(Method[Language, ProblemData]):
    """Learn from one's own ranking of one's own answers.

    Attributes:
        rounds: T, each on its own part of the unlabelled prompts.
        answers: N sampled per prompt; duplicates are judged once.
        judge: "intrinsic" (the own likelihood), "verifier" (the data's scorer and answers: the oracle baseline), "majority"
            (what most answers agree on), "person:FILE.jsonl", or a reward function with TRL's signature, "MODULE:FUNCTION" or
            "FILE.py:FUNCTION".
        smoothing: believed share of wrong labels, a constant; CREAM estimates it instead.
        seed_examples: how many solved problems the model first learns from; None takes all that have a solution.
        sampler: where answers are sampled: the model itself, a vLLM server that follows it, or another server.
    """

    key: ClassVar[str] = "self-rewarding"
    shards: ClassVar[bool] = True
    copies: ClassVar[int] = 1
    search: ClassVar[Search] = {
        "learning_rate": (2e-7, 5e-6),
        "beta": (0.05, 0.5),
    }

    rounds: int = 3
    answers: int = 5
    judge: str = "intrinsic"
    smoothing: float = 0.0
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
        """Learn the solved seed, then ``rounds`` times: sample, judge, train."""
        seed, prompts = seed_and_prompts(
            data.train, self.seed_examples, self.rounds, verified=self.judge == "verifier"
        )
        # Without dropout: what is judged is what is trained.
        model = adapt(model, self.lora_rank, run.seed, self.adapter).eval()
        initial = run.constant(Frozen(model))
        policy = run.state(model=model)
        how = Sampler(max_new_tokens=self.max_new_tokens, temperature=self.temperature, top_p=self.top_p)
        sampler = self.sampler.build(self.key, policy, how, folder=run.out)
        chosen = judge(self.judge, scorer=data.train.scorer, model=policy, reference=initial.model)
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
            # The pairs need the policy's log-probabilities whoever judges; they are all that its own likelihood needs.
            (current, first), _ = answers_log_probs(run, (policy, initial.model), problems, drawn)
            rewards, texts = implicit_rewards(current, first), None
            if self.judge != "intrinsic":
                verdicts = judge_answers(run, chosen, problems, drawn)
                rewards, texts = verdicts.rewards, verdicts.texts
            record_answers(run, problems, drawn, self.judge, rewards, texts)
            unique = torch.tensor([first_of_each([a["text"] for a in row]) for row in drawn])
            pairs = pairs_from(drawn, current, rewards, unique, *best_and_worst(rewards, unique))
            run.log(round=r, pairs=len(pairs), label_precision=label_precision(pairs, problems, data.train))
            if not pairs:
                run.say(
                    f"round {r}: no prompt has two different answers, one better than the other; raise temperature or answers"
                )
                continue
            run.optimize(policy, self.optimizer.at(self.learning_rate))
            for batch in run.batches(pairs, self.batch_size, epochs=self.epochs):
                pair = pair_of(policy, batch.items, problems, run)
                values = pairwise("cdpo", pair, beta=self.beta, smoothing=self.smoothing)
                run.step(Loss(values, stats=reward_statistics(pair, self.beta)))
        return policy
