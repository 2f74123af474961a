"""Which training rows repeat one another: captions but for capitals, equal vectors, texts."""

from dataclasses import replace

import pytest
import torch

from counterpoint.data.images.sets import Images, ImageSet
from counterpoint.pairs.repeats import partner_repeats, repeats_of, text_repeats


def images(**train) -> Images:
    part = ImageSet(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.zeros(4, dtype=torch.long))
    return Images(replace(part, **train), part, part, ("a",))


def test_captions_are_equal_as_a_whole_and_but_for_capitals():
    captions = (("a dog", "a pet"), ("A Pet", "a dog"), ("a dog",), ("a cat", "a pet"))
    assert partner_repeats(images(captions=captions)).tolist() == [0, 0, 1, 2]


def test_vectors_count_before_captions():
    vectors = torch.tensor([[0.0, 1.0], [-0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    got = partner_repeats(images(partners=vectors, captions=(("a",), ("b",), ("c",), ("d",))))
    assert got.tolist() == [0, 0, 1, 0]
    assert partner_repeats(images()) is None


@pytest.mark.parametrize(
    ("texts", "right"),
    [(["A b", "a  b ", "ab"], [0, 0, 1]), (["x", "y", "x"], [0, 1, 0]), ([], [])],
)
def test_texts_are_equal_but_for_capitals_and_blanks(texts, right):
    assert text_repeats(texts).tolist() == right
    assert text_repeats(texts).dtype == repeats_of([]).dtype == torch.int64
