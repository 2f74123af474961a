"""Made-up interactions for tests: users and items in groups, a user mostly meets items of the own group."""

from __future__ import annotations

from pathlib import Path

import torch

from counterpoint.data.interactions.load import Interactions, load_interactions


def cluster_lines(
    groups: int = 4, users: int = 40, items: int = 60, per_user: int = 9, noise: float = 0.1, seed: int = 0
) -> list[tuple[str, str, int, int]]:
    """(user, item, rating, time) rows, each pair once; ``noise`` of a user's items come from anywhere."""
    draws = torch.Generator().manual_seed(seed)
    rows: list[tuple[str, str, int, int]] = []
    for user in range(users):
        own = torch.arange(user % groups, items, groups)
        popular = (1.0 / (1 + torch.arange(len(own)))).sqrt()
        picked = own[popular.multinomial(min(per_user, len(own)), generator=draws)].tolist()
        for place in range(len(picked)):
            if torch.rand((), generator=draws) < noise:
                picked[place] = int(torch.randint(items, (), generator=draws))
        for item in dict.fromkeys(picked):
            rows.append((f"u{user}", f"i{item}", 3 + len(rows) % 3, 0))
    times = torch.randperm(len(rows), generator=draws).tolist()
    return [(*row[:3], time) for row, time in zip(rows, times)]


def write_clusters(path: Path, columns: str = "user\titem", **options: float) -> Path:
    """Write rows as a tab separated file with a header."""
    names = columns.split("\t")
    lines = [columns, *("\t".join(str(v) for v in row[: len(names)]) for row in cluster_lines(**options))]  # type: ignore[arg-type]
    path.write_text("\n".join(lines) + "\n")
    return path


def clusters(folder: Path, split: dict[str, object] | None = None, **options: float) -> Interactions:
    """Made-up interactions, loaded and split."""
    return load_interactions(write_clusters(folder / "clusters.tsv", **options), **(split or {}))
