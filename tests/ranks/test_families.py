"""Two processes end with one process's weights, for every family of methods, also when one has no row of a last batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ranks_harness import launch

SCRIPT = Path(__file__).with_name("family_ranks.py")
FAMILIES = (
    "language", "preference", "retrieval", "sparse retrieval", "images", "paired images", "texts", "regression", "interactions", "speech", "trajectories",
)  # fmt: skip
WITH_A_SINGLE_ROW = {
    "language",
    "preference",
    "retrieval",
    "sparse retrieval",
    "texts",
    "interactions",
    "speech",
    "trajectories",
}
"""Families whose loops keep a last batch of one row; the others drop what does not fill a batch."""

SHARDED = ("language", "preference", "retrieval")
"""Families whose runs train with their weights in shards, too."""

FEW = ("language: sft", "language: unisd", "language: grpo", "preference: dpo", "retrieval: contrast")
"""One of each kind of theirs: a supervised loss, an averaged teacher, the model's own answers, pairs, a contrast across processes."""

WITHOUT_GRADIENT = {"network.4.bias"}
"""A shift of all embeddings changes no distance: Adam walks along the rounding errors of a gradient of 0."""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, torch.Tensor]]]:
    found = []
    for processes in (1, 2):
        out = tmp_path_factory.mktemp("ranks") / str(processes)
        launch(SCRIPT, out, processes)
        result = torch.load(out / "result.pt", weights_only=True)
        assert result["world"] == processes
        found.append(result["result"])
    assert found[0].keys() == found[1].keys()
    return found


@pytest.mark.parametrize(
    ("chosen", "processes"),
    [(FEW, 2), pytest.param(SHARDED, 2, marks=pytest.mark.slow), pytest.param(SHARDED, 4, marks=pytest.mark.slow)],
    ids=["few", "2", "4"],
)  # fmt: skip
def test_weights_in_shards_are_one_process(
    results: list[dict[str, dict[str, torch.Tensor]]],
    chosen: tuple[str, ...],
    processes: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COUNTERPOINT_SHARD", "fsdp")
    if processes == 2:  # models so small share no prompts by themselves
        monkeypatch.setenv("COUNTERPOINT_SHARE_PROMPTS", "on")
    launch(SCRIPT, tmp_path / "out", processes, *chosen)
    sharded = torch.load(tmp_path / "out" / "result.pt", weights_only=True)
    assert sharded["world"] == processes
    assert sharded["result"].keys() == {
        name for name in results[0] if name in chosen or name.split(":")[0] in chosen
    }
    for name, weights in sharded["result"].items():
        assert weights.pop("shards") == processes
        assert weights.keys() == results[0][name].keys()
        for key, value in weights.items():
            torch.testing.assert_close(
                value,
                results[0][name][key],
                rtol=1e-10,
                atol=1e-12,
                msg=lambda text, name=name, key=key: f"{name} {key}: {text}",
            )


@pytest.mark.parametrize("family", FAMILIES)
def test_two_processes_are_one(results: list[dict[str, dict[str, torch.Tensor]]], family: str) -> None:
    one, two = results
    names = [name for name in one if name.startswith(f"{family}: ")]
    assert names
    smallest = []
    for name in names:
        assert one[name].keys() == two[name].keys()
        smallest.append(int(one[name]["smallest batch"]))
        for key, value in one[name].items():
            if key in WITHOUT_GRADIENT:
                continue
            double = value.dtype == torch.float64
            torch.testing.assert_close(
                two[name][key],
                value,
                rtol=1e-7 if double else 1e-3,
                atol=1e-9 if double else 1e-4 if key == "losses" else 5e-4,
                msg=lambda text, name=name, key=key: f"{name} {key}: {text}",
            )
    assert (1 in smallest) == (family in WITH_A_SINGLE_ROW)
