"""Prompts without answers are ranked by what a judge says of the replies; without a judge, the message says which option to give."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import counterpoint
from counterpoint.data.language.problems import Problem, Problems, load
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.language import greedy_reward
from counterpoint.generation.sampler import Sampler
from counterpoint.models.language.characters import tiny
from counterpoint.tasks.task import task

REWARDS = """
def brevity(completions, prompts, **columns):
    return [-float(len(text)) - 0.1 * len(prompt) for text, prompt in zip(completions, prompts)]


def sometimes(completions, prompts, **columns):
    return [None if prompt.startswith("1") else 3.0 for prompt in prompts]


def never(completions, **columns):
    return [None for _ in completions]
"""
PROMPTS = ["1+1=", "20+2=", "3=", "12=", "4+4="]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rewards.py").write_text(REWARDS)
    rows = [{"prompt": f"{n}+{n}="} for n in range(30)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def test_the_reward_is_the_mean_over_greedy_replies(folder: Path) -> None:
    model = tiny(seed=0).eval()
    rows = Problems([Problem(prompt) for prompt in PROMPTS], "exact")
    texts = [
        model.texts(Sampler(max_new_tokens=9, temperature=0)(model, model.prompts([p])))[0] for p in PROMPTS
    ]
    figures = greedy_reward(model, rows, f"{folder / 'rewards.py'}:brevity", max_new_tokens=9)
    assert figures["reward"] == pytest.approx(-sum(len(t) + 0.1 * len(p) for t, p in zip(texts, PROMPTS)) / 5)
    assert figures["judged"] == 1.0
    some = greedy_reward(model, rows, f"{folder / 'rewards.py'}:sometimes", max_new_tokens=9)
    assert (some["reward"], some["judged"]) == (pytest.approx(3.0), pytest.approx(0.6))
    with pytest.raises(CounterpointError, match="no opinion of any reply"):
        greedy_reward(model, rows, f"{folder / 'rewards.py'}:never", max_new_tokens=9)
    with pytest.raises(CounterpointError, match="judge=majority marks replies against one another"):
        greedy_reward(model, rows, "majority")


def test_a_run_on_prompts_alone_is_measured_by_the_judge_that_is_named(folder: Path) -> None:
    judge = f"{folder / 'rewards.py'}:brevity"
    given = {
        "data": str(folder / "rows.jsonl"),
        "model": "characters",
        "steps": 1,
        "progress": False,
        "reply_tokens": 6,
    }
    settings = {"lora_rank": 0, "judge": judge, "answers": 2, "batch_size": 2, "max_new_tokens": 6}
    result = counterpoint.run(
        "grpo", out=folder / "a", settings=settings, data_options={"judge": judge}, **given
    )  # type: ignore[arg-type]
    assert result.primary == "reward"
    assert result.metrics["test"]["reward"] < 0
    assert result.before["test"]["reward"] < 0
    with pytest.raises(CounterpointError, match=r"--data-option judge=rewards.py:function.*--no-evaluate"):
        counterpoint.run("grpo", out=folder / "b", settings=settings, **given)  # type: ignore[arg-type]
    assert not (folder / "b").exists()


def test_answers_are_compared_where_every_problem_has_one(folder: Path) -> None:
    rows = [{"prompt": f"{n}=", "answer": str(n)} for n in range(30)]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = load(folder / "rows.jsonl", judge=f"{folder / 'rewards.py'}:brevity")
    figures = task("problems").evaluate(tiny(seed=0).eval(), data, "test")
    assert "accuracy" in figures
    assert "reward" not in figures
