"""Dynamic sampling: groups that teach nothing give way to groups of other prompts (DAPO, arXiv 2503.14476, section 3.2).

DAPO fills a batch with prompts that were answered both well and badly, 0 < |{correct}| < G (eq. 11); rewards need not be 0 and 1
here: a group stays when its rewards differ. P prompts of this process, G completions to each, N = P G, K judges.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from counterpoint.data.language.answer import Answers
from counterpoint.data.language.problem import Problem
from counterpoint.generation.sampler import Sampled
from counterpoint.judges.judge import Verdicts
from counterpoint.objectives.preference.advantage import combine
from counterpoint.phases.rollouts import Rollouts
from counterpoint.training import Run
from counterpoint.training.batches import Batch

Roll = Callable[[Sequence[Problem], Tensor], Rollouts]
"""Problems [P'] and their uniform numbers [P', ...] in, groups out."""
JudgeAll = Callable[[Sequence[Problem], Answers, str], tuple[Tensor, list[Verdicts]]]
"""Problems, their answers and the name of a stage in; rewards [N', K] and verdicts out. Every process calls it."""


@dataclass(frozen=True)
class Judged:
    """Groups with what judges gave them.

    Attributes:
        rollouts: P groups. rewards: [N, K]. verdicts: of each judge.
        equal: [P] whether the rewards of a group are all the same.
        replaced: [P] how many groups were drawn in this one's stead.
    """

    rollouts: Rollouts
    rewards: Tensor
    verdicts: list[Verdicts]
    equal: Tensor
    replaced: Tensor

    @classmethod
    def of(cls, rollouts: Rollouts, rewards: Tensor, verdicts: list[Verdicts], weights: Tensor) -> Judged:
        """Groups as they were first drawn; ``weights`` [K] are the judges'."""
        equal = equal_groups(combine(rewards, weights), rollouts.count)
        return cls(rollouts, rewards, verdicts, equal, torch.zeros_like(equal, dtype=torch.long))


def equal_groups(reward_N: Tensor, count: int) -> Tensor:
    """[P] whether a group has nothing to compare: no two rewards that differ. NaN is no reward.

    >>> nan = float("nan")
    >>> equal_groups(torch.tensor([0.0, 1.0, 1.0, 1.0, nan, 0.5]), 2).tolist()
    [False, True, True]
    """
    rows = reward_N.reshape(-1, count)
    low = rows.nan_to_num(nan=torch.inf).amin(1)
    high = rows.nan_to_num(nan=-torch.inf).amax(1)
    return ~(high > low)


def resample(
    run: Run,
    batch: Batch,
    source: Sequence[Problem],
    judged: Judged,
    roll: Roll,
    judge: JudgeAll,
    weights: Tensor,
    *,
    tries: int,
    width: int,
) -> Judged:
    """Replace groups of equal rewards by groups of other prompts, at most ``tries`` times each.

    Numbers are drawn for every row of the global batch and every process goes on until all are done, so that the result does
    not depend on how many there are.

    Args:
        source: training problems, of which others are drawn.
        width: uniform numbers a problem.
    """
    for number in range(tries):
        if not bool(run.gather_constant(judged.equal.float()).any()):
            break
        others, draws = batch.random.integers(len(source)), batch.random.uniform(width)
        rows = judged.equal.nonzero().flatten().tolist()
        problems = [source[int(others[row])] for row in rows]
        new = roll(problems, draws[rows])  # also of no problem: weights and servers may need every process
        rewards, verdicts = judge(problems, new.answers(), f"verdicts-again-{number}")
        if rows:
            judged = replaced(judged, rows, Judged.of(new, rewards.to(judged.rewards), verdicts, weights))
    return judged


def replaced(judged: Judged, rows: Sequence[int], new: Judged) -> Judged:
    """Groups with those of some rows exchanged for new ones, whether those are better or not."""
    old, count = judged.rollouts, judged.rollouts.count
    size = len(old.problems)
    source = list(range(size))
    for number, row in enumerate(rows):
        source[row] = size + number
    flat = [group * count + member for group in source for member in range(count)]
    order = torch.tensor(flat, device=old.completions.ids.device)
    problems, prompts, texts = (
        [*old.problems, *new.rollouts.problems],
        [*old.prompts, *new.rollouts.prompts],
        [*old.texts, *new.rollouts.texts],
    )
    rollouts = Rollouts(
        [problems[group] for group in source],
        [prompts[row] for row in flat],
        _stacked(old.completions, new.rollouts.completions)[order],
        count,
        [texts[row] for row in flat],
    )
    pick = torch.tensor(source)
    there = torch.zeros(size, dtype=torch.long, device=judged.replaced.device)
    there[list(rows)] = 1
    return Judged(
        rollouts,
        torch.cat([judged.rewards, new.rewards])[order.to(judged.rewards.device)],
        [_verdicts(one, other, source) for one, other in zip(judged.verdicts, new.verdicts, strict=True)],
        torch.cat([judged.equal, new.equal])[pick.to(judged.equal.device)],
        judged.replaced + there,
    )


def _verdicts(old: Verdicts, new: Verdicts, source: Sequence[int]) -> Verdicts:
    texts = [*old.texts, *new.texts]
    return Verdicts(torch.cat([old.rewards, new.rewards])[list(source)], [texts[group] for group in source])


def _stacked(one: Sampled, other: Sampled) -> Sampled:
    """Completions on top of one another, padded on the right to one width: all fields that have a column a token."""
    width = max(one.width, other.width)
    fields = {
        name: torch.cat([pad(part, (0, width - part.shape[1])) if part.dim() == 2 else part for part in both])
        for name, value in vars(one).items()
        for both in [(value, getattr(other, name))]
    }
    return replace(one, **fields)
