"""What a run says of itself: lines off a terminal, tokens, replies within the context, a finished run that is to go on."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path

import pytest
import torch
from rich.console import Console
from rich.progress import Progress
from typer.testing import CliRunner

import counterpoint
from counterpoint.cli.main import app
from counterpoint.data.language.problems import Problem, ProblemData, Problems
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.language import greedy_accuracy
from counterpoint.methods.baselines.sft import SFT
from counterpoint.models import passes
from counterpoint.models.language.characters import tiny
from counterpoint.training import Budget, Run, events
from counterpoint.training.events import Bar


def test_off_a_terminal_a_line_comes_every_half_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    monkeypatch.setattr(events.time, "monotonic", lambda: now[0])
    bar = Bar(Progress(console=Console(file=io.StringIO()), disable=True))
    with caplog.at_level(logging.WARNING, logger="counterpoint"):
        for second in range(0, 100, 10):
            now[0] = float(second)
            bar.show("train", second, 100, "loss 0.5")
    assert [record.message for record in caplog.records] == [
        f"train: {done} of 100, loss 0.5" for done in (30, 60, 90)
    ]


def test_on_a_terminal_and_without_progress_no_line_comes(caplog: pytest.LogCaptureFixture) -> None:
    shown = Progress(console=Console(file=io.StringIO(), force_terminal=True))
    for bar in (Bar(shown), Bar(False)):
        bar._spoke -= 1000
        bar.show("train", 1, 2)
        bar.close()
    assert not caplog.records


def problems() -> ProblemData:
    rows = Problems([Problem(f"{n}+1=", answer=str(n + 1)) for n in range(12)], "number")
    return ProblemData("sums", rows, rows, rows)


def test_events_count_tokens_and_name_the_rate_that_was_used(tmp_path: Path) -> None:
    settings = {"batch_size": 4, "lora_rank": 0, "learning_rate": 0.1, "optimizer.warmup": 0.5}
    counterpoint.run(
        "sft", data=problems(), model=tiny(seed=0), out=tmp_path / "run", settings=settings, steps=4,
        evaluate=False, progress=False,
    )  # fmt: skip
    seen = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    tokens = [event["tokens"] for event in seen]
    assert tokens == sorted(set(tokens))
    assert tokens[-1] == json.loads((tmp_path / "run" / "result.json").read_text())["spent"]["tokens"]
    assert [event["learning_rate"] for event in seen][:2] == [0.0, pytest.approx(0.05)]


def test_replies_keep_within_the_model_and_the_option(tmp_path: Path) -> None:
    model = tiny(seed=0, length=12).eval()
    figures = greedy_accuracy(model, problems().test)
    assert figures["reply_tokens"] <= 12
    with passes.limits(None, reply_tokens=2):
        assert greedy_accuracy(model, problems().test)["reply_tokens"] <= 2
    result = counterpoint.run(
        "sft", data=problems(), model=model, out=tmp_path / "run", settings={"lora_rank": 0}, steps=1,
        reply_tokens=3, progress=False,
    )  # fmt: skip
    assert result.metrics["test"]["reply_tokens"] <= 3


def test_measurements_show_a_bar(tmp_path: Path) -> None:
    shown = Progress(console=Console(file=io.StringIO(), force_terminal=True))
    names: list[str] = []
    kept = shown.update
    shown.update = lambda task, **given: (names.append(given["description"]), kept(task, **given))[1]  # type: ignore[method-assign]
    counterpoint.run(
        "sft", data=problems(), model=tiny(seed=0), out=tmp_path / "run", settings={"lora_rank": 0}, steps=1,
        micro_batch_size=2, progress=shown,
    )  # fmt: skip
    assert names.count("measure test") > 2


def test_a_finished_run_says_how_to_train_on(tmp_path: Path) -> None:
    given = {
        "data": problems(),
        "model": tiny(seed=0),
        "out": tmp_path / "run",
        "progress": False,
        "evaluate": False,
    }
    counterpoint.run("sft", settings={"lora_rank": 0}, steps=1, **given)  # type: ignore[arg-type]
    with pytest.raises(
        CounterpointError, match=r"is finished.*budget.steps: 1 there, 3 asked for.*--model .*model --out NEW"
    ):
        counterpoint.run("sft", settings={"lora_rank": 0}, steps=3, **given)  # type: ignore[arg-type]


def test_a_command_off_a_terminal_says_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "rows.jsonl").write_text(
        "\n".join(json.dumps({"prompt": f"{n}=", "completion": str(n)}) for n in range(12))
    )
    monkeypatch.setattr(events, "QUIET_SECONDS", 0.0)
    monkeypatch.setattr(logging.getLogger("counterpoint"), "handlers", [caplog.handler])
    call = [
        "run",
        "sft",
        "--data",
        str(tmp_path / "rows.jsonl"),
        "--model",
        "characters",
        "--out",
        str(tmp_path / "run"),
    ]
    with caplog.at_level(logging.WARNING, logger="counterpoint"):
        done = CliRunner().invoke(app, [*call, "--lora-rank", "0", "--steps", "2"])
    assert done.exit_code == 0, done.output
    lines = [record.message for record in caplog.records]
    assert any(line.startswith("train: 1 of 2, loss ") for line in lines), lines
    assert any(line.startswith("measure test: ") for line in lines)


def test_the_accuracy_of_tokens_is_pooled_over_the_batch(tmp_path: Path) -> None:
    rows = [Problem("1=", solution="1111111"), Problem("2=", solution="2")]
    data = ProblemData("two", Problems(rows, "exact"), Problems([], "exact"), Problems([], "exact"))
    model = tiny(seed=0)
    prompts, answers = model.rows(["1=", "2="], ["1111111", "2"])
    right: list[bool] = []
    for asked, given in zip(prompts.rows(), answers.rows()):
        best = model.causal(input_ids=torch.tensor([asked + given])).logits[0].argmax(-1).tolist()
        right += [best[len(asked) + t - 1] == token for t, token in enumerate(given)]
    with Run(tmp_path / "run", budget=Budget(steps=1), progress=False) as run:
        SFT(lora_rank=0, batch_size=2).fit(model, data, run)
    seen = json.loads((tmp_path / "run" / "events.jsonl").read_text().splitlines()[0])
    assert seen["token_accuracy"] == pytest.approx(sum(right) / len(right))


@pytest.mark.parametrize("key", ["sdft", "gkd", "unisd"])
def test_what_a_student_wrote_stands_in_the_samples_once(key: str, tmp_path: Path) -> None:
    settings = {"lora_rank": 0, "batch_size": 4, "max_new_tokens": 4} | (
        {"on_policy": 1.0} if key == "gkd" else {}
    )
    out = counterpoint.run(
        key, data=problems(), model=tiny(seed=0), out=tmp_path / "run", settings=settings, steps=2,
        evaluate=False, progress=False,
    ).folder  # fmt: skip
    rows = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0] * 4 + [1] * 4
    assert all(len(row["answers"]) == 1 for row in rows)
    assert {row["prompt"] for row in rows} <= {f"{n}+1=" for n in range(12)}
