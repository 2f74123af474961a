"""Counterparts against a naive loop, at extremes, and under what must not matter: order, blocks, other data sets."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from counterpoint.data.language import digit_questions
from counterpoint.errors import CounterpointError
from counterpoint.pairs.counterparts import matching as module
from counterpoint.pairs.counterparts.matching import Counterparts, counterparts, difficulty, numbered
from counterpoint.phases.counterparts.settings import Pairing, neighbours


def rows(count: int, seed: int) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    integers = lambda top: torch.randint(top, (count,), generator=draw)  # noqa: E731
    near = torch.randn(6, 5, generator=draw)[integers(6)]
    return {
        "images_Nd": near + 0.4 * torch.randn(count, 5, generator=draw),
        "questions_Nd": torch.randn(3, 4, generator=draw)[integers(3)]
        + 0.2 * torch.randn(count, 4, generator=draw),
        "datasets_N": integers(3),
        "ids_N": integers(max(count - 4, 1)),
        "answers_N": integers(3),
        "visual_limit_N": torch.where(integers(2) > 0, 0.5, 0.3),
    }


def loop(given: dict[str, Tensor], limit: float, closest: float, only: str) -> tuple[list[int], list[int]]:
    """The equations, pair by pair, in Python's numbers."""

    def far(a: list[float], b: list[float]) -> float:
        dot = math.fsum(x * y for x, y in zip(a, b))
        return 1 - dot / math.sqrt(math.fsum(x * x for x in a) * math.fsum(y * y for y in b))

    v, q = given["images_Nd"].double().tolist(), given["questions_Nd"].double().tolist()
    index, counts = [], []
    for i in range(len(v)):
        near: list[tuple[float, int]] = []
        for j in range(len(v)):
            same = [bool(given[name][i] == given[name][j]) for name in ("datasets_N", "ids_N", "answers_N")]
            if i == j or not same[0] or same[1] or (only != "both" and same[2] != (only == "positive")):
                continue
            visual = far(v[i], v[j])
            if closest <= visual < float(given["visual_limit_N"][i]) and far(q[i], q[j]) < limit:
                near.append((visual, j))
        index.append(min(near)[1] if near else -1)
        counts.append(len(near))
    return index, counts


def same(one: Counterparts, other: Counterparts) -> None:
    for name in vars(one):
        torch.testing.assert_close(
            getattr(one, name), getattr(other, name), equal_nan=True, rtol=0, atol=1e-12
        )


@pytest.mark.parametrize("only", ["both", "positive", "negative"])
@pytest.mark.parametrize("closest", [0.0, 0.1])
def test_a_loop_over_pairs_finds_the_same(only: str, closest: float) -> None:
    given = rows(40, seed=1)
    found = counterparts(**given, question_limit=0.3, closest=closest, only=only)
    assert (found.index.tolist(), found.valid.tolist()) == loop(given, 0.3, closest, only)
    assert 4 < int((found.index >= 0).sum()) < 40
    answers = given["answers_N"]
    for at, other in enumerate(found.index.tolist()):
        assert int(found.positive[at]) == (-1 if other < 0 else int(answers[at] == answers[other]))
        assert bool(found.visual[at].isnan()) == (other < 0)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    given = rows(33, seed=2)
    whole = counterparts(**given, question_limit=0.3)
    monkeypatch.setattr(module, "BLOCK", 30)
    same(counterparts(**given, question_limit=0.3), whole)


def test_the_order_of_rows_changes_nothing_but_numbers() -> None:
    given = rows(33, seed=3)
    order = torch.randperm(33, generator=torch.Generator().manual_seed(0))
    found = counterparts(**given, question_limit=0.3)
    moved = counterparts(**{name: value[order] for name, value in given.items()}, question_limit=0.3)
    expected = [int(order.argsort()[found.index[at]]) if found.index[at] >= 0 else -1 for at in order]
    assert moved.index.tolist() == expected
    assert moved.positive.tolist() == found.positive[order].tolist()


def test_scales_of_embeddings_do_not_matter_even_extreme_ones() -> None:
    given = rows(20, seed=4)
    found = counterparts(**given, question_limit=0.3)
    for scale in (1e-30, 1e30):
        scaled = {
            **given,
            "images_Nd": given["images_Nd"] * scale,
            "questions_Nd": given["questions_Nd"] * scale,
        }
        assert torch.equal(counterparts(**scaled, question_limit=0.3).index, found.index)


def test_ties_go_to_the_lower_number_and_limits_are_exclusive() -> None:
    images = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, -1.0], [2.0, 2.0]])
    given = {
        "questions_Nd": torch.ones(4, 1),
        "datasets_N": torch.zeros(4),
        "answers_N": torch.zeros(4),
        "ids_N": torch.tensor([0, 1, 2, 1]),
    }
    found = counterparts(images, **given, visual_limit_N=torch.full((4,), 0.9))
    assert found.index.tolist() == [1, 0, 0, 0], "never the same image, of equal ones the first"
    right_angle = counterparts(
        images[1:3], **{k: v[1:3] for k, v in given.items()}, visual_limit_N=torch.ones(2)
    )
    assert right_angle.index.tolist() == [-1, -1], "a distance of 1 is not below a limit of 1"
    twins = torch.ones(2, 3)
    pair = {
        "questions_Nd": torch.ones(2, 1), "datasets_N": torch.zeros(2), "answers_N": torch.zeros(2), "ids_N": torch.arange(2),
        "visual_limit_N": torch.ones(2),
    }  # fmt: skip
    assert counterparts(twins, **pair).index.tolist() == [1, 0]
    assert counterparts(twins, **pair, closest=1e-4).index.tolist() == [-1, -1]


@pytest.mark.parametrize("count", [1, 2])
def test_one_row_and_two(count: int) -> None:
    found = counterparts(**rows(count, seed=5), question_limit=0.3)
    assert len(found.index) == count
    assert set(found.index.tolist()) <= {-1, 0, 1}


@pytest.mark.parametrize("bad", [0.0, math.nan, math.inf])
@pytest.mark.parametrize("which", ["image", "question"])
def test_no_direction_is_refused_by_row(bad: float, which: str) -> None:
    given = rows(5, seed=6)
    given[f"{which}s_Nd"][3] = bad
    with pytest.raises(CounterpointError, match=f"the {which} embedding of row 4 is no direction"):
        counterparts(**given)


@pytest.mark.slow
def test_the_pages_figures_of_pairs_of_digits() -> None:
    page = (Path(__file__).parents[2] / "docs" / "methods" / "vc-star.md").read_text(encoding="utf-8")
    printed = re.findall(r"^\| (0\.\d) \| (\d\.\d\d) \| (\d\.\d\d) \|$", page, re.M)
    assert len(printed) == 4
    rows = digit_questions.load({"size": 500, "validation": 0, "test": 0, "seed": 0, "noise": 0.3})["train"]
    about = {text: name for name, texts in digit_questions.WORDINGS.items() for text in texts}
    for limit, share, same_digit in printed:
        found = neighbours(rows, Pairing(image_encoder="pixels", image_limit=float(limit)))
        both = [(rows[at], rows[other]) for at, other in enumerate(found.index.tolist()) if other >= 0]
        assert all(about[one.question] == about[other.question] for one, other in both)
        assert len(both) / len(rows) == pytest.approx(float(share), abs=0.011)
        same = [one.solution[0] == other.solution[0] for one, other in both]
        assert sum(same) / len(same) == pytest.approx(float(same_digit), abs=0.011)


def test_difficulty_is_all_four_cases() -> None:
    alone, beside = torch.tensor([True, True, False, False]), torch.tensor([True, False, True, False])
    assert difficulty(alone, beside).tolist() == [0, 0, 1, 2]
    assert numbered(["b", "a", "b"]).tolist() == [0, 1, 0]
