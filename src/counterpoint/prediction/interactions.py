"""Recommendations for users: the best items that each has not met, with their scores. U users, I items, D dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from counterpoint.data.interactions.files import NAMES
from counterpoint.errors import CounterpointError, nearest
from counterpoint.models.interactions.recommender import Recommender
from counterpoint.prediction.predictor import Predictor, Row, Settings, names, numbers

MANY = 5000
"""Users above which the nearest name is looked for among a few."""


def predictor(model: nn.Module, folder: Path, settings: Settings) -> Predictor:
    """``k`` items for the user of each row; a user who was answered already is not answered again."""
    recommender = cast(Recommender, model)
    users_UD, items_ID = recommender.embeddings()
    index_of = {name: row for row, name in enumerate(recommender.user_ids)}
    pairs = recommender.pairs.long()
    by_user = torch.argsort(pairs[0], stable=True)
    met = pairs[1][by_user]
    starts = torch.searchsorted(pairs[0][by_user].contiguous(), torch.arange(len(index_of) + 1).to(pairs))
    columns = names(settings, ("user", *sorted(NAMES["user"] - {"user"})))

    def read(row: Row) -> int:
        user = str(row.cell(columns, "user")).strip()
        if user not in index_of:
            some = list(index_of) if len(index_of) <= MANY else list(index_of)[:5]
            raise CounterpointError(
                f"{row.where}: the model knows no user {user!r} among its {len(index_of):,}; {nearest(user, some)[:120]}"
            )
        return index_of[user]

    def answer(rows: list[int]) -> list[dict[str, Any]]:
        scores = users_UD[torch.tensor(rows)] @ items_ID.T
        for at, row in enumerate(rows):
            scores[at, met[starts[row] : starts[row + 1]]] = -torch.inf
        best, items = scores.topk(min(settings.k, scores.shape[1]), dim=1)
        return [
            {"user": recommender.user_ids[row], "items": listed}
            for row, listed in zip(rows, _listed(best, items, recommender.item_ids), strict=True)
        ]

    first = recommender.user_ids[0] if recommender.user_ids else "a user"
    return Predictor(
        what="recommendations",
        plain="user",
        read=read,
        answer=answer,
        size=256,
        columns=columns,
        once=True,
        example=f"[{first!r}]",
    )


def _listed(scores: Tensor, items: Tensor, ids: Sequence[str]) -> list[list[dict[str, Any]]]:
    """Each row's items with scores, without those that it has met."""
    return [
        [{"item": ids[item], "score": value} for item, value in zip(row, values) if value != float("-inf")]
        for row, values in zip(items.tolist(), numbers(scores), strict=True)
    ]
