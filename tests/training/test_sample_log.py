"""What a run sampled stands in its file once, whatever crashed meanwhile."""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from torch import nn

from counterpoint.training import Budget, Optimizer, Run


def train(out: Path) -> list[dict[str, object]]:
    with Run(out, progress=False, budget=Budget(steps=6), checkpoint_steps=2) as run:
        model = run.state(model=nn.Linear(1, 1))
        run.optimize(model, Optimizer(learning_rate=0.1))
        run.record_samples([{"prompt": "before", "answers": []}])
        for batch in run.batches(torch.arange(4.0)[:, None], 2, epochs=9):
            run.record_samples(
                [
                    {
                        "prompt": f"at {batch.step}",
                        "answers": [{"text": "é", "rewards": {"r": math.nan, "s": 1.0}}],
                    }
                ]
            )
            run.step(model(batch.items).square().squeeze(-1))
    return [json.loads(line) for line in (out / "samples.jsonl").read_text(encoding="utf-8").splitlines()]


class Crash(Exception):
    pass


def test_every_sample_is_there_once_after_a_crash(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole")
    assert [row["prompt"] for row in whole] == ["before", *(f"at {n}" for n in range(6))]
    assert [row["step"] for row in whole] == [0, 0, 1, 2, 3, 4, 5]
    assert whole[1]["answers"] == [{"text": "é", "rewards": {"r": None, "s": 1.0}}]

    broken = tmp_path / "broken"
    try:
        with Run(broken, progress=False, budget=Budget(steps=6), checkpoint_steps=2) as run:
            model = run.state(model=nn.Linear(1, 1))
            run.optimize(model, Optimizer(learning_rate=0.1))
            run.record_samples([{"prompt": "before", "answers": []}])
            for batch in run.batches(torch.arange(4.0)[:, None], 2, epochs=9):
                run.record_samples([{"prompt": f"lost or at {batch.step}", "answers": []}])
                if batch.step == 3:
                    raise Crash
                run.step(model(batch.items).square().squeeze(-1))
    except Crash:
        pass
    lines = (broken / "samples.jsonl").read_text().splitlines()
    assert len(lines) == 5  # one more than the checkpoint of step 2 had seen, and one of step 3
    resumed = train(broken)
    assert [row["prompt"] for row in resumed] == [
        "before", "lost or at 0", "lost or at 1", *(f"at {n}" for n in range(2, 6)),
    ]  # fmt: skip
