"""SELM: online preference learning that looks for answers better than those it has seen (arXiv 2405.19332).

L = -log sigmoid(beta [u_w - u_l]) + alpha beta u_y, with u = log pi - log ref and y an answer of the reference (eq. 4.2). Every round, the
policy of its start is the reference: it answers the round's part of the prompts, a judge ranks its answer with the pair that was there,
and the best and the worst are the new pair. Without the last term (alpha = 0) this is iterative DPO.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, Literal, TypedDict

import torch
from torch import Tensor

from counterpoint.data.language.answer import Answer
from counterpoint.data.language.preferences import Preference, PreferenceData
from counterpoint.data.language.problem import Problem
from counterpoint.data.language.problems import ProblemData
from counterpoint.data.language.prompted import Each, picked
from counterpoint.errors import CounterpointError
from counterpoint.generation.sampler import Sampler
from counterpoint.generation.samplers import CandidateSource
from counterpoint.judges.choose import judge
from counterpoint.judges.judge import Judge
from counterpoint.methods.base import Ablations, Method, Search
from counterpoint.methods.optimization import Cosine
from counterpoint.models.language.adapters import Adapter
from counterpoint.models.language.language import Language, adapt
from counterpoint.models.language.likelihood import completion_log_probs, sampled
from counterpoint.objectives.preference.optimism import optimism
from counterpoint.objectives.preference.preference import Pair, pairwise, reward_statistics
from counterpoint.objectives.reduction import Loss
from counterpoint.objectives.tokens import sequence_sum
from counterpoint.phases.answer_groups import given_answers
from counterpoint.phases.self_training import (
    SHARD,
    answers_log_probs,
    judge_answers,
    record_answers,
    sample_answers,
)
from counterpoint.teachers.frozen import Frozen
from counterpoint.training import Run

Row = Problem | Preference


class Ranked(TypedDict):
    """A prompt's number, its chosen, rejected and reference answer, and their log-probabilities at the start of the round."""

    prompt: int
    answers: list[Answer]
    logp: list[float]


def _problem(rows: Sequence[Row], at: int) -> Problem:
    row = rows[at]
    return row if isinstance(row, Problem) else Problem(row.prompt)


@dataclass(kw_only=True)
class SELM(Method[Language, PreferenceData | ProblemData]):
    """Rounds of sampling, ranking, and optimistic DPO.

    Attributes:
        rounds: T, each on its own part of the prompts. plain_rounds: of them, how many at the start have no optimism.
        alpha: optimism; 0 is iterative DPO. beta: tie to the reference.
        judge: what ranks, as of ``grpo``: "scored:FOLDER" (a reward model), "compared:MODEL", "verifier", a reward function, ...
        ranking: "all" ranks the sampled answers with the pair; "replace" puts the first of them in the place of the chosen one where it is
            better, else of the rejected one; "none" keeps the data's pairs.
        reference: "stepwise", the policy at the start of the round; "initial", the model as it was given.
        answers: sampled to each prompt; the first is the one that optimism pushes down.
        temperature: 0 samples greedily, as the authors do.
        last_rate: the last round's learning rate, as a share of the first's; in between it falls linearly.
    """

    key: ClassVar[str] = "selm"
    shards: ClassVar[bool] = True
    also: ClassVar[tuple[str, ...]] = ("problems",)
    search: ClassVar[Search] = {"alpha": [0.0001, 0.0005, 0.001, 0.005], "learning_rate": (1e-7, 1e-5)}
    ablations: ClassVar[Ablations] = {
        "without optimism": {"alpha": 0.0},
        "tied to the initial model": {"reference": "initial"},
        "without ranking anew": {"ranking": "none"},
    }

    rounds: int = 3
    plain_rounds: int = 0
    alpha: float = 0.001
    beta: float = 0.01
    judge: str = "verifier"
    ranking: Literal["all", "replace", "none"] = "all"
    reference: Literal["stepwise", "initial"] = "stepwise"
    answers: int = 1
    temperature: float = 0.0
    max_new_tokens: int = 1024
    learning_rate: float = 5e-7
    last_rate: float = 0.2
    epochs: float = 1.0
    batch_size: int = 128
    lora_rank: int = 0
    adapter: Adapter = field(default_factory=Adapter)
    optimizer: Cosine = field(default_factory=Cosine)
    sampler: CandidateSource = field(default_factory=CandidateSource)

    def sequences(self) -> float:
        """The best and the worst answer, and the sampled one that optimism pushes down."""
        return 3.0

    def staged(self) -> float:
        """The answers of a shard's prompts, and the three of each that the reference scores."""
        return SHARD * max(float(self.answers), 3.0)

    def fit(self, model: Language, data: PreferenceData | ProblemData, run: Run) -> Language:
        """``rounds`` times: answer, rank, train on the best, the worst and the reference's answer."""
        self.check(data)
        # Without dropout: what is sampled is what is trained, and policy and reference start equal.
        model = adapt(model, self.lora_rank, run.seed, self.adapter).eval()
        # A second model only where something asks it: the reference of a round is the policy before its first step.
        compared = self.reference == "initial" or "intrinsic" in self.judge
        initial = run.constant(Frozen(model)).model if compared else None
        policy = run.state(model=model)
        how = Sampler(max_new_tokens=self.max_new_tokens, temperature=self.temperature)
        sampler = self.sampler.build(self.key, policy, how, folder=run.out)
        scorer = getattr(data.train, "scorer", "exact")
        ranks = judge(self.judge, scorer=scorer, model=policy, reference=initial)
        rows: Sequence[Row] = data.train.rows
        for r in run.rounds(self.rounds):
            part = picked(rows, range(r, len(rows), self.rounds))
            problems = Each(range(len(part)), partial(_problem, part))
            drawn = sample_answers(run, sampler, problems, self.answers, r)
            pairs = given_answers(policy, part)
            triples, rewards = self._triples(run, ranks, problems, pairs, drawn)
            reference = policy if self.reference == "stepwise" or initial is None else initial
            logp = self._at_start(run, reference, problems, triples)
            items = [
                Ranked(prompt=number, answers=answers, logp=logp[at].tolist())
                for at, (number, answers) in enumerate(triples)
            ]
            new = [sum(a["answers"][side] in drawn[a["prompt"]] for a in items) for side in (0, 1)]
            figures = {
                "pairs": len(items),
                "reward_sampled": float(rewards.nanmean()),
                "sampled_chosen": new[0] / max(len(items), 1),
                "sampled_rejected": new[1] / max(len(items), 1),
            }
            run.log(round=r, **figures)
            run.report(rounds=[{"round": r, **figures}])
            if not items:
                run.say(f"round {r}: every prompt's answers are equally good; raise temperature or answers")
                continue
            run.optimize(policy, self.optimizer.at(self._rate(r)))
            alpha = 0.0 if r < self.plain_rounds else self.alpha
            for batch in run.batches(items, self.batch_size, epochs=self.epochs):
                run.step(self._losses(run, policy, batch.items, problems, alpha))
        return policy

    def _triples(
        self,
        run: Run,
        ranks: Judge,
        problems: Sequence[Problem],
        pairs: Sequence[list[Answer]],
        drawn: Sequence[list[Answer]],
    ) -> tuple[list[tuple[int, list[Answer]]], Tensor]:
        """(Numbers of the prompts with chosen, rejected and reference answer; the rewards of the sampled ones)."""
        # The pair stands outside: where rewards are equal, what the data call better stays chosen.
        candidates = [[*pair[:1], *new, *pair[1:]] for pair, new in zip(pairs, drawn)]
        if self.ranking == "none":
            triples = [(n, [*pair, new[0]]) for n, (pair, new) in enumerate(zip(pairs, drawn))]
            return triples, torch.full((1,), torch.nan)
        verdicts = judge_answers(run, ranks, problems, candidates)
        record_answers(run, problems, candidates, self.judge, verdicts.rewards, verdicts.texts)
        triples, offset = [], int(bool(pairs and pairs[0]))
        for number, answers in enumerate(candidates):
            rewards = verdicts.rewards[number, : len(answers)].tolist()
            if self.ranking == "replace":
                pair = pairs[number]
                better = rewards[1] > rewards[0]
                best, worst = (drawn[number][0], pair[1]) if better else (pair[0], drawn[number][0])
                if best["ids"] != worst["ids"]:
                    triples.append((number, [best, worst, drawn[number][0]]))
                continue
            order = [at for at, reward in enumerate(rewards) if reward == reward]
            if len(order) < 2:
                continue
            first = max(order, key=lambda at: (rewards[at], -at))
            last = min(order, key=lambda at: (rewards[at], -at))
            labelled = bool(pairs[number]) and (first, last) == (0, len(answers) - 1)
            if (rewards[first] > rewards[last] or labelled) and answers[first]["ids"] != answers[last]["ids"]:
                triples.append((number, [answers[first], answers[last], drawn[number][0]]))
        return triples, verdicts.rewards[:, offset : offset + self.answers]

    def _at_start(
        self,
        run: Run,
        reference: Language,
        problems: Sequence[Problem],
        triples: Sequence[tuple[int, list[Answer]]],
    ) -> Tensor:
        """[pairs, 3] log-probabilities of chosen, rejected and reference answers under the reference, as a durable stage."""
        if not triples:
            return torch.zeros(0, 3)
        questions = Each([number for number, _ in triples], problems.__getitem__)
        (logp,), _ = answers_log_probs(run, (reference,), questions, [answers for _, answers in triples])
        return logp

    def _losses(
        self, run: Run, policy: Language, items: Sequence[Ranked], problems: Sequence[Problem], alpha: float
    ) -> dict[str, Loss]:
        """DPO's loss of every pair, and of the reference's answers their optimism."""
        sides = 3 if alpha else 2
        prompts = policy.prompts([problems[item["prompt"]].prompt for item in items] * sides)
        answers = sampled(policy, [item["answers"][side]["ids"] for side in range(sides) for item in items])
        sums = sequence_sum(completion_log_probs(policy, prompts, answers, forward=run.forward), answers.mask)
        now = sums.reshape(sides, -1)
        fixed = sums.new_tensor([item["logp"] for item in items]).reshape(len(items), 3).T
        pair = Pair(now[0], now[1], fixed[0], fixed[1])
        values = pairwise("sigmoid", pair, beta=self.beta)
        terms = {"preference": Loss(values, stats=reward_statistics(pair, self.beta))}
        if alpha:
            drift = (now[2] - fixed[2]).detach()
            terms["optimism"] = Loss(optimism(now[2], fixed[2], alpha, self.beta), stats={"log_ratio": drift})
        return terms

    def _rate(self, number: int) -> float:
        """The learning rate of a round.

        >>> [round(SELM()._rate(number), 10) for number in range(3)]
        [5e-07, 3e-07, 1e-07]
        """
        share = number / max(self.rounds - 1, 1)
        return self.learning_rate * (1.0 + (self.last_rate - 1.0) * share)

    def check(self, data: PreferenceData | ProblemData) -> None:
        """Refuse settings that contradict each other or the data."""
        self.demand(above_zero=["beta"])
        for name in ("rounds", "answers"):
            if getattr(self, name) < 1:
                raise CounterpointError(f"{self.key}: {name}={getattr(self, name)}; expected at least 1")
        if self.answers > 1 and not self.temperature:
            raise CounterpointError(
                f"{self.key}: answers={self.answers} at temperature=0 are all the same; set --temperature 1"
            )
        if len(data.train) < self.rounds:
            raise CounterpointError(
                f"{self.key}: {len(data.train)} rows do not fill {self.rounds} rounds; give more, or lower rounds"
            )
        if isinstance(data, ProblemData):
            if self.ranking != "all" or self.answers < 2:
                raise CounterpointError(
                    f"{self.key}: problems bring no pairs, so that ranking={self.ranking} and answers={self.answers} have nothing to compare; "
                    "set --ranking all --answers 4 --temperature 1"
                )
        elif not data.train.paired:
            raise CounterpointError(
                f"{self.key}: it ranks pairs, and this data has single answers with a label; use dpo with --loss kto"
            )
        elif self.judge == "verifier" and self.ranking != "none":
            raise CounterpointError(
                f"{self.key}: judge=verifier compares with answers, and pairs have none; train a reward model on the pairs (counterpoint run "
                "reward --data PAIRS --out runs/reward) and give --judge scored:runs/reward/model, or another judge"
            )
