"""The page on several processes holds: its command runs as printed, and it names the methods that train in shards."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from counterpoint.cli.main import app
from counterpoint.methods import catalog

PAGE = (Path(__file__).parents[2] / "docs" / "scale.md").read_text(encoding="utf-8")


def test_it_names_the_methods_that_train_in_shards() -> None:
    (named,) = re.findall(r"^These methods train so: (.*)\. In$", PAGE, re.M)
    able = {key for key, row in catalog.rows().items() if row.ready and catalog.load(key).shards}
    assert set(re.findall(r"`([a-z-]+)`", named)) == able


@pytest.mark.slow
def test_its_command_runs_as_printed(tmp_path: Path) -> None:
    (line,) = re.findall(r"```bash\n(.*?)\n```", PAGE, re.S)
    program, *given = shlex.split(line)
    assert program == "torchrun"
    given[given.index("runs/shards")] = str(tmp_path / "out")
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", *given],
        env=os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
        capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "result.json").exists()
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "model").num_parameters() > 0


def test_what_it_says_of_memory_runs_as_printed() -> None:
    (line,) = re.findall(r"^(counterpoint plan .*)$", PAGE, re.M)
    result = CliRunner().invoke(app, shlex.split(line)[1:])
    assert result.exit_code == 0, result.output
    assert "torchrun --nproc-per-node 4 -m counterpoint run sdft" in result.output
