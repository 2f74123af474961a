"""How well a sentence encoder finds an anchor's positive, tells it from a negative, or grades how alike two sentences are.

Q anchors, C candidates, N rows, K negatives, H width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from scipy.stats import pearsonr, spearmanr
from torch import Tensor
from torch.nn.functional import normalize

from counterpoint.data.retrieval.load import Judgements
from counterpoint.data.sentence_pairs.items import PairRows, SentencePairs
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.geometry import uniformity
from counterpoint.evaluation.measurement import Measurement, Subject
from counterpoint.evaluation.retrieval import retrieval_metrics
from counterpoint.models.sentence_pairs.encoder import PROMPTS, SentenceEncoder


@torch.no_grad()
def sentence_vectors(
    model: SentenceEncoder, texts: Sequence[str], prompt: str = "", size: int = 128
) -> Tensor:
    """[N, H] float32 vectors of length one on the CPU, without dropout; texts go through in the order of their lengths."""
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    try:
        order = sorted(range(len(texts)), key=lambda n: len(texts[n]))
        vectors = torch.zeros(len(texts), model.num_features)
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            tokens = model.tokenize([texts[n] for n in rows], prompt).to(device)
            vectors[rows] = normalize(model(tokens.ids, tokens.mask).float(), dim=-1, eps=1e-12).cpu()
    finally:
        model.train(training)
    if not torch.isfinite(vectors).all():
        raise CounterpointError(
            "the sentence vectors hold NaN or infinite values; the training diverged: lower learning_rate"
        )
    return vectors


def judged(rows: PairRows) -> tuple[list[str], list[str], Judgements]:
    """Different anchors, different candidates (positives and negatives), and which candidate is a positive of which anchor.

    >>> rows = PairRows(("a", "a", "b"), ("x", "y", "x"), (("z",), ("z",), ("y",)))
    >>> anchors, candidates, relevant = judged(rows)
    >>> anchors, candidates, relevant.query.tolist(), relevant.document.tolist()
    (['a', 'b'], ['x', 'y', 'z'], [0, 0, 1], [0, 1, 0])
    """
    anchors = {text: at for at, text in enumerate(dict.fromkeys(rows.anchors))}
    every = (*rows.positives, *(text for texts in rows.negatives for text in texts))
    candidates = {text: at for at, text in enumerate(dict.fromkeys(every))}
    pairs = dict.fromkeys((anchors[a], candidates[p]) for a, p in zip(rows.anchors, rows.positives))
    both = torch.tensor(list(pairs), dtype=torch.long).reshape(-1, 2)
    return list(anchors), list(candidates), Judgements(both[:, 0], both[:, 1], torch.ones(len(both)))


def first_is_right(anchors_QH: Tensor, candidates_CH: Tensor, judged: Judgements) -> float:
    """Share of the anchors whose nearest candidate is a positive of theirs; of equally near ones the first counts."""
    right = {(int(q), int(d)) for q, d in zip(judged.query, judged.document)}
    nearest: list[int] = []
    for piece in anchors_QH.split(1024):
        nearest += (piece @ candidates_CH.T).argmax(1).tolist()
    return sum((q, d) in right for q, d in enumerate(nearest)) / max(len(nearest), 1)


def triplet_accuracy(anchors_NH: Tensor, positives_NH: Tensor, negatives_NKH: Tensor) -> float:
    """Share of the negatives that are farther from their anchor than the positive is, by the cosine.

    >>> a, p, n = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8]]), torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
    >>> triplet_accuracy(a, p, n)
    0.5
    """
    near = (anchors_NH * positives_NH).sum(-1, keepdim=True)
    far = (anchors_NH[:, None] * negatives_NKH).sum(-1)
    return float((near > far).float().mean())


def retrieved(subject: Subject[SentenceEncoder, SentencePairs]) -> dict[str, float]:
    """Retrieval of positives among all candidates of the split, triplet accuracy where there are negatives, uniformity of the candidates."""
    rows: PairRows = subject.part
    if not len(rows):
        return {}
    anchors, candidates, judgements = judged(rows)
    vectors = {
        name: dict(zip(texts, sentence_vectors(subject.model, texts, name)))
        for name, texts in zip(PROMPTS, (anchors, candidates))
    }
    a, c = (torch.stack(list(each.values())) for each in vectors.values())
    figures = retrieval_metrics(a, c, judgements)
    figures = {name: figures[name] for name in ("ndcg@10", "recall@10", "mrr@10")}
    figures["accuracy@1"] = first_is_right(a, c, judgements)
    if rows.negatives[0]:
        of_rows = [
            torch.stack([vectors[name][text] for text in texts])
            for name, texts in (("query", rows.anchors), ("document", rows.positives))
        ]
        wrong = torch.stack(
            [torch.stack([vectors["document"][text] for text in texts]) for texts in rows.negatives]
        )
        figures["triplet_accuracy"] = triplet_accuracy(of_rows[0], of_rows[1], wrong)
    return figures | {"uniformity": uniformity(c[:1000])}


def graded(subject: Subject[SentenceEncoder, SentencePairs]) -> dict[str, float]:
    """Correlation of cosines with scores, by ranks and of the values; none of a split whose scores are all the same."""
    rows: PairRows = subject.part
    if len(rows) < 2 or float(rows.scores.min()) == float(rows.scores.max()):
        return {}
    first, second = (
        sentence_vectors(subject.model, texts, prompt)
        for texts, prompt in zip((rows.anchors, rows.positives), PROMPTS)
    )
    cosines = (first * second).sum(-1).double().numpy()
    scores = rows.scores.double().numpy()
    figures = {
        "spearman": float(spearmanr(cosines, scores).statistic),
        "pearson": float(pearsonr(cosines, scores).statistic),
    }
    # Cosines that are all the same are in no order: an encoder that has collapsed.
    figures = {name: 0.0 if math.isnan(value) else value for name, value in figures.items()}
    return figures | {"uniformity": uniformity(second[:1000])}


def _encoder(scored: bool) -> Any:
    return lambda model, data: isinstance(model, SentenceEncoder) and data.scored is scored


MEASUREMENTS: tuple[Measurement[Any, SentencePairs], ...] = (
    Measurement(applies=_encoder(False), measure=retrieved),
    Measurement(applies=_encoder(True), measure=graded),
)
