"""The reference of pairs: as many go through the model at once as the run's micro-batch allows, with the same result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from counterpoint.data.language.problem import Problem
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.running import Running
from counterpoint.phases.pair_learning import TextPair, pair_reference
from counterpoint.training import Run


@pytest.mark.parametrize(("micro", "largest"), [(None, 10), (2, 4)])
def test_pairs_are_scored_in_micro_batches(
    micro: int | None, largest: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, forward = tiny(seed=0).double(), Running.forward
    problems = [Problem(f"{n}+{n}=") for n in range(5)]
    pairs = [TextPair(prompt=n, chosen=str(n), rejected=str(n + 31)) for n in range(5)]
    rows: list[int] = []

    def counting(self: Running, ids: Any, *given: Any, **named: Any) -> Any:
        rows.append(len(ids))
        return forward(self, ids, *given, **named)

    monkeypatch.setattr(Running, "forward", counting)
    with Run(tmp_path / "run", progress=False, micro_batch_size=micro) as run:
        model = run.state(model=model)
        sums = pair_reference(run, model, problems, pairs)
    assert max(rows) == largest
    with Run(tmp_path / "alone", progress=False, micro_batch_size=1) as run:
        alone = torch.cat(
            [pair_reference(run, run.state(model=model), problems, [pair]) for pair in pairs[:1]]
        )
    assert torch.allclose(sums[:1], alone, atol=1e-6)
    assert sums.unique().numel() == 10
