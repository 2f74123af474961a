"""Self-rewarding rounds without a regulariser (arXiv 2401.10020): sample, judge oneself, train on the best and the worst.

The judge is the model's own likelihood against the initial model's, or, as an upper bound, a verifier that knows the
answers. Loss per pair: -log sigmoid(beta (u_chosen - u_rejected)), reference = the model at the start of the round.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from counterpoint.data.language.problems import ProblemData
from counterpoint.generation.sampler import Sampler
from counterpoint.judges.agreement import best_and_worst, first_of_each
from counterpoint.judges.intrinsic import implicit_rewards
from counterpoint.methods.base import Method
from counterpoint.models.language.language import Language, adapt
from counterpoint.objectives.preference.preference import pairwise, reward_statistics
from counterpoint.objectives.reduction import Loss
from counterpoint.phases.self_training import (
    judge_answers,
    label_precision,
    learn_seed,
    pair_of,
    pairs_from,
    sample_answers,
    seed_and_prompts,
)
from counterpoint.teachers.frozen import Frozen
from counterpoint.training import Optimizer, Run


@dataclass(kw_only=True)
class SelfRewarding(Method[Language, ProblemData]):
    """Learn from one's own ranking of one's own answers.

    Attributes:
        rounds: T, each on its own part of the unlabelled prompts.
        answers: N sampled per prompt; duplicates are judged once.
        judge: "intrinsic", or "verifier" (the data's scorer and answers: the oracle baseline).
        smoothing: believed share of wrong labels, a constant; CREAM estimates it instead.
        seed_examples: how many solved problems the model first learns from; None takes all that have a solution.
    """

    key: ClassVar[str] = "self-rewarding"
    search: ClassVar[dict[str, tuple[float, float] | list[Any]]] = {
        "learning_rate": (2e-7, 5e-6),
        "beta": (0.05, 0.5),
    }

    rounds: int = 3
    answers: int = 5
    judge: Literal["intrinsic", "verifier"] = "intrinsic"
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

    def fit(self, model: Language, data: ProblemData, run: Run) -> Language:
        """Learn the solved seed, then ``rounds`` times: sample, judge, train."""
        seed, asked = seed_and_prompts(
            data.train, self.seed_examples, self.rounds, verified=self.judge == "verifier"
        )
        # Without dropout: what is judged is what is trained.
        model = adapt(model, self.lora_rank, run.seed).eval()
        initial = run.place(Frozen(model))
        policy = run.state(model=model)
        sampler = Sampler(max_new_tokens=self.max_new_tokens, temperature=self.temperature, top_p=self.top_p)
        for r in run.rounds(self.rounds + 1):
            if r == 0:
                learn_seed(policy, seed, run, self.sft_learning_rate, self.batch_size, self.sft_epochs)
                continue
            problems = asked[r - 1]
            drawn = sample_answers(run, policy, problems, self.answers, sampler, r)
            (current, first), _ = judge_answers(run, (policy, initial.model), problems, drawn)
            rewards = implicit_rewards(current, first)
            if self.judge == "verifier":
                rewards = torch.tensor(
                    [[data.train.score(a["text"], p) for a in row] for p, row in zip(problems, drawn)]
                )
            unique = torch.tensor([first_of_each([a["text"] for a in row]) for row in drawn])
            pairs = pairs_from(drawn, current, rewards, unique, *best_and_worst(rewards, unique))
            run.log(round=r, pairs=len(pairs), label_precision=label_precision(pairs, problems, data.train))
            if not pairs:
                run.say(f"round {r}: no prompt has two different answers; raise temperature or answers")
                continue
            run.optimize(policy, Optimizer(
                learning_rate=self.learning_rate, weight_decay=0.01, schedule="cosine", warmup=0.1, max_grad_norm=1.0
            ))  # fmt: skip
            for batch in run.batches(pairs, self.batch_size, epochs=self.epochs):
                pair = pair_of(policy, batch.items, problems, run)
                values = pairwise("cdpo", pair, beta=self.beta, smoothing=self.smoothing)
                run.step(Loss(values, stats=reward_statistics(pair, self.beta)))
        return policy
