"""Run options: declared once; flags, files, keywords and recipes follow."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import typer

from counterpoint.cli import options as flags
from counterpoint.cli.main import app
from counterpoint.errors import CounterpointError
from counterpoint.study import options
from counterpoint.study.arms import build, recipe
from counterpoint.study.options import Recorded, RunOptions
from counterpoint.study.recipe import Recipe

CHOSEN = {
    "data_options": {"size": "8"}, "model_options": {"dtype": "bf16"}, "save": "both", "reply_tokens": 9, "eval_every": 2, "patience": 3, "keep_model": "last", "seed": 7, "precision": "bf16", "benchmarks": ("beir:data/food", "lm-eval:arc_easy"), "micro_batch_size": 4, "micro_batch_tokens": 64, "shard": "fsdp", "max_length": 30, "too_long": "truncate", "kind": "images", "steps": 3,
    "examples": 400, "tokens": 500, "seconds": 6.5,
}  # fmt: skip
"""A value other than the default for every option: a new one is added here, too."""


def test_every_option_reaches_the_recipe() -> None:
    assert set(CHOSEN) == set(RunOptions.names())
    made = recipe(build("dcl"), data="digits", **CHOSEN)
    stored = Recipe.from_dict(json.loads(json.dumps(made.as_dict())))
    assert stored.data_options == {"size": "8", "max_length": "30", "too_long": "truncate"}
    for name, value in CHOSEN.items():
        if name == "data_options" or name in options.OF_THE_DATA:
            continue
        assert (stored.budget[name] if name in stored.budget else getattr(stored, name)) == value


@pytest.mark.parametrize(
    ("command", "without"), [("run", set()), ("compare", {"seed"}), ("ablate", {"seed"})]
)
def test_commands_have_a_flag_for_every_option(command: str, without: set[str]) -> None:
    shown = {
        flag
        for parameter in typer.main.get_command(app).commands[command].params  # type: ignore[attr-defined]
        for flag in parameter.opts
    }
    expected = {
        "--" + name.replace("_options", "_option").replace("benchmarks", "benchmark").replace("_", "-")
        for name in set(RunOptions.names()) - without
    }
    assert expected <= shown
    assert not {"--" + name for name in without} & shown


def test_a_file_stands_where_no_flag_is_given(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(
        "seed = 7\nprecision = 'bf16'\nmicro_batch_size = 4\nmicro_batch_tokens = 64\nshard = 'fsdp'\nmax_length = 30\ntoo_long = 'truncate'\nkind = 'images'\nsteps = 3\nexamples = 400\ntokens = 500\n"
        "seconds = 6.5\nsave = 'both'\nreply_tokens = 9\neval_every = 2\npatience = 3\nkeep_model = 'last'\nbenchmarks = ['beir:data/food', 'lm-eval:arc_easy']\n[data_options]\nsize = '8'\n[model_options]\ndtype = 'bf16'\n"
    )
    content = flags.read_config(file)
    assert flags.Given().over(content) == CHOSEN
    given = flags.Given(steps=9, data_options={"shift": "1"})
    assert given.over(content) == {**CHOSEN, "steps": 9, "data_options": {"size": "8", "shift": "1"}}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seed": 1000}, r"seed=1000; expected a whole number from 0 to 999"),
        ({"seed": "x"}, r"seed='x'; expected a whole number"),
        ({"steps": 0}, r"steps=0; expected a number above 0, or leave it out"),
        ({"steps": 2.5}, r"steps=2.5; expected"),
        ({"seconds": float("nan")}, r"seconds=nan; expected a number above 0"),
        ({"precision": "fp8"}, r"precision='fp8'; expected auto, no \(fp32\), bf16 or fp16"),
        ({"micro_batch_size": 0}, r"micro_batch_size=0; expected a whole number above 0"),
        ({"data_options": 3}, r"data_options=3; expected names with values"),
        ({"max_length": 1}, r"max_length=1; expected a whole number of 2 or more"),
        ({"too_long": "cut"}, r"too_long='cut'; expected drop or truncate"),
        ({"step": 3}, r"no option 'step'; .*steps"),
    ],
)
def test_wrong_options_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(CounterpointError, match=message):
        RunOptions.of(wrong)


def test_an_option_that_older_runs_lack_is_part_of_the_identity_only_when_it_is_chosen() -> None:
    before = recipe(build("dcl"), data="digits").identity("data")
    assert {"seed", "precision", "data_options"} <= set(before)
    assert "micro_batch_size" not in recipe(build("dcl"), data="digits", micro_batch_size=4).identity("data")
    size = next(each for each in dataclasses.fields(Recorded) if each.name == "micro_batch_size")
    metadata, size.metadata = size.metadata, {**size.metadata, "identity": "unless default"}  # type: ignore[misc]
    try:
        assert recipe(build("dcl"), data="digits").identity("data") == before
        chosen = recipe(build("dcl"), data="digits", micro_batch_size=4)
        assert options.identifying(chosen)[-1] == "micro_batch_size"
        assert chosen.identity("data") == {**before, "micro_batch_size": 4}
    finally:
        size.metadata = metadata  # type: ignore[misc]


def test_the_short_options_of_the_data_are_its_options_and_clash_where_they_differ() -> None:
    short = recipe(build("sft"), data="rows.jsonl", max_length=64, too_long="truncate")
    long = recipe(build("sft"), data="rows.jsonl", data_options={"max_length": "64", "too_long": "truncate"})
    assert short == long
    with pytest.raises(CounterpointError, match="max_length=64, and max_length=32 among the data options"):
        recipe(build("sft"), data="rows.jsonl", max_length=64, data_options={"max_length": "32"})
    with pytest.raises(CounterpointError, match="max_length=64 is an option of the data's loader"):
        recipe(build("sft"), data=object(), max_length=64)
