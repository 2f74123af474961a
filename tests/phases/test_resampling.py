"""Dynamic sampling: groups of equal rewards give way to groups of other prompts, and what stays equal teaches nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from counterpoint.data.language.answer import Answers
from counterpoint.data.language.problem import Problem
from counterpoint.data.language.problems import ProblemData, Problems
from counterpoint.errors import CounterpointError
from counterpoint.generation.sampler import Sampled
from counterpoint.judges.judge import Verdicts
from counterpoint.methods.baselines.grpo import GRPO
from counterpoint.models.language.characters import tiny
from counterpoint.phases.policy_gradient import Update
from counterpoint.phases.resampling import Judged, equal_groups, replaced, resample
from counterpoint.phases.rollouts import Rollouts
from counterpoint.training import Budget, Run

COUNT, WIDTH = 2, 6


def group(problems: Sequence[Problem], width: int = 3) -> Rollouts:
    """Two completions to each problem that bear its number, so that every row can be traced."""
    numbers = torch.tensor([10 * int(p.prompt) + g for p in problems for g in range(COUNT)])  # type: ignore[call-overload]
    ids = numbers[:, None].expand(-1, width).clone()
    size = len(numbers)
    completions = Sampled(
        ids, torch.ones_like(ids), -ids.float(), torch.ones(size, dtype=torch.bool)
    )  # fmt: skip
    prompts = [p.prompt for p in problems for _ in range(COUNT)]
    return Rollouts(problems, prompts, completions, COUNT, [str(int(n)) for n in numbers])


def judged(problems: Sequence[Problem], answers: Answers, name: str = "") -> tuple[Tensor, list[Verdicts]]:
    """Problems from 10 on are answered well once and badly once, the others always well."""
    rows = [
        [1.0, 0.0 if int(problem.prompt) >= 10 else 1.0]  # type: ignore[call-overload]
        for problem, _ in zip(problems, answers, strict=True)
    ]
    texts = [[f"{problem.prompt}:{g}" for g in range(COUNT)] for problem in problems]
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, 1), [Verdicts.of(rows, texts)]


def start(numbers: Sequence[int]) -> Judged:
    problems = [Problem(str(n)) for n in numbers]
    rollouts = group(problems)
    rewards, verdicts = judged(problems, rollouts.answers())
    return Judged.of(rollouts, rewards, verdicts, torch.ones(1))


def test_a_replaced_group_brings_everything_along() -> None:
    before = start([1, 10, 2])
    problems = [Problem("11"), Problem("12")]
    rollouts = group(problems, width=5)
    rewards, verdicts = judged(problems, rollouts.answers())
    after = replaced(before, [0, 2], Judged.of(rollouts, rewards, verdicts, torch.ones(1)))
    assert [p.prompt for p in after.rollouts.problems] == ["11", "10", "12"]
    assert after.rollouts.prompts == ["11", "11", "10", "10", "12", "12"]
    assert after.rollouts.texts == ["110", "111", "100", "101", "120", "121"]
    assert after.rollouts.completions.ids[:, 0].tolist() == [110, 111, 100, 101, 120, 121]
    assert after.rollouts.completions.lengths.tolist() == [5, 5, 3, 3, 5, 5], "padding is not read"
    assert after.rollouts.completions.log_probs[0].tolist() == [-110.0] * 5
    assert after.rewards[:, 0].tolist() == [1, 0] * 3
    assert after.verdicts[0].texts == [["11:0", "11:1"], ["10:0", "10:1"], ["12:0", "12:1"]]
    assert after.verdicts[0].rewards.tolist() == [[1, 0]] * 3
    assert after.equal.tolist() == [False] * 3
    assert after.replaced.tolist() == [1, 0, 1]


@pytest.mark.parametrize("tries", [0, 1, 50])
def test_groups_are_drawn_until_all_differ_or_the_tries_are_over(tmp_path: Path, tries: int) -> None:
    """Half of the problems are useful: a naive loop over the same random numbers says which groups stay."""
    source = [Problem(str(n)) for n in (1, 2, 3, 10, 11, 12)]
    calls: list[list[str]] = []

    def roll(problems: Sequence[Problem], draws: Tensor) -> Rollouts:
        assert draws.shape == (len(problems), WIDTH)
        calls.append([str(p.prompt) for p in problems])
        return group(problems)

    with Run(tmp_path / "run", seed=0, progress=False) as run:
        run.state(model=torch.nn.Linear(1, 1))
        for batch in run.batches(source, 4, epochs=1.0):
            first = start([1, 10, 2, 3])
            twin = torch.Generator()
            twin.set_state(batch.random.generator.get_state())
            done = resample(run, batch, source, first, roll, judged, torch.ones(1), tries=tries, width=WIDTH)
            rows = ["1", "10", "2", "3"]
            for _ in range(tries):
                if all(int(row) >= 10 for row in rows):
                    break
                others = torch.randint(6, (4,), generator=twin).tolist()
                torch.rand(4, WIDTH, generator=twin)
                rows = [
                    row if int(row) >= 10 else str(source[at].prompt)
                    for row, at in zip(rows, others, strict=True)
                ]
            assert [p.prompt for p in done.rollouts.problems] == rows
            assert done.equal.tolist() == [int(row) < 10 for row in rows]
            assert len(calls) <= tries
            assert all(len(each) <= 3 for each in calls), "a group whose rewards differ is not drawn again"
            if tries == 50:
                assert not done.equal.any()
            break


EASY = [Problem("1+1=", answer="99999")] * 6
SUMS = [*EASY, *(Problem(f"{n}+1=", answer=str(n + 1)) for n in range(2, 8))]
DATA = ProblemData("sums", *(Problems(SUMS, "number") for _ in range(3)))
SMALL: dict[str, Any] = {
    "answers": 4, "max_new_tokens": 4, "batch_size": 4, "learning_rate": 3e-3, "epochs": 50.0, "variant": "dapo",
}  # fmt: skip


def train(out: Path, steps: int = 3, **settings: Any) -> list[dict[str, Any]]:
    with Run(out, seed=0, budget=Budget(steps=steps), progress=False, audit=True) as run:
        GRPO.settings(**SMALL | settings).fit(tiny(seed=0), DATA, run)
    return [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]


def rewards_file(folder: Path) -> str:
    """Rewards that differ only for the sums that begin with 2 to 7."""
    (folder / "mine.py").write_text(
        "def ones(prompts, completions, **_):\n"
        "    return [0.0 if p.startswith('1+') else n / 4 for n, p in enumerate(prompts)]\n"
    )
    return f"{folder}/mine.py:ones"


def test_more_of_the_batch_teaches_something(tmp_path: Path) -> None:
    judge = rewards_file(tmp_path)
    without, with_it = (
        train(tmp_path / str(tries), 4, judge=judge, resample=tries, **{"penalty.weight": 0.0})
        for tries in (0, 30)
    )
    share = [sum(event["equal_groups"] for event in events) / 4 for events in (without, with_it)]
    assert share[0] > 0.2
    assert share[1] == 0
    assert "replaced" not in without[0]
    assert sum(event["replaced"] for event in with_it) > 0
    rows = [json.loads(line) for line in (tmp_path / "30" / "samples.jsonl").read_text().splitlines()]
    assert all(str(row["prompt"])[:2] != "1+" for row in rows), "what is learnt from is what is recorded"


def test_groups_that_stay_equal_are_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DAPO averages over the tokens of groups that differ: those of the others are masked, not merely worth nothing."""
    judge, calls, losses = rewards_file(tmp_path), [], Update.losses
    monkeypatch.setattr(
        Update, "losses", lambda self, *a, **k: calls.append((a[4], k["mask_NT"])) or losses(self, *a, **k)
    )
    train(tmp_path / "some", 6, judge=judge, resample=1, **{"penalty.weight": 0.0})
    equal = [(advantage.reshape(-1, 4) == 0).all(1) for advantage, _ in calls]
    assert any(each.any() for each in equal)
    assert not all(each.all() for each in equal)
    for (_, mask), each in zip(calls, equal, strict=True):
        assert mask.reshape(-1, 4, mask.shape[1]).any(-1).all(1).tolist() == (~each).tolist()
        assert not mask.reshape(-1, 4, mask.shape[1])[each].any()
    monkeypatch.undo()
    wrong = ProblemData("wrong", *(Problems(EASY, "number") for _ in range(3)))
    with Run(tmp_path / "all", seed=0, budget=Budget(steps=2), progress=False) as run:
        GRPO.settings(**SMALL | {"judge": judge, "resample": 2}).fit(tiny(seed=0), wrong, run)
    lines = (tmp_path / "all" / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["loss"] for line in lines] == [0.0, 0.0]
    assert [json.loads(line)["replaced"] for line in lines] == [2.0, 2.0]


def test_advantages_that_learn_from_equal_groups_refuse_it(tmp_path: Path) -> None:
    with pytest.raises(CounterpointError, match="resample=2 replaces groups whose rewards are equal"):
        train(tmp_path / "run", resample=2, variant="reinforce", judge="majority")


def test_no_reward_is_nothing_to_compare() -> None:
    nan = float("nan")
    rewards = torch.tensor([nan, nan, 0.0, nan, 0.0, 1.0, 2.0, 2.0])
    assert equal_groups(rewards, 2).tolist() == [True, True, False, True]
