"""Key content: what extractors find, by hand; what each degree leaves; the controls."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from counterpoint.errors import CounterpointError
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.likelihood import sequence_log_probs
from counterpoint.pairs.key_content import (
    Phrase,
    decoys,
    keep_masks,
    random_spans,
    removal_order,
    removed_counts,
    variants,
)
from counterpoint.pairs.key_extractors import Likelihood, Rake, Random, TfIdf, extractor, stop_words

TEXT = (
    "Compatibility of systems of linear constraints over the set of natural numbers. Linear systems, again."
)
STOPS = frozenset(["of", "over", "the", "again"])


def spans(text: str, phrases: list[Phrase]) -> dict[str, float]:
    return {text[p.start : p.end]: p.score for p in phrases}


def test_rake_by_hand() -> None:
    """Frequencies and degrees counted on paper: linear occurs in "linear constraints" and "Linear systems"."""
    scores = spans(TEXT, Rake(STOPS)("", TEXT))
    assert scores == {
        "Compatibility": 1.0, "systems": 1.5, "linear constraints": 4.0, "set": 1.0, "natural numbers": 4.0,
        "Linear systems": 3.5,
    }  # fmt: skip
    assert Rake(STOPS)("", "of the") == []


def test_tfidf_prefers_what_is_this_answers_own() -> None:
    answers = ["a red fox and a dog", "a red cat and a dog", "a red cow and a dog"]
    scores = spans(answers[0], TfIdf(answers, stop_words())("", answers[0]))
    assert scores["red fox"] > scores["dog"] > 0
    one, all_three = 1 + torch.log(torch.tensor(4 / 2)).item(), 1.0  # scikit-learn's smoothed idf
    assert scores["red fox"] == pytest.approx(all_three + one)


def test_likelihood_is_the_drop_a_token() -> None:
    model, text = tiny(seed=0), "red fox and dog"
    found = Likelihood(model, frozenset(["and"]))("ab", text)
    for phrase, rest in zip(found, (" and dog", "red fox and")):
        sums, lengths = sequence_log_probs(model, ["ab", "ab"], [text, rest])
        means = sums / lengths
        assert phrase.score == pytest.approx(float(means[0] - means[1]), abs=1e-5)
    assert Likelihood(model, frozenset())("ab", "dog")[0].score == -float("inf")


def test_counts_and_masks_by_a_loop() -> None:
    phrases = [
        Phrase(0, 2, 1.0),
        Phrase(3, 4, 9.0),
        Phrase(6, 8, 9.0),
        Phrase(9, 10, 2.0),
        Phrase(11, 12, 0.0),
    ]
    assert removal_order(phrases) == [1, 2, 3, 0, 4]
    for degrees in (2, 3, 4, 7):
        counts = removed_counts(len(phrases), degrees)
        for k, count in enumerate(counts):
            exact = k * len(phrases) / (degrees - 1)
            assert count - 1 < exact <= count
        masks = keep_masks(13, phrases, degrees)
        for k, count in enumerate(counts):
            gone = {
                unit
                for at in removal_order(phrases)[:count]
                for unit in range(phrases[at].start, phrases[at].end)
            }
            assert [unit not in gone for unit in range(13)] == masks[k].tolist()


def test_degrees_that_repeat_and_texts_that_vanish_are_left_out() -> None:
    assert [
        v.degree for v in variants("red fox and dog", Rake(frozenset(["and"]))("", "red fox and dog"), 4)
    ] == [0, 1, 2]
    assert [v.degree for v in variants("dog", [Phrase(0, 3)], 2)] == [0]
    assert [v.degree for v in variants("it is", [], 4)] == [0]


def test_the_controls() -> None:
    text = "it is a red fox, and it has ripe nuts, as it was before, so it is"
    phrases = Rake(stop_words())("", text)
    draw = random.Random(0)
    words = lambda part: len(part.split())  # noqa: E731
    by_degree = {v.degree: words(v.text) for v in variants(text, phrases, 3)}
    made = decoys(text, phrases, 3, draw)
    assert {v.degree for v in made} == {0}
    assert sorted(words(v.text) for v in made) == sorted(by_degree[k] for k in (1, 2))
    assert all("red fox" in v.text and "ripe nuts" in v.text for v in made)
    other = random_spans(text, phrases, draw)
    assert sorted(words(text[p.start : p.end].replace(",", "")) for p in other) == sorted(
        words(text[p.start : p.end]) for p in phrases
    )
    assert all(
        one.end <= two.start
        for one, two in zip(sorted(other, key=lambda p: p.start), sorted(other, key=lambda p: p.start)[1:])
    )
    again = Random(Rake(stop_words()), 3)
    assert again("", text) == again("", text) != Random(Rake(stop_words()), 4)("", text)


def test_words_that_are_never_key(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("der\nDie\n")
    assert stop_words(str(tmp_path / "words.txt")) == {"der", "die"}
    with pytest.raises(CounterpointError, match="one a line"):
        stop_words(str(tmp_path / "none.txt"))
    for name in ("rake", "tfidf", "likelihood", "random"):
        assert extractor(name, stop_words(), ["a red fox", "a dog"], tiny(seed=0), 0)("x", "a red fox")
