"""Statistics of dot-product similarities, in bounded memory: ``statistics`` is what others call, the rest is how."""

from counterpoint.kernels.similarity.statistics import (
    Rule,
    different,
    key_mean_similarity,
    not_self,
    same,
    similarity_logsumexp,
    similarity_logsumexp_and_mean,
    similarity_logsumexp_both,
    similarity_logsumexp_views,
    where,
)

__all__ = [
    "Rule",
    "different",
    "key_mean_similarity",
    "not_self",
    "same",
    "similarity_logsumexp",
    "similarity_logsumexp_and_mean",
    "similarity_logsumexp_both",
    "similarity_logsumexp_views",
    "where",
]
