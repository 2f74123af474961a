"""Rows and model brought together before the first step: formats, templates, what is too long, what ``check`` shows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import counterpoint
from counterpoint.cli.main import app
from counterpoint.data.language import preferences, problems
from counterpoint.errors import CounterpointError
from counterpoint.models.language.characters import tiny
from counterpoint.tasks.task import task


def save(path: Path, rows: list[dict]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def rows(lengths: list[int]) -> list[dict]:
    return [{"prompt": f"{at}=", "completion": "c" * length} for at, length in enumerate(lengths)]


def load(path: Path, **options: object) -> problems.ProblemData:
    return problems.load(path, validation=0, test=0, **options)


def test_longer_rows_are_left_out_or_cut_and_counted(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", [*rows([3] * 8 + [40] * 2), {"prompt": "p" * 50, "completion": "c"}])
    problem = task("problems")
    model = tiny()
    data = problem.fitted(model, load(path, max_length=20))
    assert len(data.train) == 8
    assert model.max_length is None
    assert data.describe()[-1] == (
        "train: 3 of 11 rows are longer than 20 tokens (longest 54): 3 are left out"
    )
    data = problem.fitted(model, load(path, max_length=20, too_long="truncate"))
    assert len(data.train) == 10
    assert "2 are cut at their end; 1 is left out, whose prompt alone is as long" in data.describe()[-1]
    prompts, completions = model.rows(
        [row.prompt for row in data.train], [row.completion for row in data.train]
    )
    assert (prompts.lengths + completions.lengths).tolist() == [8] * 8 + [20] * 2
    with pytest.raises(CounterpointError, match="every training row is longer than max_length=3"):
        problem.fitted(model, load(path, max_length=3))
    with pytest.raises(CounterpointError, match="max_length=1; expected 2"):
        load(path, max_length=1)


def test_the_flag_cuts_as_the_data_option_does_before_the_first_step(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", rows([3] * 8 + [40] * 2))
    call = ["run", "sft", "--data", str(path), "--model", "characters", "--lora-rank", "0", "--steps", "1", "--no-evaluate",
            "--data-option", "validation=0", "--data-option", "test=0"]  # fmt: skip
    described = []
    for name, given in (("a", ["--max-length", "20"]), ("b", ["--data-option", "max_length=20"])):
        done = CliRunner().invoke(app, [*call, *given, "--out", str(tmp_path / name)])
        assert done.exit_code == 0, done.output
        described.append(json.loads((tmp_path / name / "result.json").read_text())["data"]["describe"])
    assert described[0] == described[1]
    assert "2 of 10 rows are longer than 20 tokens (longest 45): 2 are left out" in described[0][-1]
    shown = CliRunner().invoke(
        app, ["check", "--data", str(path), "--model", "characters", "--max-length", "20"]
    )
    assert "rows is longer than 20 tokens" in shown.output
    assert "left out" in shown.output


def test_pairs_count_their_longer_answer(tmp_path: Path) -> None:
    pairs = [{"prompt": f"{at}=", "chosen": "a", "rejected": "b" * (at + 1)} for at in range(10)]
    data = preferences.load(save(tmp_path / "a.jsonl", pairs), validation=0, test=0, max_length=10)
    assert [len(row.rejected) for row in task("preferences").fitted(tiny(), data).train] == [1, 2, 3, 4, 5]


def test_a_row_past_the_positions_is_refused_with_the_option_that_helps(tmp_path: Path) -> None:
    data = load(save(tmp_path / "a.jsonl", rows([3, 40])))
    with pytest.raises(CounterpointError, match=r"a\.jsonl, row 2: .* 24 positions; .*--max-length 24"):
        task("problems").fitted(tiny(length=24), data)


def test_text_stays_text_by_an_option(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", rows([2] * 4))
    model = tiny()
    plain = load(path, format="text").train
    prompts, completions = model.rows(
        [row.prompt for row in plain][:1], [row.completion for row in plain][:1]
    )
    assert model.tokenizer.decode(prompts.rows()[0] + completions.rows()[0]) == "0=cc</s>"
    chat = load(path, format="chat").train[0].prompt
    assert model.prompts([chat]).rows() == model.prompts(["0="]).rows()
    talk = save(tmp_path / "b.jsonl", [{"prompt": [{"role": "user", "content": "q"}], "completion": "c"}] * 4)
    with pytest.raises(CounterpointError, match=r"b\.jsonl, row 1: format=text, and the prompt is messages"):
        load(talk, format="text")


def test_a_template_for_a_model_without_one(tmp_path: Path) -> None:
    talk = [{"prompt": [{"role": "user", "content": f"{at}="}], "completion": "c"} for at in range(40)]
    path = save(tmp_path / "a.jsonl", talk)
    bare = tiny()
    bare.tokenizer.chat_template = None
    bare.save(tmp_path / "bare")
    given = {"data": str(path), "model": str(tmp_path / "bare"), "settings": {"lora_rank": 0}, "steps": 1}
    with pytest.raises(CounterpointError, match=r"a\.jsonl, row \d+: .*template=chatml"):
        counterpoint.run("sft", out=tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()
    counterpoint.run("sft", out=tmp_path / "named", data_options={"template": "roles"}, **given)
    assert (tmp_path / "named/model/chat_template.jinja").exists()
    with pytest.raises(CounterpointError, match="has a chat template of its own"):
        task("problems").fitted(tiny(), load(path, template="chatml"))


def test_all_turns_or_the_last(tmp_path: Path) -> None:
    def turn(role: str, content: str) -> dict:
        return {"role": role, "content": content}

    talk = {
        "messages": [turn("user", "a"), turn("assistant", "b"), turn("user", "c"), turn("assistant", "d")]
    }
    row = load(save(tmp_path / "a.jsonl", [talk] * 4)).train[0]
    model = tiny()
    for learnt, text in (("all", "b</s>d</s>"), ("last", "d</s>")):
        prompt, completion = row.example(learnt)
        _, completions = model.rows([prompt], [completion])
        assert model.tokenizer.decode(completions.ids[completions.authored]) == text
    assert (row.reference, len(row.prompt)) == ("d", 3)


def test_check_shows_lengths_and_what_is_learnt(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", rows([3] * 40))
    given = ["check", "--data", str(path), "--model", "characters", "--data-option", "max_length=6"]
    shown = CliRunner().invoke(app, given).output
    assert "train: tokens a row: half up to " in shown
    assert "rows are longer than 6 tokens" in shown
    assert "=~>>ccc</s><<" in shown


def test_text_alone_is_learnt_whole_by_sft_and_by_nothing_that_samples(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", [{"text": f"hello {at}"} for at in range(40)])
    given = {"data": str(path), "model": "characters", "steps": 2}
    result = counterpoint.run("sft", out=tmp_path / "sft", settings={"lora_rank": 0}, **given)
    assert result.primary == "likelihood"
    assert set(result.metrics["test"]) == {"likelihood", "perplexity"}
    with pytest.raises(CounterpointError, match="no prompt to sample from"):
        counterpoint.run("sdft", out=tmp_path / "sdft", evaluate=False, **given)
    row = load(path).train[0]
    _, completions = tiny().rows([row.prompt], [row.completion])
    assert tiny().texts(completions) == ["ello 0"]
