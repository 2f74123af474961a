"""Ten kinds of wrong input: each is one message that says what to do, status 2, and leaves nothing half-written."""

import json
import resource
import subprocess
import sys

import numpy as np
import pytest


def images(path, **changes):
    rng = np.random.default_rng(0)
    arrays = {
        "images": rng.integers(0, 255, (60, 8, 8), dtype=np.uint8),
        "labels": np.arange(60) % 3,
        **changes,
    }
    np.savez(path, **arrays)
    return path


def refused(done, out=None, *, says=()):
    """One message, status 2, no folder."""
    assert done.exit_code == 2, done.output
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error: ") == 1
    for part in says:
        assert part in done.stderr
    if out is not None:
        assert not out.exists()


def test_missing_column(cli, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join(json.dumps({"prompt": f"p{i}", "chosen": "yes"}) for i in range(20)))
    out = tmp_path / "out"
    refused(
        cli("run", "dpo", "--data", rows, "--model", "characters", "--steps", "2", "--out", out),
        out,
        says=["rejected"],
    )


@pytest.mark.parametrize(
    ("method", "name"),
    [("lightgcn", "pairs.tsv"), ("dpo", "rows.jsonl"), ("sft", "rows.jsonl"), ("dcl", "images.npz")],
)
def test_empty_file(cli, tmp_path, method, name):
    (tmp_path / name).write_text("")
    out = tmp_path / "out"
    refused(cli("run", method, "--data", tmp_path / name, "--steps", "2", "--out", out), out, says=[name])


def test_one_class(cli, tmp_path):
    data, out = images(tmp_path / "one.npz", labels=np.zeros(60, dtype=int)), tmp_path / "out"
    refused(
        cli("run", "dcl", "--data", data, "--steps", "2", "--out", out), out, says=["class", "at least two"]
    )


def test_image_that_is_not_a_number(cli, tmp_path):
    broken = np.random.default_rng(0).random((60, 8, 8)).astype(np.float32)
    broken[7, 3, 3] = np.nan
    data, out = images(tmp_path / "nan.npz", images=broken), tmp_path / "out"
    refused(cli("run", "dcl", "--data", data, "--steps", "2", "--out", out), out, says=["NaN"])


def test_unknown_setting(cli, tmp_path):
    out = tmp_path / "out"
    refused(
        cli("run", "dcl", "--data", "digits", "--steps", "2", "--temprature", "0.5", "--out", out),
        out,
        says=["temprature", "did you mean 'temperature'"],
    )
    refused(
        cli("run", "dcl", "--data", "digits", "--temperature", "warm", "--out", out),
        out,
        says=["temperature", "warm"],
    )
    file = tmp_path / "settings.toml"
    file.write_text("[settings]\ntemprature = 0.5\n")
    refused(
        cli("run", "dcl", "--data", "digits", "--config", file, "--out", out),
        out,
        says=["did you mean 'temperature'"],
    )
    file.write_text("stpes = 5\n")
    refused(
        cli("run", "dcl", "--data", "digits", "--config", file, "--out", out),
        out,
        says=["did you mean 'steps'"],
    )


def test_misspelt_method(cli, tmp_path):
    out = tmp_path / "out"
    refused(cli("run", "dlc", "--data", "digits", "--out", out), out, says=["dlc", "did you mean 'dcl'"])
    refused(
        cli("compare", "dcl", "simclrr", "--data", "digits", "--out", out),
        out,
        says=["did you mean 'simclr'"],
    )


@pytest.mark.parametrize(
    "content",
    [{}, {"config.json": "{", "model.safetensors": "x"}, {"config.json": "{}", "model.safetensors": "x"}],
)
@pytest.mark.parametrize(
    ("method", "data"), [("dcl", "digits"), ("lightgcn", "movielens-100k"), ("sft", "worked-sums")]
)
def test_unreadable_model_folder(cli, tmp_path, content, method, data):
    folder, out = tmp_path / "model", tmp_path / "out"
    folder.mkdir()
    for name, text in content.items():
        (folder / name).write_text(text)
    refused(
        cli("run", method, "--data", data, "--model", folder, "--steps", "2", "--out", out),
        out,
        says=[str(folder)],
    )


def test_mismatched_vocabularies(cli, tmp_path):
    from counterpoint.models.language import characters

    characters.tiny(alphabet=characters.ALPHABET[::-1]).save(tmp_path / "teacher")
    out = tmp_path / "out"
    done = cli("run", "gkd", "--data", "worked-sums", "--model", "characters", "--teacher", tmp_path / "teacher", "--steps", "2",
               "--max-new-tokens", "4", "--out", out)  # fmt: skip
    refused(done, out, says=["vocabular"])


@pytest.mark.parametrize("limit", [pytest.param(300, marks=pytest.mark.slow), 40_000])
def test_full_disk(tmp_path, limit):
    """A file may not grow beyond a limit, which is what a full disk looks like from inside."""
    out = tmp_path / "out"

    def full():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(
        [sys.executable, "-B", "-m", "counterpoint", "run", "dcl", "--data", "digits", "--steps", "3", "--batch-size", "32",
         "--no-evaluate", "--out", str(out)],
        preexec_fn=full, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert "no space left" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (out / "model").exists()
    assert not (out / "result.json").exists()
    assert not list(tmp_path.rglob(".writing-*"))


def test_folder_of_another_run(cli, tmp_path):
    out = tmp_path / "out"
    assert cli("run", "toy-logistic", "--data", "points", "--steps", "3", "--out", out).exit_code == 0
    before = {p: p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}
    refused(
        cli("run", "toy-logistic", "--data", "points", "--steps", "4", "--out", out),
        says=["budget.steps", "--out"],
    )
    refused(cli("run", "toy-nothing", "--data", "points", "--steps", "3", "--out", out), says=["key"])
    refused(
        cli("compare", "toy-nothing", "toy-logistic", "--data", "points", "--steps", "3", "--out", out),
        says=["single run"],
    )
    assert {p: p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()} == before


def test_other_slips(cli, tmp_path):
    out = tmp_path / "out"
    refused(cli("run", "toy-logistic", "--data", "points"), says=["--out is missing", "counterpoint run"])
    refused(cli("run", "toy-logistic", "--out", out), out, says=["--data is missing"])
    refused(
        cli("run", "toy-logistic", "--data", "points", "--steps", "-3", "--out", out), out, says=["steps=-3"]
    )
    refused(
        cli("run", "toy-logistic", "--data", "points", "--precision", "fp8", "--out", out), out, says=["bf16"]
    )
    refused(
        cli("run", "toy-logistic", "--data", "points", "--data-option", "noise", "--out", out),
        out,
        says=["NAME=VALUE"],
    )
    refused(
        cli("compare", "toy-logistic", "toy-logistic", "--data", "points", "--out", out),
        out,
        says=["given twice"],
    )
    refused(
        cli("compare", "toy-logistic", "dcl", "--data", "points", "--out", out),
        out,
        says=["learns from images"],
    )
    refused(cli("resume", tmp_path), says=["neither a run nor a study"])
    refused(cli("report", tmp_path), says=["neither a run nor a study"])
    refused(cli("export", tmp_path, "--to", out), out, says=["neither a run nor a study"])
    (tmp_path / "file").write_text("x")
    refused(
        cli("run", "toy-logistic", "--data", "points", "--steps", "2", "--out", tmp_path / "file"),
        says=["is a file"],
    )


def test_data_of_another_kind_are_named(cli, tmp_path):
    data, out = tmp_path / "questions.jsonl", tmp_path / "out"
    data.write_text("".join(json.dumps({"anchor": f"q {n}", "positive": f"a {n}"}) + "\n" for n in range(9)))
    like = "These look like sentence-pairs"
    refused(cli("run", "dcl", "--data", data, "--out", out), out, says=[like, "--kind sentence-pairs"])
    says = [like, "simclr learns from images", "counterpoint recommend"]
    refused(cli("run", "simclr", "--data", data, "--out", out), out, says=says)
    refused(cli("compare", "dcl", "simclr", "--data", data, "--steps", "1", "--out", out), out, says=[like])


def test_a_folder_that_is_not_there(cli, tmp_path):
    refused(cli("predict", tmp_path / "runs" / "mails", "--data", "x.csv"), says=["there is no folder"])
