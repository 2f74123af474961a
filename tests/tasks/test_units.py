"""Numbers in another unit are the same numbers: a column of nanometres is no constant, and a constant is none by its rounding."""

from __future__ import annotations

import numpy as np
import torch

from counterpoint.data.regression.load import build
from counterpoint.data.regression.splits import Regression
from counterpoint.data.trajectories.sets import standardised
from counterpoint.models.trajectories.encoder import TrajectoryEncoder
from counterpoint.phases.kernel_chain import kernel_rows_of
from counterpoint.tasks.regression import TASK

UNITS = (1.0, 2.0**-30, 2.0**20)
"""Powers of two: the digits stay as they are."""


def table(unit: float) -> Regression:
    draw = np.random.default_rng(0)
    inputs = draw.normal(size=(60, 3)).astype(np.float32)
    inputs[:, 2] = 0.1
    sides = np.array(["train"] * 40 + ["validation"] * 10 + ["test"] * 10)
    return build(inputs * np.float32(unit), inputs[:, 0], sides, tuple("abc"), "made", [])


def test_a_network_sees_a_column_in_any_unit() -> None:
    seen = []
    for unit in UNITS:
        data = table(unit)
        net = TASK.load_model("mlp", data, 1)
        seen.append(((data.train.inputs - net.get_buffer("mean")) / net.get_buffer("std"))[:, :2])
    for other in seen[1:]:
        torch.testing.assert_close(other, seen[0])
    assert float(seen[0].std()) > 0.9


def test_a_kernel_sees_a_column_in_any_unit() -> None:
    rows = [kernel_rows_of(table(unit)).arrays()[0][:, :2] for unit in UNITS]
    for other in rows[1:]:
        np.testing.assert_allclose(other, rows[0], atol=1e-6)
    assert rows[0].std() > 0.9


def test_trajectories_in_any_unit() -> None:
    inputs = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    inputs[:, 3] = 0.1
    train = torch.arange(20)
    scaled = [TrajectoryEncoder(4).standardised_by(inputs * unit).scaled(inputs * unit) for unit in UNITS]
    features = [standardised((inputs * unit).double(), train) for unit in UNITS]
    for results in (scaled, features):
        for other in results[1:]:
            torch.testing.assert_close(other[:, :3], results[0][:, :3])
        assert float(results[0][:, :3].std()) > 0.9
    noisy = torch.full((20, 1), 0.3, dtype=torch.float64)
    noisy[::2] = 0.1 + 0.2  # one unit in the last place more
    assert not standardised(noisy, train).any()
