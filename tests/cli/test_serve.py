"""``counterpoint serve`` starts vLLM, which lies in an environment of its own, as a run needs it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import LoRA, load

RECORDS = """#!{python}
import json, os, sys
names = ("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "VLLM_SERVER_DEV_MODE", "VLLM_NO_USAGE_STATS")
print(json.dumps([sys.argv[1:], {{name: os.environ[name] for name in names if name in os.environ}}]))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny(seed=0).save(tmp_path / "model")


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A folder like a virtual environment's, whose vllm writes down how it was started."""
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    program = tmp_path / "venv" / "bin" / "vllm"
    program.write_text(RECORDS.format(python=sys.executable))
    program.chmod(0o755)
    return tmp_path / "venv"


def serve(*words: object, **variables: str) -> subprocess.CompletedProcess[str]:
    own = {**os.environ, "PATH": "/usr/bin:/bin", "COUNTERPOINT_VLLM": "", **variables}
    command = [sys.executable, "-m", "counterpoint", "serve", *map(str, words)]
    return subprocess.run(command, env=own, capture_output=True, text=True, timeout=120, check=False)


def free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("rank", "adapters", "variable"),
    [
        (8, ["--enable-lora", "--max-lora-rank", "8"], "VLLM_ALLOW_RUNTIME_LORA_UPDATING"),
        (9, ["--enable-lora", "--max-lora-rank", "16"], "VLLM_ALLOW_RUNTIME_LORA_UPDATING"),
        (0, [], "VLLM_SERVER_DEV_MODE"),
    ],
)
def test_it_becomes_vllm(
    folder: Path, environment: Path, rank: int, adapters: list[str], variable: str
) -> None:
    port = free()
    done = serve(
        folder, "--vllm", environment, "--port", port, "--lora-rank", rank, "--", "--max-model-len", 512
    )
    assert done.returncode == 0, done.stderr
    words, variables = json.loads(done.stdout)
    assert words == [
        "serve", str(folder), "--served-model-name", "base", "--host", "127.0.0.1", "--port", str(port),
        "--logprobs-mode", "processed_logprobs", "--generation-config", "vllm", *adapters, "--max-model-len", "512",
    ]  # fmt: skip
    assert variables == {variable: "1", "VLLM_NO_USAGE_STATS": "1"}
    assert f"--sampler vllm --sampler.url http://127.0.0.1:{port} --sampler.model base" in done.stderr
    assert f"--lora-rank {rank}" in done.stderr


def test_the_environment_variable_names_it_and_a_command_is_printed_without_it(
    folder: Path, environment: Path
) -> None:
    done = serve(folder, "--port", free(), COUNTERPOINT_VLLM=str(environment / "bin" / "vllm"))
    assert done.returncode == 0, done.stderr
    printed = serve(folder, "--print", "--gpus", 4)
    assert printed.returncode == 0
    assert printed.stdout.startswith(
        f"VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 VLLM_NO_USAGE_STATS=1 vllm serve {folder} "
    )
    assert printed.stdout.rstrip().endswith("--tensor-parallel-size 4")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--vllm", "/nowhere"], "--vllm /nowhere is no vllm; it goes into an environment of its own"),
        ([], "no vllm is on the PATH"),
        (["--host", "0.0.0.0"], "whoever reaches a server whose weights can be replaced"),
        (["--host", "93.184.216.34"], "--anywhere"),
        (["--lora-rank", "1000"], "vLLM serves ranks up to 512"),
        (["--lora-rank", "-1"], "expected 0 or more"),
        (["--gpus", "0"], "expected 1 or more"),
    ],
)
def test_what_cannot_be_is_one_line(folder: Path, words: list[str], message: str) -> None:
    done = serve(folder, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_port_that_is_taken_is_one_line(folder: Path, environment: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = serve(folder, "--vllm", environment, "--port", port)
    assert done.returncode == 2
    assert f"--host 127.0.0.1 --port {port}" in done.stderr


def test_adapters_alone_are_refused(folder: Path, tmp_path: Path) -> None:
    adapter = load(folder, lora=LoRA(4)).save(tmp_path / "adapter", adapter=True)
    done = serve(adapter, "--print")
    assert done.returncode == 2
    assert "holds adapters, and vLLM serves whole models" in done.stderr
