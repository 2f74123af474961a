"""Structure and style scores: against loops, what they are blind for, and how good a judge of style is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from counterpoint.evaluation.styles.scores import StyleJudge, edges, statistics, structure


def pictures(count: int, seed: int, channels: int = 3) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, channels, 9, 7), generator=g, dtype=torch.uint8)


def test_structure_is_the_correlation_of_sobels_edges() -> None:
    one, two = pictures(3, 0), pictures(3, 1)
    found = structure(one, two)
    for row in range(3):
        lengths = []
        for each in (one[row], two[row]):
            grey = np.pad(each.double().mean(0).numpy() / 255, 1, mode="edge")
            length = np.zeros((9, 7))
            for y in range(9):
                for x in range(7):
                    w = grey[y : y + 3, x : x + 3]
                    across = (w[:, 2] - w[:, 0]) @ [1, 2, 1]
                    down = (w[2] - w[0]) @ [1, 2, 1]
                    length[y, x] = np.hypot(across, down)
            lengths.append(length.ravel())
        assert float(found[row]) == pytest.approx(np.corrcoef(*lengths)[0, 1], abs=1e-9)
    assert torch.allclose(edges(one)[0].flatten()[:3], edges(one[:1]).flatten()[:3])


def test_structure_does_not_care_for_brightness_and_is_0_without_edges() -> None:
    picture = pictures(2, 0) // 2
    assert torch.allclose(structure(picture, picture + 50), torch.ones(2, dtype=torch.double))
    flat = torch.full_like(picture, 7)
    assert structure(picture, flat).tolist() == structure(flat, picture).tolist() == [0.0, 0.0]


def test_statistics_are_blind_for_which_row_stands_where() -> None:
    one = pictures(4, 0)
    assert np.allclose(statistics(one)[:, :6], statistics(one.flip(3).flip(2))[:, :6])
    assert not np.allclose(statistics(one), statistics(one // 2))
    assert np.isfinite(statistics(torch.zeros(2, 1, 2, 2, dtype=torch.uint8))).all()


def test_a_judge_tells_styles_apart_that_it_did_not_see() -> None:
    def striped(x: Tensor) -> Tensor:
        return (x // 2 + 100 * (torch.arange(7) % 2).to(torch.uint8)).to(torch.uint8)

    judge = StyleJudge(pictures(40, 0), striped(pictures(30, 1)))
    assert judge(pictures(20, 2)).mean() < 0.1
    assert judge(striped(pictures(20, 3))).mean() > 0.9
