"""Ranking of sentences: equal to a plain table of similarities, with and without repeats, also in blocks and over ranks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.kernels.config import kernel_path
from counterpoint.objectives.contrast.decoupled import decoupled
from counterpoint.objectives.contrast.infonce import info_nce, symmetric_info_nce
from counterpoint.objectives.contrast.sentence_ranking import sentence_ranking
from counterpoint.objectives.labels.graded_pairs import cosent

N, K, D = 7, 2, 5


def rows(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, D, generator=generator, dtype=torch.float64).requires_grad_()


A, P, H = rows(0, N), rows(1, N), rows(2, N, K)


def test_without_repeats_it_is_infonce_and_the_decoupled_loss() -> None:
    torch.testing.assert_close(sentence_ranking(A, P, temperature=0.2), info_nce(A, P, temperature=0.2))
    keys = torch.cat([P, H.flatten(0, 1)])
    torch.testing.assert_close(sentence_ranking(A, P, H, temperature=0.2), info_nce(A, keys, temperature=0.2))
    torch.testing.assert_close(
        sentence_ranking(A, P, symmetric=True, temperature=0.2), symmetric_info_nce(A, P, temperature=0.2)
    )
    torch.testing.assert_close(
        sentence_ranking(A, P, symmetric=True, decoupled=True, both_sides=True, temperature=0.2),
        decoupled(A, P, temperature=0.2),
    )


def by_hand(a_text: list[str], p_text: list[str], h_text: list[list[str]], decoupled: bool) -> Tensor:
    """Row by row, over the keys that are no repeat."""
    unit = torch.nn.functional.normalize
    a, p, h = unit(A, dim=-1), unit(P, dim=-1), unit(H, dim=-1)
    losses = []
    for i in range(N):
        own = {a_text[i], p_text[i]}
        keys = [p[j] for j in range(N) if p_text[j] not in own and a_text[j] not in own]
        keys += [h[j, k] for j in range(N) for k in range(K) if h_text[j][k] not in own]
        scores = torch.stack([a[i] @ key for key in keys]) / 0.3
        alike = a[i] @ p[i] / 0.3
        losses.append(torch.logsumexp(scores if decoupled else torch.cat([scores, alike[None]]), 0) - alike)
    return torch.stack(losses)


@pytest.mark.parametrize("path", ["plain", "stream"])
@pytest.mark.parametrize("decoupled", [False, True])
def test_repeats_are_no_negatives(path: str, decoupled: bool) -> None:
    a_text = ["q0", "q1", "q0", "q3", "q4", "q5", "q6"]  # rows 0 and 2 ask the same
    p_text = ["p0", "p1", "p2", "p1", "p4", "p5", "q4"]  # rows 1 and 3 have one answer; 6's is what 4 asks
    h_text = [[f"h{i}{k}" for k in range(K)] for i in range(N)]
    h_text[5][1] = "p0"  # a negative of 5 is the positive of 0, and stays one to all others
    numbers: dict[str, int] = {}

    def number(texts: list[str]) -> Tensor:
        return torch.tensor([numbers.setdefault(text, len(numbers)) for text in texts])

    texts = number(a_text), number(p_text), torch.stack([number(row) for row in h_text])
    with kernel_path(path, budget_bytes=2**10):
        found = sentence_ranking(A, P, H, temperature=0.3, decoupled=decoupled, texts=texts)
        wanted = by_hand(a_text, p_text, h_text, decoupled)
        torch.testing.assert_close(found, wanted)
        for mine, theirs in zip(*(torch.autograd.grad(each.mean(), (A, P, H)) for each in (found, wanted))):
            torch.testing.assert_close(mine, theirs)
        assert not torch.allclose(found, sentence_ranking(A, P, H, temperature=0.3, decoupled=decoupled))


@pytest.mark.parametrize("decoupled", [False, True])
def test_a_row_whose_keys_all_repeat_it_learns_nothing(decoupled: bool) -> None:
    same = torch.zeros(N, dtype=torch.long)
    losses = sentence_ranking(A, P, decoupled=decoupled, symmetric=True, texts=(same, same + 1, None))
    assert losses.tolist() == [0.0] * N
    assert all(bool(g.isfinite().all()) for g in torch.autograd.grad(losses.sum(), (A, P)))


def test_two_shares_are_the_whole() -> None:
    numbers = torch.tensor([0, 1, 0, 3, 4, 5, 6])
    settings = {
        "symmetric": True,
        "both_sides": True,
        "texts": (numbers, numbers + 10, torch.arange(N * K).view(N, K) + 20),
    }
    whole = sentence_ranking(A, P, H, **settings)
    parts = [
        sentence_ranking(A[part], P[part], H[part], candidates=(A, P, H), offset=part.start, **settings)
        for part in (slice(0, 3), slice(3, N))
    ]
    torch.testing.assert_close(torch.cat(parts), whole)
    scores = torch.arange(N, dtype=torch.float64) % 3
    both = [
        cosent(A[part], P[part], scores[part], candidates=(A, P, scores))
        for part in (slice(0, 3), slice(3, N))
    ]
    torch.testing.assert_close(torch.cat(both), cosent(A, P, scores))


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(CounterpointError, match="expected anchors and positives"):
        sentence_ranking(A, P, H[:3])
    with pytest.raises(CounterpointError, match=r"with scores \(3,\)"):
        cosent(A, P, torch.zeros(3))
    with pytest.raises(CounterpointError, match="temperature=0 was given"):
        sentence_ranking(A, P, temperature=0)
