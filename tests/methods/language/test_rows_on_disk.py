"""Methods read rows that stay on disk as they need them: few of a large table are there at once, and what comes out is the same."""

from __future__ import annotations

import gc
import json
import random
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from counterpoint.data.language import preferences, problems
from counterpoint.data.language.stored_rows import StoredRows
from counterpoint.methods.catalog import load
from counterpoint.models.language.characters import tiny
from counterpoint.tasks.stock import reader
from counterpoint.training import Budget, Run

ROWS = 112
"""Seven durable shards of the methods' stages."""
ROUNDS = {"rounds": 2, "answers": 2, "max_new_tokens": 2, "batch_size": 5, "learning_rate": 1e-3}
SEEDED = {**ROUNDS, "sft_learning_rate": 1e-3, "sft_epochs": 1.0, "seed_examples": 40}
METHODS: dict[str, dict[str, Any]] = {
    "spar": {**ROUNDS, "judge": "format:[0-9]", "refiner.author": "counterpoint.tasks.stock.copier:minimal"},
    "specs": {
        "tags": "a b", "answers": 2, "rejected_from": "chosen", "judge": "format:.+", "batch_size": 5, "learning_rate": 1e-3,
        "source.max_new_tokens": 4, "watch.every": 2, "watch.rows": 2, "watch.others": "d e",
    },
    "selm": {**ROUNDS, "temperature": 1.0, "judge": "format:[0-9]"},
    "prompt-spo": {
        "questions": 4, "rounds": 1, "max_new_tokens": 2, "prompt": "add", "judge": "verifier", "proposer": "{scripts}:propose",
    },
    "cream": SEEDED,
    "self-rewarding": {**SEEDED, "judge": "intrinsic"},
    "pu-distill": {"answers": 2, "max_new_tokens": 2, "batch_size": 5, "rating.judge": "format:[0-9]", "learning_rate": 1e-3},
    "vc-star": {
        "pairing.image_encoder": "pixels", "pairing.question_encoder": "tfidf", "pairing.image_limit": 1.99, "max_new_tokens": 2,
        "pairing.question_limit": 2.0, "temperature": 0.0, "learning_rate": 0.05, "batch_size": 4, "keep": "easy,median,hard",
        "rationale": "answer", "attempts": 1, "wording.bare": ";{answer}", "wording.hint": "{question}={answer}", "judge": "format:.*",
        "wording.alike": "{image}{question}={answer}:{other_image}{other_question}={other_answer}:",
        "wording.unlike": "{image}{question}={answer},{other_image}{other_question}={other_answer},",
    },
}  # fmt: skip
FAST = ("selm", "prompt-spo")
SCRIPTS = "def propose(prompts):\n    return ['<prompt>sum</prompt>' for _ in prompts]\n"


def rows_of(folder: Path, pictured: bool) -> list[dict[str, Any]]:
    draw = random.Random(0)
    rows: list[dict[str, Any]] = []
    for number in range(ROWS):
        one, other = draw.randrange(10), draw.randrange(10)
        prompt = f"{one}+{other}?" if pictured else f"{number}: {one}+{other}, write <a></a><b></b> ="
        rows.append({"prompt": prompt, "answer": str(one + other)})
        if pictured:
            name = f"{number % 8}.png"
            Image.linear_gradient("L").resize((8, 8)).rotate(45 * (number % 8)).convert("RGB").save(
                folder / name
            )
            rows[-1]["images"] = [name]
        else:
            rows[-1]["completion"] = f"{one}{other} Answer: {one + other}"
    return rows


class Alive:
    """How many of the rows that were read from disk are there at once, at most."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.most = self.read = 0
        whole: Callable[..., Any] = StoredRows.__getitem__

        def counted(rows: StoredRows[Any], where: Any) -> Any:
            row = whole(rows, where)
            if not isinstance(where, slice):  # a slice reads its rows one by one
                self.now += 1
                self.read += 1
                self.most = max(self.most, self.now)
                weakref.finalize(row, self._gone)
            return row

        monkeypatch.setattr(StoredRows, "__getitem__", counted)

    def _gone(self) -> None:
        self.now -= 1


@pytest.mark.parametrize(
    "key", [pytest.param(key, marks=() if key in FAST else pytest.mark.slow) for key in METHODS]
)
def test_few_rows_are_there_at_once(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictured = key == "vc-star"
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows_of(tmp_path, pictured))))
    (tmp_path / "scripts.py").write_text(SCRIPTS)
    monkeypatch.setenv("COUNTERPOINT_CACHE", str(tmp_path / "cache"))
    settings = {
        name: value.replace("{scripts}", str(tmp_path / "scripts.py")) if name == "proposer" else value
        for name, value in METHODS[key].items()
    }
    alive = Alive(monkeypatch)
    trained = []
    for held in ("memory", "disk"):
        data = problems.load(path, rows=held, validation=0.1, test=0.0)
        model = reader.untaught(0, width=32) if pictured else tiny(seed=0, length=2048)
        gc.collect()
        alive.now = alive.most = alive.read = 0
        with Run(tmp_path / held, seed=0, progress=False, audit=True, budget=Budget(steps=4)) as run:
            trained.append(load(key).settings(**settings).fit(model, data, run))
    assert alive.read
    # A shard of prompts with what a batch, a judge and a generator hold of them; never the table.
    assert alive.most <= 40 < len(data.train) / 2
    for one, other in zip(trained[0].parameters(), trained[1].parameters(), strict=True):
        assert torch.equal(one, other)
    samples = [tmp_path / held / "samples.jsonl" for held in ("memory", "disk")]
    assert samples[0].exists() == samples[1].exists()
    if samples[0].exists():
        assert samples[0].read_bytes() == samples[1].read_bytes()


def test_pairs_for_selm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"{n}?", "chosen": f"{n + 1}", "rejected": f"{n}"} for n in range(ROWS)]
    path.write_text("\n".join(map(json.dumps, rows)))
    monkeypatch.setenv("COUNTERPOINT_CACHE", str(tmp_path / "cache"))
    alive = Alive(monkeypatch)
    trained = []
    for held in ("memory", "disk"):
        data = preferences.load(path, rows=held)
        gc.collect()
        alive.now = alive.most = 0
        settings = {**METHODS["selm"], "answers": 1, "temperature": 0.0}
        with Run(tmp_path / held, seed=0, progress=False, audit=True, budget=Budget(steps=4)) as run:
            trained.append(load("selm").settings(**settings).fit(tiny(seed=0), data, run))
    assert 0 < alive.most <= 40
    for one, other in zip(trained[0].parameters(), trained[1].parameters(), strict=True):
        assert torch.equal(one, other)
