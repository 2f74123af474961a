"""Figures of sentence encoders: against ones worked out by hand and by scipy, with repeated anchors and candidates."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import pearsonr, spearmanr

from counterpoint.data.sentence_pairs.items import PairRows, SentencePairs
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.sentence_pairs.measurements import first_is_right, judged, sentence_vectors
from counterpoint.models.sentence_pairs.encoder import Form, SentenceEncoder
from counterpoint.models.text.transformer import fresh_transformer
from counterpoint.tasks.sentence_pairs import TASK

WORDS = ["tea", "sea", "cup", "wave", "warm", "cold"]


@pytest.fixture(scope="module")
def model() -> SentenceEncoder:
    return SentenceEncoder(
        fresh_transformer(WORDS, layers=1, width=16, seed=0), Form(prompts={"query": "warm "})
    )


def data(rows: PairRows, **more: object) -> SentencePairs:
    return SentencePairs(rows, rows, rows, **more)  # type: ignore[arg-type]


def test_retrieval_counts_every_positive_of_an_anchor_once(model: SentenceEncoder) -> None:
    rows = PairRows(
        ("tea", "tea", "sea", "sea"), ("cup", "warm cup", "wave", "wave"), (("cold",), ("sea wave",), ("cup",), ("cup",))
    )  # fmt: skip
    figures = TASK.evaluate(model, data(rows, num_negatives=1), "test")
    anchors, candidates, found = judged(rows)
    assert (anchors, candidates) == (["tea", "sea"], ["cup", "warm cup", "wave", "cold", "sea wave"])
    assert list(zip(found.query.tolist(), found.document.tolist())) == [(0, 0), (0, 1), (1, 2)]
    a, c = sentence_vectors(model, anchors, "query"), sentence_vectors(model, candidates, "document")
    order = (a @ c.T).argsort(dim=1, descending=True).tolist()
    ranks = [[order[0].index(0), order[0].index(1)], [order[1].index(2)]]
    assert figures["mrr@10"] == pytest.approx(sum(1 / (min(r) + 1) for r in ranks) / 2)
    assert figures["accuracy@1"] == sum(min(r) == 0 for r in ranks) / 2
    assert figures["recall@10"] == 1.0
    near = [
        float(a[q] @ c[p]) > float(a[q] @ c[n]) for q, p, n in ((0, 0, 3), (0, 1, 4), (1, 2, 0), (1, 2, 0))
    ]
    assert figures["triplet_accuracy"] == sum(near) / 4


def test_of_equally_near_candidates_the_first_counts() -> None:
    _, _, found = judged(PairRows(("a", "b"), ("x", "y"), ((), ())))
    same = torch.ones(2, 1)
    assert first_is_right(same, same, found) == 0.5


def test_scores_are_followed_as_scipy_says(model: SentenceEncoder) -> None:
    first = ("tea", "sea", "cup", "wave", "warm tea")
    second = ("cup", "wave", "tea", "cold", "tea")
    rows = PairRows(first, second, ((),) * 5, torch.tensor([0.1, 0.9, 0.4, 0.4, 1.0]))
    figures = TASK.evaluate(model, data(rows, scored=True), "validation")
    cosines = (sentence_vectors(model, first, "query") * sentence_vectors(model, second, "document")).sum(1)
    assert figures["spearman"] == pytest.approx(spearmanr(cosines, rows.scores).statistic)
    assert figures["pearson"] == pytest.approx(pearsonr(cosines, rows.scores).statistic, abs=1e-6)
    assert "ndcg@10" not in figures


def test_vectors_that_are_not_finite_are_refused(model: SentenceEncoder) -> None:
    broken = SentenceEncoder(fresh_transformer(WORDS, layers=1, width=16, seed=0))
    broken.text.net.embeddings.word_embeddings.weight.data.fill_(torch.nan)
    with pytest.raises(CounterpointError, match="NaN or infinite values"):
        sentence_vectors(broken, ["tea"])
