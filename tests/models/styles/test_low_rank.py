"""Low-rank additions: the sum of weights makes what the two products make, and a merged module is put back."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from counterpoint.models.styles.low_rank import LowRank


def test_sums_are_those_of_a_product() -> None:
    torch.manual_seed(0)
    for layer, x in (
        (nn.Linear(4, 3), torch.randn(2, 4)), (nn.Conv2d(4, 3, 3, padding=1), torch.randn(2, 4, 5, 5)),
    ):  # fmt: skip
        more = LowRank({"weight": layer.weight}, 2, 0.5)
        nn.init.normal_(more.b["weight"])
        a, b = more.a["weight"], more.b["weight"]
        if isinstance(layer, nn.Linear):
            wanted = layer(x) + 0.5 * x @ a.T @ b.T
        else:  # an addition to a convolution is one into r channels, and one of 1x1 out of them
            into = functional.conv2d(x, a.view(2, 4, 3, 3), padding=1)
            wanted = layer(x) + 0.5 * functional.conv2d(into, b.view(3, 2, 1, 1))
        torch.testing.assert_close(more.call(layer, x), wanted, rtol=1e-4, atol=1e-5)
        with more.merged(layer):
            torch.testing.assert_close(layer(x), wanted, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(layer(x), wanted)
