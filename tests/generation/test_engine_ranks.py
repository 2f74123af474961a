"""A server samples for two processes, and for weights in shards, what it samples for one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from fake_vllm import serving

from counterpoint.models.language.characters import tiny
from ranks_harness import launch

SCRIPT = Path(__file__).with_name("engine_ranks.py")


@pytest.mark.slow
def test_two_processes_and_shards_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, found = tiny(seed=0).save(tmp_path / "model"), []
    for processes, shard in ((1, False), (2, False), (2, True)):
        if shard:
            monkeypatch.setenv("COUNTERPOINT_SHARD", "fsdp")
        with serving(folder) as (url, state):
            launch(SCRIPT, tmp_path / f"{processes} {shard}", processes, folder, url)
        assert {"/v1/load_lora_adapter", "/collective_rpc"} <= set(state.paths)
        found.append(torch.load(tmp_path / f"{processes} {shard}" / "result.pt", weights_only=True)["result"])
    alone = found[0]
    for name, weights in alone.items():
        assert weights["moved"] > 1e-4
        if name not in ("cream", "self-rewarding"):  # whose answers are candidates
            assert weights["engine_gap"].max() < 1e-4
    for other in found[1:]:
        for name, weights in alone.items():
            assert weights.keys() == other[name].keys()
            for key, value in weights.items():
                torch.testing.assert_close(
                    other[name][key], value, rtol=1e-3, atol=1e-4, msg=lambda said, at=(name, key): f"{at}: {said}"
                )  # fmt: skip
