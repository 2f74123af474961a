"""A teacher that is asked about some rows of a batch only."""

from __future__ import annotations

import pytest
import torch

from counterpoint.teachers.past import answers_about


@pytest.mark.parametrize("place", [[2, 0], [3], [0, 1, 2, 3]])
def test_rows_asked_about_have_answers_and_the_others_zeros(place):
    weight = torch.ones(3, requires_grad=True)
    inputs, lengths = torch.randn(4, 3), torch.arange(1, 5)
    seen = []

    def forward(x, n, *, power):
        seen.append(len(x))
        return {"sum": (x * weight).sum(1) + n, "power": x**power}

    found = answers_about(torch.tensor(place), forward, inputs, lengths, power=2)
    there = torch.zeros(4, dtype=torch.bool)
    there[place] = True
    torch.testing.assert_close(found["sum"], torch.where(there, inputs.sum(1) + lengths, 0.0))
    torch.testing.assert_close(found["power"], torch.where(there[:, None], inputs**2, 0.0))
    assert seen == [len(place)]
    assert not found["sum"].requires_grad


def test_no_rows_give_zeros_of_the_right_shapes():
    none = torch.arange(0)
    found = answers_about(none, lambda x: {"wide": x.repeat(1, 2)}, torch.ones(3, 4))
    # One row is asked for the shapes, and lands in its own place, where nothing reads it.
    assert found["wide"].shape == (3, 8)
    assert not found["wide"][1:].any()
