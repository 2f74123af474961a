"""An encoder as it was downloaded answers with --kind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import counterpoint
from counterpoint.cli.main import app
from counterpoint.errors import CounterpointError
from example_files import bare_encoder


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    bare_encoder(tmp_path / "bert")
    return tmp_path / "bert"


def test_a_bare_encoder_embeds(bare: Path, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("text\nwarm tea\nstorm\n")
    done = CliRunner().invoke(
        app,
        [
            "predict",
            str(bare),
            "--kind",
            "text",
            "--data",
            str(tmp_path / "new.csv"),
            "--out",
            str(tmp_path / "out.jsonl"),
        ],
    )
    assert done.exit_code == 0, (done.output, done.exception)
    rows = [json.loads(line)["embedding"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    model = counterpoint.load(bare, kind="text")
    tokens = model.tokenize(["warm tea", "storm"])
    torch.testing.assert_close(
        torch.tensor(rows), model.eval()(tokens.ids, tokens.mask).detach(), rtol=1e-5, atol=1e-6
    )
    assert [row["embedding"] for row in model.predict(["warm tea", "storm"])] == rows


def test_without_a_kind_the_message_names_it(bare: Path) -> None:
    with pytest.raises(
        CounterpointError,
        match=r'--kind text \(images, audio, ...\); in Python, counterpoint.load\(FOLDER, kind="text"\)',
    ):
        counterpoint.load(bare)
    with pytest.raises(CounterpointError, match="did you mean 'text'"):
        counterpoint.load(bare, kind="texts")
