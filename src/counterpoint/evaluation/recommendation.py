"""Full-ranking evaluation of a recommender: every item is ranked for every user with held-out pairs, seen items masked.

Legend of shape suffixes: U users, I items, D dimension, B users of one block, K list length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from counterpoint.data.interactions.load import Interactions
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.geometry import uniformity
from counterpoint.evaluation.measurement import Measurement, Subject, is_a
from counterpoint.models.interactions.recommender import Recommender

TAIL = 0.8  # the least popular four fifths of the items are the tail


@dataclass(frozen=True)
class Ranking:
    """Top-K lists of the users that have held-out pairs.

    Attributes:
        users: [R], positions of the ranked users.
        items_RK: [R, K], recommended items, best first; -1 where a user has fewer unseen items than K.
        hits_RK: [R, K], whether the recommended item is held out for that user.
        relevant: [R], number of held-out items of each user.
    """

    users: Tensor
    items_RK: Tensor
    hits_RK: Tensor
    relevant: Tensor


def _mask(users: Tensor, items: Tensor, rows: Tensor, num_users: int) -> tuple[Tensor, Tensor]:
    """Positions (row among ``rows``, item) of the pairs whose user is in ``rows``."""
    position = torch.full((num_users,), -1, dtype=torch.int64, device=users.device)
    position[rows] = torch.arange(len(rows), device=users.device)
    where = position[users]
    inside = where >= 0
    return where[inside], items[inside]


@torch.no_grad()
def rank(
    users_UD: Tensor,
    items_ID: Tensor,
    seen: tuple[Tensor, Tensor],
    held_out: tuple[Tensor, Tensor],
    k: int = 20,
    block: int = 1024,
) -> Ranking:
    """Rank all items by dot product for every user with held-out pairs.

    Args:
        users_UD, items_ID: embeddings.
        seen: users [P] and items [P] of the pairs that are not to be recommended.
        held_out: users [Q] and items [Q] of the pairs to be found.
        k: length of the lists; block: users scored at a time (memory: block x I scores).
    """
    k = min(k, len(items_ID))
    relevant = torch.bincount(held_out[0], minlength=len(users_UD))
    ranked = relevant.nonzero().squeeze(1)
    lists, hits = [], []
    for rows in ranked.split(block):
        scores_BI = users_UD[rows] @ items_ID.T
        scores_BI[_mask(*seen, rows, len(users_UD))] = -torch.inf
        wanted_BI = torch.zeros_like(scores_BI, dtype=torch.bool)
        wanted_BI[_mask(*held_out, rows, len(users_UD))] = True
        best_BK, items_BK = scores_BI.topk(k, dim=1)
        hits.append(wanted_BI.gather(1, items_BK) & best_BK.isfinite())
        lists.append(items_BK.masked_fill(~best_BK.isfinite(), -1))
    empty = torch.empty((0, k), dtype=torch.int64, device=users_UD.device)
    return Ranking(ranked, torch.cat([empty, *lists]), torch.cat([empty.bool(), *hits]), relevant[ranked])


def ranking_metrics(
    ranking: Ranking, popularity: Tensor, held_out: tuple[Tensor, Tensor], k: int = 20
) -> dict[str, float]:
    """Accuracy and popularity figures of top-k lists.

    Args:
        ranking: lists at least ``k`` long.
        popularity: [I], training pairs of each item.
        held_out: users [Q] and items [Q], as given to ``rank``.

    Returns:
        ``recall`` (mean over users of the share of their held-out items found), ``ndcg`` (log2 discount, ideal truncated at
        k), ``mrr``, ``precision``, ``hit_ratio`` (found share of all held-out pairs), ``user_hit`` (users with at least one
        hit), ``tail_recall`` (recall of the least popular 80 % of the items, over users who have such items held out),
        ``tail_share`` (share of the tail in the lists), ``coverage`` (items recommended to anybody), ``popularity`` (mean
        popularity percentile of what is recommended); each name ends in ``@k``.
    """
    items_RK, hits_RK = ranking.items_RK[:, :k], ranking.hits_RK[:, :k].double()
    relevant = ranking.relevant.double()
    discount = 1 / torch.arange(2, items_RK.shape[1] + 2, dtype=torch.float64, device=hits_RK.device).log2()
    ideal = torch.cat([discount.new_zeros(1), discount.cumsum(0)])[ranking.relevant.clamp(max=len(discount))]
    first = hits_RK.argmax(1).double() + 1
    hits = hits_RK.sum(1)
    valid_RK = items_RK >= 0
    tail = tail_items(popularity)
    tail_RK = tail[items_RK.clamp(min=0)] & valid_RK
    tail_held = torch.bincount(held_out[0][tail[held_out[1]]], minlength=int(ranking.users.max()) + 1)[
        ranking.users
    ]
    tail_hits = (hits_RK * tail_RK).sum(1)[tail_held > 0] / tail_held[tail_held > 0]
    percentile = popularity.double().argsort().argsort().double() / max(len(popularity) - 1, 1)
    shown = items_RK[valid_RK]
    figures = {
        "recall": (hits / relevant).mean(),
        "ndcg": ((hits_RK * discount).sum(1) / ideal).mean(),
        "mrr": torch.where(hits > 0, 1 / first, 0.0).mean(),
        "precision": hits.mean() / k,
        "hit_ratio": hits.sum() / relevant.sum(),
        "user_hit": (hits > 0).double().mean(),
        "tail_recall": tail_hits.mean() if len(tail_hits) else torch.zeros(()),
        "tail_share": tail_RK.sum().double() / valid_RK.sum(),
        "coverage": torch.tensor(shown.unique().numel() / len(popularity), dtype=torch.float64),
        "popularity": percentile[shown].mean(),
    }
    return {f"{name}@{k}": float(value) for name, value in figures.items()}


def tail_items(popularity: Tensor) -> Tensor:
    """[I], whether an item is among the least popular 80 % (ties by position).

    >>> tail_items(torch.tensor([9, 1, 5, 2, 3])).tolist()
    [False, True, True, True, True]
    """
    tail = torch.zeros(len(popularity), dtype=torch.bool, device=popularity.device)
    tail[popularity.argsort(stable=True)[: int(TAIL * len(popularity))]] = True
    return tail


def index_of_ids(model_ids: list[str], data_ids: list[str], role: str) -> Tensor | None:
    """Rows of the model for the data's ids; None when both lists are the same.

    Raises:
        CounterpointError: an id of the data that the model has never seen.
    """
    if model_ids == data_ids:
        return None
    index_of = {name: row for row, name in enumerate(model_ids)}
    unknown = [name for name in data_ids if name not in index_of]
    if unknown:
        raise CounterpointError(
            f"{len(unknown):,} of the data's {len(data_ids):,} {role}s are unknown to the model (the first is {unknown[0]!r}); "
            "evaluate on the data it was trained on, or train again starting from it: model.fitted_to(data)"
        )
    return torch.tensor([index_of[name] for name in data_ids])


@torch.no_grad()
def evaluate_recommender(
    model: Recommender, data: Interactions, split: str, k: int = 20, seed: int = 0
) -> dict[str, float]:
    """Rank a split's held-out pairs among all unseen items: ``ranking_metrics`` at 10 and ``k``, and ``uniformity``.

    Uniformity is that of at most 2,000 random users and items together (lower is more even).

    Raises:
        CounterpointError: nothing is held out, ids the model does not know, or held-out pairs it was trained on.
    """
    held_out, before = data.held_out(split), data.interactions_before(split)
    users_UD, items_ID = (table.float() for table in model.embeddings())
    rows = [
        index_of_ids(model.user_ids, data.users, "user"),
        index_of_ids(model.item_ids, data.items, "item"),
    ]
    rows = [row if row is None else row.to(users_UD.device) for row in rows]
    users_UD, items_ID = (x if row is None else x[row] for x, row in zip((users_UD, items_ID), rows))
    device = users_UD.device
    wanted, seen = ((pairs.users.to(device), pairs.items.to(device)) for pairs in (held_out, before))
    learnt = model.pairs[0].long() * model.num_items + model.pairs[1].long()
    queried = [at if row is None else row[at] for at, row in zip(wanted, rows)]
    leaked = int(torch.isin(queried[0] * model.num_items + queried[1], learnt).sum())
    if leaked:
        raise CounterpointError(
            f"the model was trained on {leaked:,} of the {len(held_out):,} {split} pairs, so its figures would mean nothing; "
            "evaluate with the split it was trained with (the same file, split and split_seed)"
        )
    ranking = rank(users_UD, items_ID, seen, wanted, k)
    popularity = data.popularity.to(device)
    figures = ranking_metrics(ranking, popularity, wanted, k)
    if k > 10:
        figures |= {
            name: v
            for name, v in ranking_metrics(ranking, popularity, wanted, 10).items()
            if name[:4] in ("reca", "ndcg")
        }
    both = torch.cat([users_UD, items_ID]).cpu()
    chosen = torch.randperm(len(both), generator=torch.Generator().manual_seed(seed))[:2000]
    return figures | {"uniformity": uniformity(both[chosen])}


def recommendation(subject: Subject[Recommender, Interactions]) -> dict[str, float]:
    """``evaluate_recommender`` of a split."""
    return evaluate_recommender(subject.model, subject.data, subject.split, seed=subject.seed)


MEASUREMENTS: tuple[Measurement[Any, Interactions], ...] = (
    Measurement(applies=is_a(Recommender), measure=recommendation),
)
