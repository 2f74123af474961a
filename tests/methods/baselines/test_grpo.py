"""GRPO as a method: it learns what its judge rewards, every variant runs, and what cannot work is refused before anything is written."""

from __future__ import annotations

import json
import typing
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from counterpoint.cli.main import app
from counterpoint.data.language.problem import Problem
from counterpoint.data.language.problems import ProblemData, Problems
from counterpoint.errors import CounterpointError
from counterpoint.generation.sampler import Sampled, Sampler
from counterpoint.methods.baselines.grpo import GRPO, Variant
from counterpoint.models.language.characters import tiny
from counterpoint.phases.policy_gradient import Update
from counterpoint.training import Budget, Run

SUMS = [Problem(f"{n}+1=", answer=str(n + 1)) for n in range(8)]
DATA = ProblemData("sums", *(Problems(SUMS, "number") for _ in range(3)))
SMALL: dict[str, Any] = {
    "answers": 4,
    "max_new_tokens": 4,
    "batch_size": 4,
    "learning_rate": 3e-3,
    "epochs": 50.0,
}


@pytest.fixture
def rewards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "mine.py").write_text(
        "def ones(completions, **_):\n    return [text.count('1') / 4 for text in completions]\n\n\n"
        "async def short(completions, answer, **_):\n    return [-len(text) for text in completions]\n"
    )
    monkeypatch.chdir(tmp_path)
    return "mine.py"


def train(out: Path, steps: int = 3, data: ProblemData = DATA, **settings: Any) -> list[dict[str, float]]:
    with Run(out, seed=0, budget=Budget(steps=steps), progress=False, audit=True) as run:
        GRPO.settings(**{**SMALL, **settings}).fit(tiny(seed=0), data, run)
    return [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]


def test_it_learns_what_is_rewarded(tmp_path: Path, rewards: str) -> None:
    events = train(tmp_path / "run", 40, judge=f"{rewards}:ones", **{"penalty.weight": 0.0})
    reward = [event[f"reward/{rewards}:ones"] for event in events]
    assert sum(reward[-5:]) / 5 > sum(reward[:5]) / 5 + 0.3


@pytest.mark.parametrize("variant", typing.get_args(Variant))
def test_every_variant_runs_with_all_that_it_may_have(tmp_path: Path, rewards: str, variant: str) -> None:
    events = train(
        tmp_path / "run",
        judge=f"{rewards}:ones + 0.1*{rewards}:short",
        variant=variant,
        iterations=2,
        minibatches=2,
        skip_cut=variant == "dapo",
        **{"penalty.weight": 0.1, "entropy.weight": 0.01, "entropy.share": 0.9, "clip.threshold": 1.0},
    )
    assert len(events) == 3
    assert {f"policy/reward/{rewards}:ones", f"policy/reward/{rewards}:short"} <= events[0].keys()


def test_a_penalty_holds_the_policy_near_its_start(tmp_path: Path, rewards: str) -> None:
    drift = [
        train(tmp_path / str(weight), 25, judge=f"{rewards}:ones", **{"penalty.weight": weight})[-1]["kl"]
        for weight in (1e-6, 3.0)
    ]
    assert drift[1] < drift[0] / 2


def test_equal_rewards_teach_nothing(tmp_path: Path) -> None:
    wrong = ProblemData(
        "wrong", *(Problems([Problem("1+1=", answer="123456")] * 8, "number") for _ in range(3))
    )
    events = train(tmp_path / "run", data=wrong, judge="verifier", **{"penalty.weight": 0.0})
    assert all(event["equal_groups"] == 1 and event["grad_norm"] == 0 for event in events)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"answers": 1}, "answers=1, and a completion is compared with the others"),
        ({"answers": 0}, "answers=0; expected a number above 0"),
        ({"minibatches": 9}, "minibatches=9 of batch_size=4 prompts"),
        ({"entropy.share": 2.0}, r"entropy.share=2\.0; expected a share"),
        ({"entropy.share": 0.0}, r"entropy.share=0\.0; expected a number above 0"),
        ({"temperature": 0.0}, r"temperature=0\.0; expected a number above 0"),
        ({"judge": "verifer"}, "did you mean 'verifier'"),
        ({"judge": "verifier + "}, "names no judge between two plus signs"),
        ({"variant": "drgrpo"}, "variant='drgrpo'"),
        (
            {"sampler": "server", "sampler.url": "http://x/v1", "sampler.model": "m"},
            "what the policy itself says",
        ),
        ({"max_new_tokens": 600}, "lower max_new_tokens"),
    ],
)
def test_what_cannot_work_is_refused(tmp_path: Path, wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(CounterpointError, match=says):
        train(tmp_path / "run", **wrong)
    assert not (tmp_path / "run" / "model").exists()


def test_problems_without_answers_need_another_judge(tmp_path: Path) -> None:
    blank = ProblemData("blank", *(Problems([Problem("1+1=")], "number") for _ in range(3)))
    with pytest.raises(CounterpointError, match="give the data an 'answer' column, or use another judge"):
        train(tmp_path / "run", data=blank)


TOOLS = '''
class Shop:
    """Sells fruit."""

    reward = 0.0

    def reset(self, answer):
        self.answer = answer
        return "the shop is open"

    def buy(self, name: str) -> str:
        """Buy a thing.

        Args:
            name: of the thing.
        """
        self.reward = float(name == self.answer)
        return "bought " + name
'''


def shopping(self: Sampler, model: Any, prompts: Any, draws: torch.Tensor) -> Sampled:
    """Buys one of two things, by the number that was drawn, and then says that it is done."""
    texts = []
    for row, number in zip(prompts.rows(), draws[:, 0].tolist(), strict=True):
        name = "pear" if number < 0.5 else "fig"
        call = json.dumps({"name": "buy", "arguments": {"name": name}})
        texts.append("done" if "bought" in model.tokenizer.decode(row) else call)
    rows = model.completions(texts)
    return Sampled(rows.ids, rows.mask, rows.mask * 0.0, torch.ones(len(texts), dtype=torch.bool))


def test_episodes_with_tools_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of a JSONL file, an environment in a script: only what the model wrote is learnt from, and the environment judges."""
    (tmp_path / "shop.py").write_text(TOOLS)
    rows = [
        {"prompt": [{"role": "user", "content": f"get fruit {n}"}], "answer": "pear" if n % 2 else "fig"}
        for n in range(8)
    ]
    (tmp_path / "tasks.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Sampler, "__call__", shopping)
    masks: list[Any] = []
    losses = Update.losses
    monkeypatch.setattr(
        Update, "losses", lambda self, *a, **k: masks.append((a[3], k["mask_NT"])) or losses(self, *a, **k)
    )
    done = CliRunner().invoke(app, [
        "run", "grpo", "--data", "tasks.jsonl", "--model", "characters", "--out", "out", "--steps", "2", "--no-evaluate",
        "--answers", "4", "--batch-size", "4", "--max-new-tokens", "60", "--episode.tools", "shop.py:Shop",
        "--judge", "environment", "--resample", "3", "--learning-rate", "0.001",
        "--data-option", "validation=0", "--data-option", "test=0",
    ])  # fmt: skip
    assert done.exit_code == 0, done.output
    samples = [json.loads(line) for line in (tmp_path / "out" / "samples.jsonl").read_text().splitlines()]
    answer = samples[0]["answers"][0]
    assert answer["text"] == "done"
    assert "buy" in answer["episode"]
    assert "bought" not in answer["episode"]
    assert {each["rewards"]["environment"] for row in samples for each in row["answers"]} == {0.0, 1.0}
    for row in samples:
        for each in row["answers"]:
            right = rows[int(row["prompt"][0]["content"][-1])]["answer"]
            assert each["rewards"]["environment"] == float(f'"{right}"' in each["episode"])
    for completions, mask in masks:
        assert (~completions.authored & completions.mask.bool()).any(), "tools answered"
        assert not (mask & ~completions.authored).any(), "and their words are not learnt"


def test_an_environment_needs_tools_with_a_state(tmp_path: Path) -> None:
    with pytest.raises(CounterpointError, match="judge=environment hands on what an episode's tools say"):
        train(tmp_path / "run", judge="environment")
    with pytest.raises(CounterpointError, match=r"turns=0; expected at least 1"):
        train(tmp_path / "run2", **{"episode.turns": 0})
