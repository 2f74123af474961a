"""Prompts and answers of unequal length go through a model at the width of the longest row, with the same states."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from counterpoint.models.language import running
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import Language
from counterpoint.models.language.like_lengths import parts
from counterpoint.models.language.likelihood import completion_log_probs
from counterpoint.models.tokens import join, pad

PROMPTS = ["1+1=", "123456789+123456789=", "2="]
ANSWERS = ["123456789123456789", "2", "44"]


def widths(model: Language) -> list[int]:
    seen: list[int] = []
    model.backbone.register_forward_pre_hook(
        lambda _, __, given: seen.append(given["input_ids"].shape[1]), with_kwargs=True
    )
    return seen


def alone(model: Language, prompt: str, answer: str) -> torch.Tensor:
    """Log-probabilities of one row without padding, by a plain softmax."""
    asked, given = model.prompts([prompt]).rows()[0], model.completions([answer]).rows()[0]
    ids = torch.tensor([asked + given])
    logits = model.causal(input_ids=ids).logits[0].double().log_softmax(-1)
    return torch.stack([logits[len(asked) + t - 1, token] for t, token in enumerate(given)])


def test_the_width_is_that_of_the_longest_row() -> None:
    model = tiny(seed=0).eval()
    seen, prompts, answers = widths(model), model.prompts(PROMPTS), model.completions(ANSWERS)
    found = completion_log_probs(model, prompts, answers)
    assert seen == [int((prompts.lengths + answers.lengths).max())]
    assert seen[0] < prompts.width + answers.width
    for row, (prompt, answer) in enumerate(zip(PROMPTS, ANSWERS)):
        expected = alone(model, prompt, answer)
        torch.testing.assert_close(found[row, : len(expected)].double(), expected, atol=2e-5, rtol=1e-5)
        assert not found[row, len(expected) :].any()


def test_gradients_are_those_of_rows_alone() -> None:
    together, apart = tiny(seed=0).eval(), tiny(seed=0).eval()
    logp = completion_log_probs(together, together.prompts(PROMPTS), together.completions(ANSWERS))
    logp.sum().backward()
    sum(alone(apart, prompt, answer).sum() for prompt, answer in zip(PROMPTS, ANSWERS)).backward()  # type: ignore[union-attr]
    for one, other in zip(together.parameters(), apart.parameters()):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-4, rtol=1e-3)


def test_rows_without_padding_between_are_left_as_they_are() -> None:
    model = tiny(seed=0).eval()
    seen = widths(model)
    prompts, answers = pad([[5, 6, 7], [8]], side="left"), pad([[9], [9, 10]], side="right")
    both = join(prompts, answers)
    states = model(both.ids, both.mask, last=2)
    assert seen == [4]
    full: Any = model(both.ids, both.mask)[:, 2:4]
    torch.testing.assert_close(states[0, :1], full[0, :1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(states[1], full[1], atol=1e-5, rtol=1e-5)


def test_an_answer_without_a_prompt_is_refused_where_no_row_has_one() -> None:
    from counterpoint.errors import CounterpointError

    model = tiny(seed=0)
    with pytest.raises(CounterpointError, match="predicted by nothing"):
        model(torch.tensor([[5, 6]]), torch.tensor([[1, 1]]), last=2)


@pytest.mark.parametrize("call", [0, 3, 1000])
def test_parts_hold_every_row_once_and_cost_least(call: int) -> None:
    lengths = [5, 1, 9, 9, 2, 6]
    found = parts(lengths, call)
    assert sorted(row for each in found for row in each) == list(range(6))

    def cost(divided: list[list[int]]) -> float:
        return sum(max(lengths[row] for row in each) * len(each) + call for each in divided)

    order = sorted(range(6), key=lambda row: -lengths[row])
    every = []
    for cuts in itertools.product([False, True], repeat=5):
        divided = [[order[0]]]
        for row, cut in zip(order[1:], cuts):
            divided.append([row]) if cut else divided[-1].append(row)
        every.append(cost(divided))
    assert cost(found) == min(every)


def test_many_rows_are_divided_in_short_time() -> None:
    found = parts([row % 97 + 1 for row in range(5000)], call=10)
    assert sorted(row for each in found for row in each) == list(range(5000))


def turned(rows: list[str]) -> list[str]:
    """In an order of which sorting by length is no involution."""
    return [*rows[2:], *rows[:2]]


def test_rows_in_parts_have_the_same_states_and_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, apart = tiny(seed=0).eval(), tiny(seed=0).eval()
    results = []
    for model, call in ((whole, 1e9), (apart, 0.0)):
        monkeypatch.setattr(running, "call_in_positions", lambda _, call=call: call)
        seen = widths(model)
        rows, answers = model.prompts(turned(PROMPTS)), model.completions(turned(ANSWERS))
        logp = completion_log_probs(model, rows, answers)
        (logp.sum(1) * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
        results.append((logp, seen))
    assert [len(seen) for _, seen in results] == [1, 3]
    torch.testing.assert_close(results[0][0], results[1][0], atol=2e-5, rtol=1e-5)
    for one, other in zip(whole.parameters(), apart.parameters()):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-4, rtol=1e-3)


def test_the_first_token_of_a_row_without_a_prompt_sees_nothing_of_itself() -> None:
    model = tiny(seed=0).eval()
    both = join(pad([[5, 6], []], side="left"), pad([[9], [9, 10, 11]], side="right"))
    states = model(both.ids, both.mask, last=3)
    assert not states[1, 0].any()
    assert states[1, 1:].any()
    assert states[0, 0].any()
