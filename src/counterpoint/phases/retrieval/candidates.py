"""The documents that a step compares: a relevant one and hard negatives of each query, with the teacher's scores.

B queries of a batch, P documents of a pool, M = 1 + N candidates, the relevant one first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from counterpoint.pairs.hard_negatives import choose, pool_of
from counterpoint.phases.retrieval.teacher_scores import Ranking

Positive = Literal["teacher", "highest"]


class Candidates:
    """Pools of all training queries.

    Args:
        ranked: a teacher's ranking of each query. relevant: documents of each query.
        count: N. skip, keep: ranks of the pool; see ``pairs.hard_negatives``.
        positive: score of the relevant document: the "teacher"'s, or the "highest" of the ranks that are kept where it is not among them.
            Where the teacher has none, it is the highest.

    Raises:
        CounterpointError: a query whose pool is empty.
    """

    def __init__(
        self,
        ranked: Sequence[Ranking],
        relevant: Sequence[set[int]],
        *,
        count: int,
        skip: int,
        keep: int,
        positive: Positive,
    ) -> None:
        self.ranked, self.relevant = ranked, [sorted(each) for each in relevant]
        self.count, self.skip, self.keep, self.positive = count, skip, keep, positive
        self.pools = [
            pool_of(each.documents, each.scores, some, skip=skip, keep=keep)
            for each, some in zip(ranked, relevant)
        ]

    @property
    def draws(self) -> int:
        """Uniform numbers that a query of a batch takes."""
        return 1 + max(self.count, *(len(pool.documents) for pool in self.pools))

    def draw(self, rows: Sequence[int], uniform_BP: Tensor) -> tuple[Tensor, Tensor]:
        """([B, M] documents, [B, M] the teacher's scores of them); of several relevant ones, one at random.

        Args:
            rows: B queries. uniform_BP: [B, ``draws``].
        """
        sizes = torch.tensor([len(self.pools[row].documents) for row in rows], dtype=torch.long)
        chosen = choose(sizes, uniform_BP[:, 1:], self.count)
        documents = torch.zeros(len(rows), 1 + self.count, dtype=torch.long)
        scores = torch.zeros(documents.shape)
        for at, row in enumerate(rows):
            pool, judged = self.pools[row], self.relevant[row]
            documents[at, 0] = judged[int(uniform_BP[at, 0] * len(judged))]
            documents[at, 1:], scores[at, 1:] = pool.documents[chosen[at]], pool.scores[chosen[at]]
            scores[at, 0] = self.score(row, int(documents[at, 0]))
        return documents, scores

    def score(self, row: int, document: int) -> float:
        """The score of a relevant document of a query."""
        ranking, pool = self.ranked[row], self.pools[row]
        rank = (ranking.documents == document).nonzero()
        if not len(rank) or (
            self.positive == "highest" and not self.skip <= int(rank[0, 0]) < self.skip + self.keep
        ):
            return pool.highest
        return float(ranking.scores[rank[0, 0]])
