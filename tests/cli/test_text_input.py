"""Texts from the command line: a person's own file end to end, and wrong files that are refused with one message."""

from __future__ import annotations

import json

import pytest

from texts_made_up import rows, write_csv

TABLE = rows(120)


@pytest.mark.parametrize(
    ("table", "options", "says"),
    [
        ([{"words": r["text"], "label": r["label"]} for r in TABLE], [], ["text=words"]),
        ([{**r, "label": "tea"} for r in TABLE], [], ["class 'tea'", "at least two"]),
        ([{**r, "text": ""} if n == 5 else r for n, r in enumerate(TABLE)], [], ["row 6", "empty=skip"]),
        (TABLE, ["--data-option", "labeled=0.1"], ["did you mean 'labelled'"]),
        (TABLE[:8], [], ["at least 20"]),
        (TABLE, ["--objective", "info_nce"], ["objective"]),
        (TABLE, ["--model", "word"], ["did you mean 'words'"]),
    ],
)
def test_wrong_input_is_refused(cli, tmp_path, table, options, says):
    out = tmp_path / "out"
    done = cli(
        "run",
        "contrastive-primer",
        "--data",
        write_csv(tmp_path / "mails.csv", table),
        "--steps",
        "2",
        "--out",
        out,
        *options,
    )
    assert done.exit_code == 2, done.output
    assert done.stderr.count("error: ") == 1
    assert "Traceback" not in done.stderr
    for part in says:
        assert part in done.stderr
    assert not out.exists()


def test_an_empty_file_is_refused(cli, tmp_path):
    (tmp_path / "mails.csv").write_text("")
    done = cli("run", "tfidf", "--data", tmp_path / "mails.csv", "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "mails.csv" in done.stderr
    assert not (tmp_path / "out").exists()


def test_recommend_and_ablate_on_ones_own_file(cli, tmp_path):
    data = write_csv(tmp_path / "mails.csv", TABLE)
    said = cli("recommend", "--data", data)
    assert said.exit_code == 0, said.output
    assert "contrastive-primer" in said.output
    assert "tfidf" in said.output
    done = cli(
        "ablate", "contrastive-primer", "--data", data, "--seeds", "2", "--steps", "4", "--vary", "objective=bce,infonce",
        "--out", tmp_path / "ablation",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "infonce" in done.output
    assert (tmp_path / "ablation" / "summary.json").exists()


def test_a_pretrained_folder_ranks_other_classes_by_name(cli, tmp_path):
    bare = write_csv(tmp_path / "bare.csv", [{"text": r["text"]} for r in TABLE])
    done = cli(
        "run",
        "contrastive-primer",
        "--data",
        bare,
        "--steps",
        "6",
        "--no-evaluate",
        "--out",
        tmp_path / "first",
    )
    assert done.exit_code == 0, done.output
    labelled = write_csv(tmp_path / "mails.csv", TABLE)
    done = cli(
        "run", "contrastive-primer", "--data", labelled, "--model", tmp_path / "first" / "model", "--steps", "6", "--out",
        tmp_path / "second",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "second" / "result.json").read_text())
    assert "zero_shot_macro_ap" in result["before"]["test"]
    assert "macro_ap" in result["metrics"]["test"]
