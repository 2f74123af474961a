"""The first steps of SFT, DPO's losses and KTO have TRL 1.16's losses, read from what ``references/trl_losses.py`` wrote."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from counterpoint.data.language import preferences, problems
from counterpoint.methods.baselines.dpo import DPO
from counterpoint.methods.baselines.sft import SFT
from counterpoint.methods.optimization import Cosine, Linear
from counterpoint.models.language.language import Language
from counterpoint.training import Run

REFERENCES = Path(__file__).parents[2] / "references"
sys.path.insert(0, str(REFERENCES))

import families  # noqa: E402

import training  # noqa: E402

TRL = json.loads((REFERENCES / "trl_losses.json").read_text())
HOW: dict[str, Any] = {"schedule": "constant", "warmup": 0.0, "max_grad_norm": None}
EVERY: dict[str, Any] = {
    "learning_rate": training.LEARNING_RATE,
    "lora_rank": 0,
    "batch_size": len(training.PAIRS),
    "epochs": training.STEPS,
}


def first_losses(method: Any, load: Any, rows: list[dict[str, Any]], tmp_path: Path) -> list[float]:
    """Losses of the first steps on rows from a file, with the model of the references."""
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    names = families.tokenizer(training.FAMILY)
    with Run(tmp_path / "run", seed=0, progress=False) as run:
        method.fit(Language(training.causal(len(names)), names), load(file, validation=0, test=0), run)
    events = [json.loads(line) for line in (tmp_path / "run/events.jsonl").read_text().splitlines()]
    return [event["loss"] for event in events if "loss" in event]


def test_sft(tmp_path: Path) -> None:
    method = SFT(optimizer=Cosine(**HOW), **EVERY)
    assert first_losses(method, problems.load, training.SUPERVISED, tmp_path) == pytest.approx(
        TRL["sft"], rel=2e-5
    )


@pytest.mark.parametrize("loss", TRL["dpo"])
def test_dpo(loss: str, tmp_path: Path) -> None:
    smoothing = {"smoothing": training.SMOOTHING} if loss in ("exo_pair", "robust") else {}
    method = DPO(loss=loss, beta=training.BETA, optimizer=Linear(**HOW), **EVERY, **smoothing)
    assert first_losses(method, preferences.load, training.PAIRS, tmp_path) == pytest.approx(
        TRL["dpo"][loss], rel=1e-4
    )


def test_kto(tmp_path: Path) -> None:
    method = DPO(loss="kto", beta=training.BETA, optimizer=Linear(**HOW), **EVERY)
    assert first_losses(method, preferences.load, training.MARKED, tmp_path) == pytest.approx(
        TRL["kto"], rel=1e-4
    )
