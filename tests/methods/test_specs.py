"""SPECS: tags read, supplemented and spoilt; pairs of right answers; the curve of the form; hand-over to GRPO; wrong input."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from counterpoint.cli.main import app
from counterpoint.data.language.problems import ProblemData, load
from counterpoint.data.language.tagged import CORRUPTIONS, Tags
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.generalization import format_accuracy, generalization_factor
from counterpoint.methods.specs import SPECS
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import Language
from counterpoint.training import Run

THINK = Tags("think", "answer")
SOLVER = """
import re

def solve(prompts):  # right answers, in a form or another
    texts = []
    for at, prompt in enumerate(prompts):
        one, other = re.search(r"(\\d)\\+(\\d)", prompt).groups()
        result = (int(one) + int(other)) % 10
        texts.append([f"{one}{other} Answer: {result}", f"<a>{one}{other}</a><b>{result}</b>", "nothing"][at % 3])
    return texts

def wrong(prompts):
    return ["<a>0</a><b>none</b>" for _ in prompts]
"""


@pytest.fixture
def solver(tmp_path: Path) -> Path:
    path = tmp_path / "solver.py"
    path.write_text(SOLVER)
    return path


@pytest.fixture(scope="module")
def data() -> ProblemData:
    return load("tagged-sums?size=24&validation=6&test=4")


def fit(out: Path, data: ProblemData, solver: Path, **settings: Any) -> tuple[Language, Run]:
    small = {
        "tags": "a b", "answers": 3, "rejected_from": "chosen", "batch_size": 5, "learning_rate": 1e-3,
        "source.author": f"{solver}:solve", "source.max_new_tokens": 6, **settings,
    }  # fmt: skip
    with Run(out, seed=0, progress=False, audit=True) as run:
        return SPECS.settings(**small).fit(tiny(seed=0), data, run), run


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_corruption_spoils_the_form_and_keeps_what_was_meant(kind: str) -> None:
    draw = random.Random(kind)
    for _ in range(200):
        words = ["".join(draw.choices("ab 1\n.<>", k=draw.randint(1, 9))) for _ in range(2)]
        if not words[1].strip() or any(mark in "".join(words) for mark in ("<think", "<answer")):
            continue
        text = THINK.written(*words)
        spoilt = THINK.corrupted(text, kind)
        assert THINK.parts(text) == tuple(words)
        assert THINK.parts(spoilt) is None
        assert words[0] in spoilt
        assert spoilt.rstrip().endswith((words[1].rstrip(), f"{words[1]}</answer>".rstrip()))
        again = THINK.supplemented(spoilt)
        assert THINK.parts(again) is not None


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("<think>a</think> <answer>4</answer>\n", ("a", "4")),
        ("<think></think><answer>4</answer>", ("", "4")),
        ("<think>a</think><answer> </answer>", None),
        ("<think>a<think>b</think><answer>4</answer>", None),
        ("<think>a</think><answer>4</answer><answer>5</answer>", None),
        ("so <think>a</think><answer>4</answer>", None),
        ("<answer>4</answer><think>a</think>", None),
    ],
)
def test_each_tag_stands_once_and_in_order(text: str, parts: tuple[str, str] | None) -> None:
    assert THINK.parts(text) == parts
    assert (re.fullmatch(THINK.pattern, text) is not None) == (parts is not None or "> </answer>" in text)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("2+2 makes 4. The answer is 4", ("2+2 makes 4.", "4")),
        ("<think>so 4</think> 4", ("", "so 4 4")),
        ("<think>so</think><answer>4", ("so", "4")),
        ("4", ("", "4")),
    ],
)
def test_a_missing_form_is_supplemented(text: str, parts: tuple[str, str]) -> None:
    found = THINK.parts(THINK.supplemented(text))
    assert found == parts


def test_pairs_are_right_on_both_sides_and_differ_in_form_alone(
    tmp_path: Path, data: ProblemData, solver: Path
) -> None:
    model, run = fit(tmp_path / "run", data, solver)
    tags, answers = Tags("a", "b"), {row.prompt: row.answer for row in data.train}
    rows = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    assert len(rows) == len(data.train)
    for row in rows:
        chosen, rejected = (each["text"] for each in row["answers"])
        parts = tags.parts(chosen)
        assert parts is not None
        assert parts[1] == answers[row["prompt"]]
        assert tags.parts(rejected) is None
        assert rejected in [tags.corrupted(chosen, kind) for kind in CORRUPTIONS]
    start = tiny(seed=0).state_dict()
    assert any(not torch.equal(value, start[name]) for name, value in model.state_dict().items())
    assert run.reported.rows("form") == []


def test_one_kind_of_corruption_and_a_judge_of_consistency(
    tmp_path: Path, data: ProblemData, solver: Path
) -> None:
    with (solver.parent / "solver.py").open("a") as file:
        file.write(
            "\ndef long(completions, **_):\n    return [float(len(text) > 15) for text in completions]\n"
        )
    fit(tmp_path / "run", data, solver, corruptions="unclosed", consistent="format:<a>.*")
    rows = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    assert all(not row["answers"][1]["text"].endswith("</b>") for row in rows)
    with pytest.raises(CounterpointError, match="none of 24 problems has an answer"):
        fit(tmp_path / "none", data, solver, consistent="format:no such answer")


def test_the_form_is_measured_on_the_way(tmp_path: Path, data: ProblemData, solver: Path) -> None:
    settings = {"watch.every": 2, "watch.others": "c d; e f", "epochs": 8.0, "source.max_new_tokens": 20}
    model, run = fit(tmp_path / "run", data, solver, **settings)
    curve = run.reported.rows("form")
    steps = -(-24 // 5) * 8
    assert [row["step"] for row in curve] == list(range(0, steps + 1, 2))
    assert curve[0]["factor"] == 0.0
    last = curve[-1]
    prompts = [row.prompt for row in data.validation]
    tags = Tags("a", "b")
    assert last["trained_tags"] == format_accuracy(model, prompts, tags, max_new_tokens=20)
    others = [
        format_accuracy(model, [tags.renamed(p, other) for p in prompts], other, max_new_tokens=20)
        for other in (Tags("c", "d"), Tags("e", "f"))
    ]
    assert last["other_tags"] == pytest.approx(sum(others) / 2)
    gains = [100 * (last[name] - curve[0][name]) for name in ("trained_tags", "other_tags")]
    assert last["factor"] == generalization_factor(gains[0], gains[1])


def test_the_factor_weighs_what_is_out_of_distribution_and_knows_no_negative_gains() -> None:
    assert generalization_factor(10.0, 30.0) > generalization_factor(30.0, 10.0)
    assert generalization_factor(-5.0, 30.0) == generalization_factor(0.0, 0.0) == 0.0
    for gain in (1.0, 37.5):
        assert generalization_factor(gain, gain) == pytest.approx(gain)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tags": "think"}, "expected two names of tags"),
        ({"tags": "x y"}, "does not name the tags <x> and <y>"),
        ({"corruptions": "bare,bar"}, "expected some of bare"),
        ({"corruptions": ""}, "expected some of bare"),
        ({"preference_weight": 0.0, "sft_weight": 0.0}, "both weights are 0"),
        ({"watch.others": "c"}, "expected two names of tags"),
        ({"answers": 0}, "answers=0; expected a number above 0"),
        ({"rejected_from": "zero"}, "rejected_from"),
    ],
)
def test_wrong_settings_are_one_message(
    tmp_path: Path, data: ProblemData, solver: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(CounterpointError, match=message):
        fit(tmp_path / "run", data, solver, **settings)


def test_rejected_answers_of_the_model_itself_must_be_right_too(
    tmp_path: Path, data: ProblemData, solver: Path
) -> None:
    fit(tmp_path / "few", data, solver, rejected_from="base")
    few = (tmp_path / "few" / "samples.jsonl").read_text().splitlines()
    assert 0 < len(few) < len(data.train), "an untrained model is right now and then"
    fit(tmp_path / "run", data, solver, rejected_from="base", judge="format:.+")
    rows = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    tags = Tags("a", "b")
    assert rows
    for row in rows:
        chosen, rejected = (each["text"] for each in row["answers"])
        assert tags.parts(chosen) is not None
        assert tags.parts(rejected) is None
        assert rejected not in [tags.corrupted(chosen, kind) for kind in CORRUPTIONS]


def test_no_right_answer_is_one_message(tmp_path: Path, data: ProblemData, solver: Path) -> None:
    with pytest.raises(
        CounterpointError, match="none of 24 problems has an answer that verifier finds right"
    ):
        fit(tmp_path / "run", data, solver, **{"source.author": f"{solver}:wrong"})


def test_grpo_goes_on_from_the_saved_model_with_the_same_form_in_its_reward(
    tmp_path: Path, solver: Path
) -> None:
    rows = [
        {
            "prompt": f"{n % 10}+{n // 10}= Reason in <a>, answer in <b>.",
            "answer": str((n % 10 + n // 10) % 10),
        }
        for n in range(30)
    ]
    (tmp_path / "sums.jsonl").write_text("\n".join(map(json.dumps, rows)))
    tiny(seed=0).save(tmp_path / "small")
    common = ["--data", str(tmp_path / "sums.jsonl"), "--no-evaluate"]
    cold = [
        "run",
        "specs",
        *common,
        "--model",
        str(tmp_path / "small"),
        "--out",
        str(tmp_path / "cold"),
        "--tags",
        "a b",
    ]
    cold += [
        "--source",
        f"{solver}:solve",
        "--rejected-from",
        "chosen",
        "--source.max-new-tokens",
        "6",
        "--answers",
        "3",
    ]
    result = CliRunner().invoke(app, cold)
    assert result.exit_code == 0, result.output
    form = Tags("a", "b").pattern
    hot = [
        "run",
        "grpo",
        *common,
        "--model",
        str(tmp_path / "cold" / "model"),
        "--out",
        str(tmp_path / "hot"),
    ]
    hot += [
        "--judge",
        f"verifier + 0.5*format:{form}",
        "--answers",
        "2",
        "--max-new-tokens",
        "4",
        "--batch-size",
        "12",
    ]
    result = CliRunner().invoke(app, hot)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "hot" / "model" / "model.safetensors").exists()
