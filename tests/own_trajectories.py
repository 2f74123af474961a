"""Made-up files of a person who cares about the first number of a state alone."""

from __future__ import annotations

import json
from pathlib import Path

import torch


def own_files(folder: Path) -> str:
    """Files of a person who cares about the first number alone."""
    draws = torch.Generator().manual_seed(0)
    states = torch.randn(40, 3, 2, generator=draws)
    height = states[:, :, 0].mean(1)
    rows = [{"id": f"t{i}", "states": s.tolist()} for i, s in enumerate(states)]
    answers, preferences = [], []
    for _ in range(150):
        i, j, k = torch.randperm(40, generator=draws)[:3].tolist()
        pairs = sorted(
            [(i, j, k), (i, k, j), (j, k, i)], key=lambda p: abs(float(height[p[0]] - height[p[1]]))
        )
        answers.append(dict(zip(("anchor", "positive", "negative"), (f"t{n}" for n in pairs[0]))))
        won, lost = (i, j) if height[i] > height[j] else (j, i)
        preferences.append({"chosen": f"t{won}", "rejected": f"t{lost}"})
    for name, content in (("trajectories", rows), ("answers", answers), ("preferences", preferences)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    return str(folder)
