"""Vectors of SupReMix: the loss and its parts, mixtures as constants and not. The two results that begin with
``released_code`` belong to another arithmetic (a shift per block that changes the mixtures' weight): ours differs from them.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from harness import Case, Checks, vector_tests

from counterpoint.objectives.labels.mixed_pairs import mixed_pairs

TOLERANCE = {"rtol": 1e-9, "atol": 1e-12}


def ours(case: Case, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    rows, mixed = case.tensor("v", grad=True), "mix" in name
    options: dict[str, Any] = {
        "alpha": case.tensor("alpha") if mixed and "pos" not in name else None,
        "window": case.number("window") if mixed and "neg" not in name else None,
        "weighted": name != "supcon",
        "detach": not name.endswith("full"),
    }
    tau = case.number("temperature")
    loss = mixed_pairs(rows, case.tensor("y"), temperature=tau, normalize=False, **options).mean()
    loss.backward()
    return loss, rows.grad


def check(case: Case, name: str) -> None:
    loss, gradient = ours(case, name)
    case.expect(f"{name}/loss", loss, **TOLERANCE)
    case.expect(f"{name}/grad_v", gradient, **TOLERANCE)


def differs(case: Case, name: str) -> None:
    """Compared, and known to be another function."""
    loss, gradient = ours(case, "supremix_detach")
    for key, mine in ((f"{name}/loss", loss), (f"{name}/grad_v", gradient)):
        if key not in case:
            continue
        theirs = case.tensor(key)
        case.compared.add(key)
        assert theirs.shape == mine.shape
        assert not torch.allclose(theirs, mine.detach(), rtol=1e-6)


def supremix(case: Case) -> Checks:
    return {
        name: partial(differs if name.startswith("released_code") else check, case, name)
        for name in case.losses()
    }


test_mixed_pairs = vector_tests({"supremix": supremix})
