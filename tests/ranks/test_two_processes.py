"""Two processes end with one process's weights, for every script ``*_ranks.py`` beside this file that has no test of its own.

Contrast is over the global batch, mixtures are made of it, noise belongs to items, samples and rounds are everybody's.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from own_clips import folder
from ranks_harness import check_two_are_one, launch

WITH_TESTS_OF_THEIR_OWN = {"family_ranks.py", "evaluator_ranks.py"}
SCRIPTS = sorted(
    script
    for script in Path(__file__).parent.glob("*_ranks.py")
    if script.name not in WITH_TESTS_OF_THEIR_OWN and not script.name.startswith("test_")
)
ATOL = {"image": 1e-5}


@pytest.mark.slow  # of every family test_families.py trains one or two methods in every test run
@pytest.mark.parametrize("name", [script.stem.removesuffix("_ranks") for script in SCRIPTS])
def test_two_processes_are_one(name: str, tmp_path: Path) -> None:
    if name == "audio":
        pytest.importorskip("soundfile")
        folder(tmp_path / "clips", each=4)
    check_two_are_one(Path(__file__).with_name(f"{name}_ranks.py"), tmp_path, atol=ATOL.get(name, 1e-4))


def test_the_groups_threads_end_before_the_interpreter(tmp_path: Path) -> None:
    launch(Path(__file__).with_name("leaves_in_order.py"), tmp_path / "out", 2)
    for rank in range(2):
        assert "pt_gloo_runloop" in (tmp_path / "out" / f"had-{rank}").read_text()
        assert (tmp_path / "out" / f"left-{rank}").read_text() == ""


def test_set_ups_that_do_not_fit_are_refused_by_all(tmp_path: Path) -> None:
    launch(Path(__file__).with_name("unlike_setups.py"), tmp_path / "out", 2)
    for rank in range(2):
        said = json.loads((tmp_path / "out" / f"{rank}.json").read_text())
        for when in ("before", "after"):
            lines = said[when]
            assert lines["apart"].startswith("process 1 does not see what the first process writes")
            assert lines["together"] == ""
            assert lines["versions"].startswith("process 1 has torch 2.12.0, and the first has counterpoint")
        assert said["after"]["held"].startswith("another process is running in")
    assert not list((tmp_path / "out").rglob(".seen-*"))
    assert not (tmp_path / "out" / "before").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "processes"), [("language", 2), ("retrieval", 2)])
def test_weights_in_shards_are_one_process(
    name: str, processes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Path(__file__).with_name(f"{name}_ranks.py")
    launch(script, tmp_path / "one", 1, "shards")
    monkeypatch.setenv("COUNTERPOINT_SHARD", "fsdp")
    launch(script, tmp_path / "two", processes, "shards")
    one, two = (
        torch.load(tmp_path / each / "result.pt", weights_only=True)["result"] for each in ("one", "two")
    )
    assert one
    assert one.keys() == two.keys()
    for run, weights in one.items():
        for key, value in weights.items():
            torch.testing.assert_close(two[run][key], value, rtol=1e-4, atol=1e-5, msg=f"{run} {key}")
