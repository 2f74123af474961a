"""Ranking figures against loops written from their definitions, and the guards of the evaluation."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.evaluation.recommendation import evaluate_recommender, rank, ranking_metrics, tail_items
from counterpoint.models.interactions.recommender import Recommender
from counterpoint.training.best import Best
from interaction_clusters import clusters


def by_hand(
    users: Tensor, items: Tensor, seen: set, held: set, popularity: list[int], k: int
) -> dict[str, float]:
    order = sorted(range(len(popularity)), key=lambda i: (popularity[i], i))
    tail = set(order[: int(0.8 * len(popularity))])
    sums = dict.fromkeys(("recall", "ndcg", "mrr", "precision", "user_hit"), 0.0)
    hits = shown = tail_shown = 0
    tail_recalls, recommended = [], set()
    ranked = sorted({u for u, _ in held})
    for u in ranked:
        scores = [(float(users[u] @ items[i]), i) for i in range(len(items)) if (u, i) not in seen]
        top = [i for _, i in sorted(scores, reverse=True)[:k]]
        mine = {i for v, i in held if v == u}
        found = [place for place, i in enumerate(top) if i in mine]
        sums["recall"] += len(found) / len(mine)
        sums["precision"] += len(found) / k
        sums["user_hit"] += bool(found)
        sums["mrr"] += 1 / (found[0] + 1) if found else 0.0
        ideal = sum(1 / math.log2(p + 2) for p in range(min(k, len(mine))))
        sums["ndcg"] += sum(1 / math.log2(p + 2) for p in found) / ideal
        hits += len(found)
        shown += len(top)
        tail_shown += len(tail & set(top))
        recommended |= set(top)
        if mine & tail:
            tail_recalls.append(len(tail & mine & set(top)) / len(mine & tail))
    result = {name: value / len(ranked) for name, value in sums.items()}
    result["hit_ratio"] = hits / len(held)
    result["tail_share"] = tail_shown / shown
    result["coverage"] = len(recommended) / len(popularity)
    result["tail_recall"] = sum(tail_recalls) / len(tail_recalls) if tail_recalls else 0.0
    return {f"{name}@{k}": value for name, value in result.items()}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.sampled_from([1, 3, 20]), block=st.sampled_from([1, 4, 100]))
def test_metrics_equal_their_definitions(seed: int, k: int, block: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    u, i = 7, 11
    users, items = (torch.randn(n, 5, generator=draws, dtype=torch.float64) for n in (u, i))
    kind = torch.rand(u, i, generator=draws)
    seen, held = (kind < 0.3).nonzero(), (kind > 0.8).nonzero()
    if not len(held):
        return
    popularity = torch.bincount(seen[:, 1], minlength=i)
    pairs = held[:, 0], held[:, 1]
    ranking = rank(users, items, (seen[:, 0], seen[:, 1]), pairs, k, block)
    found = ranking_metrics(ranking, popularity, pairs, k)
    as_set = [{(a, b) for a, b in part.tolist()} for part in (seen, held)]
    expected = by_hand(users, items, *as_set, popularity.tolist(), k)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12), name


def test_seen_items_are_never_recommended_even_when_few_remain() -> None:
    users, items = torch.ones(1, 2), torch.ones(4, 2)
    seen = torch.tensor([0, 0, 0]), torch.tensor([0, 1, 2])
    ranking = rank(users, items, seen, (torch.tensor([0]), torch.tensor([3])), k=4)
    assert ranking.items_RK.tolist() == [[3, -1, -1, -1]]
    assert ranking.hits_RK.tolist() == [[True, False, False, False]]


def test_order_of_users_and_items_does_not_matter(tmp_path: Path) -> None:
    data = clusters(tmp_path)
    model = Recommender.for_data(data, seed=3)
    first = evaluate_recommender(model, data, "test")
    assert first == evaluate_recommender(model, data, "test")
    other = clusters(tmp_path)
    shuffled = model.fitted_to(other)
    assert evaluate_recommender(shuffled, other, "test") == pytest.approx(first)


def test_perfect_embeddings_get_full_marks() -> None:
    users, items = torch.eye(5), torch.eye(5)
    held = torch.arange(5), torch.arange(5)
    none = torch.empty(0, dtype=torch.int64)
    found = ranking_metrics(rank(users, items, (none, none), held, 3), torch.ones(5), held, 3)
    assert found["recall@3"] == found["ndcg@3"] == found["mrr@3"] == found["hit_ratio@3"] == 1.0


def test_tail_is_the_least_popular_four_fifths() -> None:
    assert tail_items(torch.arange(10)).tolist() == [True] * 8 + [False] * 2


def test_a_model_trained_on_the_test_pairs_is_refused(tmp_path: Path) -> None:
    data = clusters(tmp_path)
    leaked = replace(data, test=data.train[torch.arange(5)])
    with pytest.raises(CounterpointError, match="was trained on 5 of the 5 test pairs"):
        evaluate_recommender(Recommender.for_data(data), leaked, "test")


def test_unknown_users_are_refused(tmp_path: Path) -> None:
    small, large = clusters(tmp_path, users=20), clusters(tmp_path, users=40)
    with pytest.raises(CounterpointError, match="unknown to the model"):
        evaluate_recommender(Recommender.for_data(small), large, "test")


def test_best_keeps_the_best_epoch_and_survives_a_reload() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    scores = iter([1.0, 3.0, 2.0, 0.5])

    def trained(epoch: int) -> None:
        with torch.no_grad():
            model.weight.fill_(float(epoch))

    best = Best(model, lambda: next(scores))
    for epoch in (0, 0, 1, 1, 2):
        best.before(epoch)
        trained(epoch)
    again = Best(model, lambda: next(scores))
    again.load_state_dict(best.state_dict())
    again.restore()
    assert (again.epoch, again.score, model.weight.item()) == (1, 3.0, 1.0)
    idle = Best(model, None)
    idle.before(3)
    idle.restore()
    assert model.weight.item() == 1.0


def test_what_validation_held_out_is_not_recommended_at_test_and_test_pairs_are_at_validation(
    tmp_path: Path,
) -> None:
    data = clusters(tmp_path)
    pairs = {name: {*zip(p.users.tolist(), p.items.tolist())} for name, p in
             (("train", data.train), ("validation", data.validation), ("test", data.test))}  # fmt: skip

    def known(split: str) -> set[tuple[int, int]]:
        found = data.interactions_before(split)
        return set(zip(found.users.tolist(), found.items.tolist()))

    assert known("validation") == pairs["train"]
    assert known("test") == pairs["train"] | pairs["validation"]
    users, items = torch.rand(len(data.users), 4), torch.rand(len(data.items), 4)
    before, held = data.interactions_before("test"), data.held_out("test")
    found = rank(users, items, (before.users, before.items), (held.users, held.items), k=len(data.items))
    shown = {
        (int(u), int(i)) for u, row in zip(found.users, found.items_RK, strict=True) for i in row if i >= 0
    }
    assert not shown & known("test")
    assert {pair for pair in pairs["test"] if pair in shown} == pairs["test"]
