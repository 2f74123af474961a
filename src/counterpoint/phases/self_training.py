"""What methods that train on their own ranked answers share: the solved seed, the pairs, the pairs' log-probabilities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor

from counterpoint.conversation import stored
from counterpoint.data import row_numbers
from counterpoint.data.language.answer import Answer
from counterpoint.data.language.problems import Problem, Problems
from counterpoint.data.language.prompted import picked
from counterpoint.errors import CounterpointError
from counterpoint.generation.answers import several_answers
from counterpoint.generation.samplers import Samples
from counterpoint.judges.judge import Judge, Verdicts
from counterpoint.judges.likelihood import answer_log_probs
from counterpoint.judges.person import Person
from counterpoint.judges.verifier import Verifier
from counterpoint.models.language.language import Language
from counterpoint.models.language.likelihood import completion_log_probs, sampled
from counterpoint.objectives.preference.likelihood import nll
from counterpoint.objectives.preference.preference import Pair
from counterpoint.objectives.tokens import sequence_sum
from counterpoint.training import Optimizer, Run

SHARD = 16
"""Prompts per durable shard: what a crash can cost, and what goes through the model together (times the answers)."""


class Made(TypedDict):
    """A pair a model made of its own answers: which prompt, both answers, their log-probabilities when judged."""

    prompt: int
    chosen: Answer
    rejected: Answer
    chosen_logp: float
    rejected_logp: float


def seed_and_prompts(
    rows: Problems, seed_examples: int | None, rounds: int, *, verified: bool = False
) -> tuple[Sequence[Problem], list[Sequence[Problem]]]:
    """Split training problems into solved ones to start from and, evenly over rounds, prompts to answer.

    With ``seed_examples`` the first so many solved problems are the seed and everything else is prompts. Without, all
    solved problems are the seed; prompts are those without a solution, or all when none is.
    """
    has = np.fromiter((bool(row.reference) for row in rows), bool, len(rows))
    solved = row_numbers.positions(has)
    if seed_examples is None:
        seed, prompts = solved, np.arange(len(rows)) if has.all() else row_numbers.positions(~has)
    else:
        if seed_examples > len(solved):
            raise CounterpointError(
                f"seed_examples={seed_examples}, and {len(solved)} training problems have a solution; lower it or add solutions"
            )
        seed = solved[:seed_examples]
        has[:] = True
        has[seed] = False
        prompts = row_numbers.positions(has)
    if verified and not all(row.answer for row in picked(rows.rows, prompts)):
        raise CounterpointError(
            "judge=verifier compares answers with the data's, and some problems have none; use judge=intrinsic"
        )
    if len(prompts) < rounds:
        raise CounterpointError(
            f"{len(prompts)} prompts do not fill {rounds} rounds; give more problems, or lower rounds"
        )
    return picked(rows.rows, seed), [picked(rows.rows, prompts[r::rounds]) for r in range(rounds)]


def sample_answers(
    run: Run, sampler: Samples, problems: Sequence[Problem], count: int, part: int, *, name: str = "sample"
) -> list[list[Answer]]:
    """Sample ``count`` answers to every problem of the round's part, as a durable stage of a name."""

    def sampled(shard: Sequence[int]) -> list[list[Answer]]:
        prompts = [problems[i].prompt for i in shard]
        return several_answers(sampler, prompts, count, seed=1000 * run.seed + part, numbers=shard)

    sampler.follow()
    return run.stage(name, sampled, over=range(len(problems)), size=SHARD)


def answers_log_probs(
    run: Run, models: Sequence[Language], problems: Sequence[Problem], drawn: Sequence[Sequence[Answer]]
) -> tuple[list[Tensor], Tensor]:
    """Log-probabilities of the answers under several models, as a durable stage: one [P, N] per model, and lengths [P, N]."""

    def scored(shard: Sequence[int]) -> list[Tensor]:
        prompts, ids = [problems[i].prompt for i in shard], [[a["ids"] for a in drawn[i]] for i in shard]
        parts = [answer_log_probs(model, prompts, ids) for model in models]
        return list(torch.stack([*(sums for sums, _ in parts), parts[0][1].double()], 1))

    result = torch.stack(run.stage("judge", scored, over=range(len(problems)), size=SHARD)).unbind(1)
    return list(result[:-1]), result[-1]


def judge_answers(
    run: Run,
    judge: Judge,
    problems: Sequence[Problem],
    drawn: Sequence[Sequence[Answer]],
    *,
    name: str = "verdicts",
) -> Verdicts:
    """A judge's rewards [P, N] with what it wrote beside them, as a durable stage of a name; a person sees all answers at once."""

    def judged(shard: Sequence[int]) -> list[Any]:
        verdicts = judge([problems[i] for i in shard], [drawn[i] for i in shard])
        return [[rewards, texts] for rewards, texts in verdicts.rows()]

    size = max(len(problems), 1) if isinstance(judge, Person) else SHARD
    rows = run.stage(name, judged, over=range(len(problems)), size=size)
    return Verdicts.of([rewards for rewards, _ in rows], [texts for _, texts in rows])


def record_answers(
    run: Run,
    problems: Sequence[Problem],
    drawn: Sequence[Sequence[Answer]],
    judge: str,
    rewards_PN: Tensor,
    texts: Sequence[Sequence[str]] | None = None,
) -> None:
    """Write a round's answers with their rewards, and what the judge wrote, into the run's samples; once, on any number of processes."""

    def rows() -> Iterator[dict[str, Any]]:
        for p, (problem, answers) in enumerate(zip(problems, drawn)):
            judged = [
                {"text": a["text"], "rewards": {judge: float(rewards_PN[p, n])}}
                | ({"verdicts": {judge: texts[p][n]}} if texts is not None and texts[p][n] else {})
                for n, a in enumerate(answers)
            ]
            yield {"prompt": stored(problem.prompt), "answers": judged}

    run.record_samples(rows() if run.rank == 0 else [])


def learn_seed(
    policy: Language, seed: Sequence[Problem], run: Run, optimizer: Optimizer, size: int, epochs: float
) -> None:
    """Supervised training on solved problems; nothing happens without any, or with 0 epochs."""
    if not len(seed) or not epochs:
        return
    run.optimize(policy, optimizer)
    for batch in run.batches(seed, size, epochs=epochs, name="seed"):
        prompts, solutions = policy.rows(
            [row.prompt for row in batch.items], [row.completion for row in batch.items]
        )
        token_logp = completion_log_probs(policy, prompts, solutions, forward=run.forward)
        run.step(
            nll(sequence_sum(token_logp, solutions.authored), solutions.authored.sum(1)),
            tokens=int(solutions.authored.sum()),
        )


def pairs_from(
    drawn: Sequence[Sequence[Answer]],
    logp_PN: Tensor,
    rewards_PN: Tensor,
    valid_PN: Tensor,
    best_P: Tensor,
    worst_P: Tensor,
) -> list[Made]:
    """Make one pair per prompt; prompts whose answers are all the same, or equally good, make none."""
    pairs = []
    for at, (best, worst) in enumerate(zip(best_P.tolist(), worst_P.tolist())):
        distinct = bool(valid_PN[at, best]) and bool(valid_PN[at, worst]) and best != worst
        if distinct and rewards_PN[at, best] > rewards_PN[at, worst]:
            pairs.append(
                Made(
                    prompt=at,
                    chosen=drawn[at][best],
                    rejected=drawn[at][worst],
                    chosen_logp=float(logp_PN[at, best]),
                    rejected_logp=float(logp_PN[at, worst]),
                )
            )
    return pairs


def label_precision(pairs: Sequence[Made], problems: Sequence[Problem], scored: Problems) -> float:
    """Share of pairs whose chosen answer is right and whose rejected one is wrong; NaN where nobody knows."""
    answered = [pair for pair in pairs if problems[pair["prompt"]].answer]
    if not answered:
        return float("nan")
    verifier = Verifier(scored.scorer)

    def right(answer: Answer, pair: Made) -> bool:
        return verifier.score(answer["text"], problems[pair["prompt"]]) >= 1.0

    return sum(right(p["chosen"], p) and not right(p["rejected"], p) for p in answered) / len(answered)


def pair_of(policy: Language, items: Sequence[Made], problems: Sequence[Problem], run: Run) -> Pair:
    """Log-probabilities of a batch of pairs under the policy; the reference's are those the answers were judged with."""
    prompts = policy.prompts([problems[item["prompt"]].prompt for item in items] * 2)
    answers = sampled(
        policy, [item["chosen"]["ids"] for item in items] + [item["rejected"]["ids"] for item in items]
    )
    sums = sequence_sum(completion_log_probs(policy, prompts, answers, forward=run.forward), answers.mask)
    fixed = [sums.new_tensor([item[name] for item in items]) for name in ("chosen_logp", "rejected_logp")]
    return Pair(*sums.chunk(2), *fixed, *answers.lengths.chunk(2))
