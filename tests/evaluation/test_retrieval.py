"""Retrieval figures against scikit-learn's and loops, and what embeddings through rationales are."""

from __future__ import annotations

import math

import pytest
import torch

from counterpoint.data.retrieval.load import Judgements
from counterpoint.evaluation.retrieval import retrieval_metrics
from counterpoint.generation.rationales import embed
from counterpoint.generation.sampler import Sampler
from counterpoint.models.language.characters import tiny
from counterpoint.models.retrieval.embedder import Embedder, Shown


def judged(seed: int, queries: int, documents: int) -> Judgements:
    g = torch.Generator().manual_seed(seed)
    grades = torch.randint(0, 4, (queries, documents), generator=g) * (
        torch.rand(queries, documents, generator=g) < 0.2
    )
    query, document = grades.nonzero(as_tuple=True)
    return Judgements(query, document, grades[query, document].double())


@pytest.mark.parametrize(("queries", "documents"), [(7, 30), (5, 6), (3, 150), (1, 2)])
def test_figures_are_scikit_learns_and_a_loops(queries: int, documents: int) -> None:
    from sklearn.metrics import ndcg_score

    g = torch.Generator().manual_seed(1)
    q, d = (torch.randn(n, 5, generator=g, dtype=torch.float64) for n in (queries, documents))
    truth = judged(2, queries, documents)
    if not len(truth):
        truth = Judgements(torch.tensor([0]), torch.tensor([1]), torch.tensor([2.0]))
    found, per = retrieval_metrics(q, d, truth), {}
    for at in truth.queries:
        grades = [0.0] * documents
        for query, document, grade in zip(
            truth.query.tolist(), truth.document.tolist(), truth.grade.tolist()
        ):
            if query == at:
                grades[document] = grade
        scores = [float(q[at] @ d[n]) for n in range(documents)]
        order = sorted(range(documents), key=lambda n: -scores[n])
        relevant = sum(grade > 0 for grade in grades)
        first = next((rank for rank, n in enumerate(order[:10], 1) if grades[n] > 0), None)
        per[at] = {
            "ndcg@10": ndcg_score([grades], [scores], k=10),
            "recall@10": sum(grades[n] > 0 for n in order[:10]) / relevant,
            "recall@100": sum(grades[n] > 0 for n in order[:100]) / relevant,
            "mrr@10": 1 / first if first else 0.0,
        }
    for name, value in found.items():
        assert value == pytest.approx(sum(each[name] for each in per.values()) / len(per)), name


def test_equal_scores_are_in_the_corpus_order_and_no_query_is_nothing() -> None:
    same = torch.ones(3, 2)
    figures = retrieval_metrics(
        same, same, Judgements(torch.tensor([1]), torch.tensor([2]), torch.tensor([1.0]))
    )
    assert figures["mrr@10"] == pytest.approx(1 / 3)
    assert figures["ndcg@10"] == pytest.approx(1 / math.log2(4))
    none = Judgements(torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long), torch.zeros(0))
    assert set(retrieval_metrics(same, same, none).values()) == {0.0}


def test_an_embedding_is_the_mean_over_text_and_rationale_without_what_stands_before() -> None:
    model = tiny(seed=0)
    encoder = Embedder(model, Shown(template="read: {text}", rationale=4))
    texts = ["a long text", "b"]
    found = embed(encoder, texts, at_once=2)
    before = len(model.prompts(["read: "]).ids[0]) - 1  # without the token that asks for an answer
    assert encoder.skipped() == before
    for n, text in enumerate(texts):
        prompt = model.prompts([f"read: {text}"])
        written = Sampler(max_new_tokens=4, temperature=0.0)(model, prompt).rows()[0]
        ids = torch.tensor([prompt.ids[0].tolist() + written])
        states = model.causal.model(ids).last_hidden_state[0, before:]
        mean = states.mean(0)
        torch.testing.assert_close(found[n], (mean / mean.norm()).detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(embed(encoder, texts, at_once=1), found, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(embed(encoder, texts, rationale=0), found)
    assert not embed(encoder, []).numel()
