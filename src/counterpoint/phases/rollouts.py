"""Groups of completions to the same prompts, and what judges say of them.

Shapes: P prompts of this rank, G completions to each, N = P G rows (those of a prompt are neighbours), T completion
positions, K judges.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from counterpoint.conversation import stored
from counterpoint.data.language.answer import Answer, Answers
from counterpoint.data.language.problem import Problem
from counterpoint.generation.sampler import Sampled
from counterpoint.generation.samplers import Samples
from counterpoint.judges.judge import Judge, Verdicts
from counterpoint.models.language.language import Prompt
from counterpoint.training import Run


@dataclass(frozen=True)
class Rollouts:
    """Groups of completions.

    Attributes:
        problems: [P].
        prompts: [N] as they were answered, each G times.
        completions: [N, T] with the sampler's log-probabilities.
        count: G.
        texts: [N] the completions decoded.
    """

    problems: Sequence[Problem]
    prompts: list[Prompt]
    completions: Sampled
    count: int
    texts: list[str]

    def answers(self) -> list[list[Answer]]:
        """[P][G] as judges take them."""
        rows = zip(self.completions.rows(), self.texts, self.completions.ended.tolist(), strict=True)
        flat = [Answer(ids=ids, text=text, ended=ended) for ids, text, ended in rows]
        return [flat[at : at + self.count] for at in range(0, len(flat), self.count)]


def sample_group(
    sampler: Samples,
    problems: Sequence[Problem],
    count: int,
    draws: Tensor,
    prompts: Sequence[Prompt] | None = None,
) -> Rollouts:
    """Answer every prompt ``count`` times with the policy of this step.

    Args:
        sampler: the policy's.
        problems: P of them.
        count: G.
        draws: [P, G T] uniform numbers, as ``batch.random.uniform(G * max_new_tokens)`` gives them on any number of
            processes.
        prompts: [P] in place of the problems' own, for a policy that is shown more than the problem.
    """
    questions = [problem.prompt for problem in problems] if prompts is None else list(prompts)
    each = draws.shape[1:].numel() // count  # not -1: a process may have no row
    sampled = sampler(questions, count, draws.reshape(len(questions) * count, each))
    return Rollouts(
        problems,
        [each for each in questions for _ in range(count)],
        sampled,
        count,
        sampler.model.texts(sampled),
    )


def once_a_step(run: Run, name: str, work: Callable[[], list[Any]], durable: bool) -> list[Any]:
    """This process's ``work()``; kept in the run's folder where it must not be done again after a crash (it costs something)."""
    if not durable:
        return work()
    return run.stage(name, lambda _: [work()], over=range(run.world), size=1)[
        run.rank
    ]  # each process owns a shard


def judge_group(run: Run, judges: Sequence[Judge], rollouts: Rollouts) -> tuple[Tensor, list[Verdicts]]:
    """Return (rewards [N, K], each judge's verdicts), NaN where a judge has no opinion.

    What a judge that says ``costly`` gave (a server's model, a person) is a durable stage of the step: a run that was killed
    reads it and does not ask again.
    """
    return judge_answers(run, judges, rollouts.problems, rollouts.answers(), "verdicts")


def judge_answers(
    run: Run, judges: Sequence[Judge], problems: Sequence[Problem], answers: Answers, name: str
) -> tuple[Tensor, list[Verdicts]]:
    """Return (rewards [N, K], each judge's verdicts) of as many answers to each problem; every process calls it.

    Args:
        name: of the step's stage, where a judge is costly; another for every call in a step.
    """
    every = []
    for number, judge in enumerate(judges):

        def rows(judge: Judge = judge) -> list[Any]:
            if not answers and not getattr(judge, "together", False):
                return []
            return [list(each) for each in judge(problems, answers).rows()]

        judged = once_a_step(run, f"{name}-{number}", rows, durable=getattr(judge, "costly", False))
        every.append(Verdicts.of([r for r, _ in judged], [t for _, t in judged]))
    rewards = [each.rewards.reshape(-1) for each in every]
    return torch.stack(rewards, -1).to(run.device), every


def record_completions(run: Run, problems: Sequence[Problem], texts: Sequence[str]) -> None:
    """Write what a batch's prompts were answered with into the run's samples, where nothing judges it.

    Args:
        problems: of this process. texts: one completion each.
    """
    run.record_samples(
        [
            {"prompt": stored(problem.prompt), "answers": [{"text": text}]}
            for problem, text in zip(problems, texts, strict=True)
        ]
    )


def record_rollouts(
    run: Run,
    rollouts: Rollouts,
    names: Sequence[str],
    verdicts: Sequence[Verdicts],
    advantage_N: Tensor,
    **extra: Sequence[str],
) -> None:
    """Write a batch's completions, with rewards and texts by judge and the advantages, into the run's samples.

    Args:
        names: of the K judges. verdicts: theirs.
        extra: more texts, one a completion, such as feedback; empty ones are left out.
    """
    rows, advantages = [], advantage_N.tolist()
    for p, problem in enumerate(rollouts.problems):
        answers = []
        for g in range(rollouts.count):
            n = p * rollouts.count + g
            rewards = {name: float(each.rewards[p, g]) for name, each in zip(names, verdicts)}
            texts = {name: each.texts[p][g] for name, each in zip(names, verdicts) if each.texts[p][g]}
            more = {name: each[n] for name, each in extra.items() if each[n]}
            answers.append(
                {
                    "text": rollouts.texts[n],
                    "rewards": rewards,
                    "verdicts": texts,
                    "advantage": advantages[n],
                    **more,
                }
            )
        rows.append({"prompt": stored(problem.prompt), "answers": answers})
    run.record_samples(rows)


def group_statistics(rollouts: Rollouts, rewards_NK: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """What every step logs about its completions, [N] each: rewards by judge, length, cut ones, groups of equal rewards."""
    total = rewards_NK.nan_to_num().sum(-1).reshape(-1, rollouts.count)
    equal = (total == total[:, :1]).all(-1).repeat_interleave(rollouts.count)
    figures = {f"reward/{name}": rewards_NK[:, k] for k, name in enumerate(names)}
    figures |= {
        "length": rollouts.completions.lengths,
        "cut": ~rollouts.completions.ended,
        "equal_groups": equal,
    }
    return {name: value.to(rewards_NK.device).float() for name, value in figures.items()}
