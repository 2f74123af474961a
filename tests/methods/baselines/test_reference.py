"""The reference of DPO: only rows that the budget uses, kept by content, in memory that rows do not change."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from counterpoint.data.language.preferences import Preference, PreferenceData, Preferences
from counterpoint.methods.baselines.dpo import DPO
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import Language
from counterpoint.phases import reference
from counterpoint.training import Budget, Run


def pairs(count: int = 24) -> PreferenceData:
    rows = [Preference(f"{i}?", "yes" * (1 + i % 3), "no") for i in range(count)]
    return PreferenceData("made up", Preferences(rows), Preferences(rows[:4]), Preferences(rows[:4]))


def unpaired() -> PreferenceData:
    rows = [Preference(f"{i}?", **({"chosen": "yes"} if i % 2 else {"rejected": "no"})) for i in range(24)]
    return PreferenceData("marked", Preferences(rows), Preferences(rows[:4]), Preferences(rows[:4]))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERPOINT_CACHE", str(tmp_path / "cache"))


class Counted(torch.nn.Module):
    """Rows that went through a model in passes without gradient."""

    def __init__(self, model: Language) -> None:
        super().__init__()
        self.rows = 0
        model.backbone.register_forward_pre_hook(self._see, with_kwargs=True)

    def _see(self, _: Any, __: Any, given: dict[str, Any]) -> None:
        self.rows += 0 if torch.is_grad_enabled() else len(given["input_ids"])


def fit(
    out: Path,
    budget: Budget | None = None,
    data: PreferenceData | None = None,
    model: Language | None = None,
    size: int | None = None,
    **settings: Any,
) -> tuple[int, Language]:
    model = tiny(seed=0) if model is None else model
    counted = Counted(model)
    method = DPO.settings(**({"learning_rate": 5e-3, "batch_size": 4, "epochs": 1} | settings))
    with Run(out, seed=0, budget=budget, micro_batch_size=size, progress=False) as run:
        trained = method.fit(model, data or pairs(), run)
    return counted.rows, trained


@pytest.mark.parametrize(
    ("budget", "rows"),
    [
        (None, 24),
        (Budget(steps=2), 8),
        (Budget(examples=9), 12),
        (Budget(tokens=1), 4),
        (Budget(tokens=60), 8),
        (Budget(steps=100), 24),
        (Budget(seconds=100, steps=1), 4),
    ],
)
def test_only_rows_that_the_budget_uses_go_through_the_reference(
    tmp_path: Path, budget: Budget | None, rows: int
) -> None:
    passed, _ = fit(tmp_path / "run", budget)
    assert passed == 2 * rows
    steps = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert all(event["loss"] == event["loss"] for event in steps)  # no row without its reference
    assert rows == min(24, 4 * len(steps))  # nor one that no step drew


def test_the_rows_of_kto_are_those_of_its_full_batches(tmp_path: Path) -> None:
    passed, _ = fit(tmp_path / "run", Budget(steps=1), unpaired(), loss="kto")
    assert passed == 4 * 4


def test_another_run_reuses_the_sums_and_ends_with_the_same_bits(tmp_path: Path) -> None:
    first, one = fit(tmp_path / "one", lora_rank=2)
    again, two = fit(tmp_path / "two", lora_rank=2)
    assert (first, again) == (48, 0)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters()))
    assert fit(tmp_path / "beta", beta=0.3, learning_rate=1e-3)[0] == 0


def test_nothing_is_reused_of_another_model_other_rows_or_another_sum(tmp_path: Path) -> None:
    assert fit(tmp_path / "one")[0] == 48
    assert fit(tmp_path / "model", model=tiny(seed=1))[0] == 48
    assert fit(tmp_path / "rows", data=pairs(23))[0] == 46
    assert fit(tmp_path / "sum", length_weight=0.5)[0] == 48
    other = [Preference(row.prompt, row.chosen[::-1], "on") for row in pairs().train]
    data = PreferenceData("backwards", Preferences(other), Preferences(other[:4]), Preferences(other[:4]))
    assert fit(tmp_path / "backwards", data=data)[0] == 48
    changed = tiny(seed=0)
    changed.head.weight.data[0, 0] += 1e-3
    assert fit(tmp_path / "weight", model=changed)[0] == 48


def test_a_damaged_sum_is_made_anew(tmp_path: Path) -> None:
    fit(tmp_path / "one")
    (kept,) = (tmp_path / "cache" / "references").glob("*/*")
    (kept / "structure.json").write_text("[[0.0, 0.0]]", encoding="utf-8")
    assert fit(tmp_path / "two")[0] == 48


def test_adapters_that_learnt_something_are_part_of_the_identity() -> None:
    from counterpoint.models.language.language import adapt

    plain, adapted = tiny(seed=0), adapt(tiny(seed=0), 2)
    before = reference.weights_identity(plain)
    assert reference.weights_identity(adapted) == before
    next(p for n, p in adapted.named_parameters() if "lora_B" in n).data += 1.0
    assert reference.weights_identity(adapted) != before


MEASURED = """
import resource, sys
from pathlib import Path
import counterpoint
from counterpoint.data.language.preferences import Preference, PreferenceData, Preferences
from counterpoint.models.language.characters import tiny

rows = [Preference(f"{i} " + "why " * 40, "yes " * 40 + str(i), "no " * 40 + str(i)) for i in range(int(sys.argv[2]))]
data = PreferenceData("long", Preferences(rows), Preferences(rows), Preferences(rows))
counterpoint.run(
    "dpo", data=data, model=tiny(seed=0, width=128, layers=3), out=Path(sys.argv[1]), progress=False,
    settings={"batch_size": 2}, micro_batch_size=int(sys.argv[3]), examples=int(sys.argv[2]) if sys.argv[4] == "all" else 4,
)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def peak(out: Path, rows: int, size: int, trained: str = "few") -> float:
    """Peak memory in MiB of a process that trains, references and measures so many rows."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(out), str(rows), str(size), trained],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.split()[-1])


@pytest.mark.slow
def test_peak_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    few, many = peak(tmp_path / "few", 4, 1, "all"), peak(tmp_path / "many", 40, 1, "all")
    assert many - few < 25
    assert (
        peak(tmp_path / "wide", 40, 64, "all") - few > 60
    )  # what it is without the limit: the test can fail
