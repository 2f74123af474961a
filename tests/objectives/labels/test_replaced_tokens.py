"""Objectives of Vega: naive loops, gradcheck, what is constant, padding, splitting, order, extremes, wrong input."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from counterpoint.errors import CounterpointError
from counterpoint.kernels.scores import Head
from counterpoint.models.text.disentangled import attention, configuration, disentangled_encoder
from counterpoint.objectives.labels.adversarial import (
    climb,
    departure,
    first_noise,
    normalised,
    symmetric_cross_entropy,
    worst_noise,
)
from counterpoint.objectives.labels.replaced_tokens import (
    choose_gaps,
    corrupt,
    detection_loss,
    generator_loss,
    replaced,
    sample_tokens,
)
from counterpoint.objectives.labels.self_labels import blended, pseudo_label_loss, pseudo_labels, repair
from counterpoint.objectives.reduction import Loss, total

B, T, V, C = 3, 5, 7, 4


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def texts():
    ids = torch.randint(1, V, (B, T), generator=torch.Generator().manual_seed(1))
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0], [1, 1, 0, 0, 0]])
    gaps = torch.tensor([[1, 0, 1, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]]).bool()
    sampled = torch.where(torch.arange(T) == 2, ids, ids % (V - 1) + 1)
    return ids * mask, mask, gaps, sampled


def both(generator, found, texts) -> dict[str, Loss]:
    ids, mask, gaps, sampled = texts
    return {
        "mlm": generator_loss(generator, ids, gaps),
        "rtd": detection_loss(found, ids, corrupt(ids, gaps, sampled), mask, 50.0),
    }


def test_replaced_tokens_against_loops(texts) -> None:
    ids, mask, gaps, sampled = texts
    generator, found = draw(B, T, V), draw(B, T, seed=1)
    filled, wanted, seen = [], [], 0
    for b in range(B):
        for t in range(T):
            token, wrong = int(ids[b, t]), False
            if gaps[b, t]:
                row = generator[b, t].tolist()
                filled.append(math.log(sum(math.exp(x) for x in row)) - row[token])
                wrong = int(sampled[b, t]) != token
                seen += wrong
            if mask[b, t]:
                p = 1 / (1 + math.exp(-float(found[b, t])))
                wanted.append(-math.log(p if wrong else 1 - p))
    assert seen == 2  # the third gap was filled with the original
    terms = both(generator, found, texts)
    assert float(terms["mlm"].mean()) == pytest.approx(sum(filled) / len(filled))
    assert float(terms["rtd"].mean()) == pytest.approx(sum(wanted) / len(wanted))
    assert float(total(terms)) == pytest.approx(sum(filled) / len(filled) + 50 * sum(wanted) / len(wanted))


def test_nothing_flows_through_the_sampling_and_gradients_are_right(texts) -> None:
    generator, found = draw(B, T, V).requires_grad_(), draw(B, T, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda g, f: total(both(g, f, texts)), (generator, found))
    ids, mask, gaps, _ = texts
    sampled = sample_tokens(generator, torch.rand(B, T))
    detection_loss(found, ids, corrupt(ids, gaps, sampled), mask).mean().backward()
    assert generator.grad is None
    assert (found.grad[mask == 0] == 0).all()


@pytest.mark.parametrize("nonsense", [float("nan"), float("inf"), 1e4])
def test_padding_never_changes_the_loss(texts, nonsense) -> None:
    generator, found = draw(B, T, V), draw(B, T, seed=1)
    expected = total(both(generator, found, texts))
    ids, mask, gaps, sampled = texts
    wider = tuple(torch.nn.functional.pad(x, (0, 2)) for x in (ids, mask, gaps, sampled))
    generator = torch.cat([generator, torch.full((B, 2, V), nonsense, dtype=torch.float64)], 1)
    found = torch.nn.functional.pad(found, (0, 2))
    found[wider[1] == 0] = nonsense
    found.requires_grad_()
    loss = total(both(generator, found, wider))
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert torch.isfinite(found.grad).all()


def test_order_and_splitting(texts) -> None:
    generator, found = draw(B, T, V), draw(B, T, seed=1)
    expected, order = both(generator, found, texts), torch.tensor([2, 0, 1])
    moved = both(generator[order], found[order], tuple(x[order] for x in texts))
    parts = [
        both(generator[i : i + 1], found[i : i + 1], tuple(x[i : i + 1] for x in texts)) for i in range(B)
    ]
    for name, term in expected.items():
        torch.testing.assert_close(moved[name].values, term.values[order])
        torch.testing.assert_close(torch.cat([part[name].values for part in parts]), term.values)
        torch.testing.assert_close(torch.cat([part[name].counts for part in parts]), term.counts)


def test_recall_and_precision(texts) -> None:
    ids, mask, gaps, sampled = texts
    corrupted = corrupt(ids, gaps, sampled)
    wrong = replaced(ids, corrupted)
    assert wrong.int().tolist() == [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]]
    found = torch.full((B, T), -1.0)
    found[0, 0] = found[0, 1] = found[2, 4] = 1.0  # a hit, a false alarm, and one on padding
    stats = detection_loss(found, ids, corrupted, mask).stats
    assert stats["recall"].tolist() == [1.0, 0.0, 1.0]
    assert stats["precision"].tolist() == [0.5, 1.0, 1.0]


def test_gaps_are_where_they_may_be() -> None:
    draws = torch.rand(200, 40, generator=torch.Generator().manual_seed(0))
    candidates = torch.arange(40) < torch.arange(200)[:, None] % 40
    gaps = choose_gaps(draws, candidates, 0.15)
    assert not gaps[~candidates].any()
    assert (gaps.any(1) == candidates.any(1)).all()
    assert float(gaps.sum() / candidates.sum()) == pytest.approx(0.15, abs=0.02)
    with pytest.raises(CounterpointError, match="mask_rate"):
        choose_gaps(draws, candidates, 0.0)


def test_samples_follow_the_distribution() -> None:
    logits = torch.tensor([1.0, 0.0, -2.0, -1e4])
    draws = torch.rand(20_000, generator=torch.Generator().manual_seed(0))
    found = sample_tokens(logits.expand(20_000, 4), draws).bincount(minlength=4) / 20_000
    torch.testing.assert_close(found, torch.softmax(logits, 0), atol=0.01, rtol=0)
    hidden, weight = draw(6, 3), draw(V, 3, seed=1)
    uniform = torch.rand(6)
    assert torch.equal(
        sample_tokens(Head(hidden, weight), uniform), sample_tokens(hidden @ weight.T, uniform)
    )
    edges = sample_tokens(torch.zeros(2, V), torch.tensor([0.0, 1.0 - 1e-7]))
    assert edges.tolist() == [0, V - 1]


def test_the_symmetric_form_is_a_symmetric_kl_in_its_gradient() -> None:
    one, other = draw(B, C).requires_grad_(), draw(B, C, seed=1).requires_grad_()
    values = symmetric_cross_entropy(one, other)
    for b in range(B):
        p, q = torch.softmax(one[b], 0), torch.softmax(other[b], 0)
        loop = -sum(q[c] * p[c].log() + p[c] * q[c].log() for c in range(C))
        torch.testing.assert_close(values[b], loop)
    values.sum().backward()
    gap = (torch.softmax(one, 1) - torch.softmax(other, 1)).detach()
    torch.testing.assert_close(one.grad, gap)  # d CE(q, p) / d logits of p, the weights held
    torch.testing.assert_close(other.grad, -gap)
    torch.testing.assert_close(symmetric_cross_entropy(other, one), values)


@pytest.mark.parametrize("kind", ["symmetric-kl", "kl", "mse"])
def test_the_climb_goes_up_and_touches_no_weight(kind) -> None:
    weight = draw(C, 6).requires_grad_()
    states, clean = draw(B, T, 6, seed=2), draw(B, C, seed=3)

    def answer(noise: Tensor) -> Tensor:
        return (normalised(states) + noise).mean(1) @ weight.T

    start = first_noise(draw(B, T, 6, seed=4))
    moved = worst_noise(answer, start, clean, step=1e-3, kind=kind)
    assert weight.grad is None
    assert not moved.requires_grad
    assert (departure(answer(moved), clean, kind) > departure(answer(start), clean, kind)).all()
    largest = (moved - start).abs().amax(-1)
    torch.testing.assert_close(largest, torch.full_like(largest, 1e-3), rtol=1e-2, atol=0)
    halves = torch.cat(
        [
            worst_noise(
                lambda d, i=i: (normalised(states[i : i + 1]) + d).mean(1) @ weight.T,
                start[i : i + 1],
                clean[i : i + 1],
                step=1e-3,
                kind=kind,
            )
            for i in range(B)
        ]
    )
    torch.testing.assert_close(moved, halves)  # the size of the batch does not matter


def test_a_flat_answer_moves_nothing() -> None:
    start = first_noise(draw(1, T, 6))
    assert torch.equal(
        worst_noise(lambda d: 0 * d.sum((1, 2))[:, None].expand(1, C), start, draw(1, C)), start
    )
    assert torch.equal(climb(start, torch.zeros_like(start)), start)


def test_normalised_and_its_gradient() -> None:
    rows = draw(2, T, 6)
    out = normalised(rows)
    expected = (rows - rows.mean(-1, keepdim=True)) / (
        rows.var(-1, unbiased=False, keepdim=True) + 1e-7
    ).sqrt()
    torch.testing.assert_close(out, expected)
    assert torch.autograd.gradcheck(normalised, (rows.requires_grad_(),))
    assert normalised(torch.zeros(1, 4)).tolist() == [[0.0] * 4]
    assert normalised(rows.detach().bfloat16()).dtype == torch.float32


def test_pseudo_labels_count_alone() -> None:
    logits, train = draw(6, C).mul(3).requires_grad_(), draw(6, C, seed=1).requires_grad_()
    wanted = torch.arange(6) % C
    labels, selected = pseudo_labels(logits, 0.8)
    confidence = torch.softmax(logits, 1)
    chosen = [i for i in range(6) if float(confidence[i].detach().max()) >= 0.8]
    assert selected.nonzero().flatten().tolist() == chosen
    assert 0 < len(chosen) < 6
    term = pseudo_label_loss(logits, labels, selected, 0.5)
    expected = sum(-torch.log_softmax(logits[i], 0)[labels[i]] for i in chosen) / len(chosen)
    torch.testing.assert_close(term.mean(), expected)
    loss = total({"label": cross_entropy(train, wanted, reduction="none"), "own": term})
    torch.testing.assert_close(loss, cross_entropy(train, wanted) + 0.5 * expected)
    loss.backward()
    assert (logits.grad[~selected] == 0).all()
    one_hot = torch.nn.functional.one_hot(labels, C)
    by_hand = 0.5 * (torch.softmax(logits, 1) - one_hot).detach()[selected] / len(chosen)
    torch.testing.assert_close(logits.grad[selected], by_hand)


def test_no_confident_prediction_is_no_loss() -> None:
    logits = torch.zeros(2, C, requires_grad=True)
    term = pseudo_label_loss(logits, *pseudo_labels(logits, 0.9))
    term.mean().backward()
    assert float(term.mean()) == 0
    assert (logits.grad == 0).all()


def test_repair_in_all_three_ways() -> None:
    p = torch.tensor([[0.92, 0.05, 0.03], [0.6, 0.35, 0.05], [0.6, 0.35, 0.05], [0.1, 0.85, 0.05]])
    found = repair(p, torch.tensor([2, 2, 1, 0]), low=0.1, high=0.9)
    assert found.action.tolist() == [
        1,
        2,
        0,
        0,
    ]  # relabel, drop, keep, keep: exactly at the threshold is not below it
    assert found.labels.tolist() == [0, 2, 1, 0]
    soft = blended(p, torch.tensor([2, 2, 1, 0]), 0.3)
    torch.testing.assert_close(soft.sum(1), torch.ones(4))
    assert soft[0].tolist() == pytest.approx([0.276, 0.015, 0.709])


@pytest.mark.parametrize("size", [1e4, -1e4, 0.0])
def test_extremes(texts, size) -> None:
    generator, found = (
        (size * draw(B, T, V).float()).requires_grad_(),
        (size * draw(B, T).float()).requires_grad_(),
    )
    one, other = (
        (size * draw(1, C).float()).requires_grad_(),
        (size * draw(1, C, seed=1).float()).requires_grad_(),
    )
    loss = total(both(generator, found, texts)) + symmetric_cross_entropy(one, other).sum()
    loss.backward()
    for x in (loss, generator.grad, found.grad, one.grad, other.grad):
        assert torch.isfinite(x).all()
    none = total(both(generator[:1], found[:1], tuple(torch.zeros_like(x[:1]) for x in texts)))
    assert float(none) == 0


def test_wrong_input_teaches() -> None:
    with pytest.raises(CounterpointError, match="did you mean 'mse'"):
        departure(draw(B, C), draw(B, C), "msee")  # type: ignore[arg-type]
    with pytest.raises(CounterpointError, match="threshold"):
        pseudo_labels(draw(B, C), 90)
    with pytest.raises(CounterpointError, match=r"expected \[N, C\] and \[N\]"):
        repair(draw(B, C), torch.zeros(B + 1, dtype=torch.long))
    with pytest.raises(CounterpointError, match="mix"):
        blended(draw(B, C), torch.zeros(B, dtype=torch.long), 3)
    with pytest.raises(CounterpointError, match="the heads divide"):
        configuration(10, width=10, heads=3)


@pytest.mark.parametrize("kinds", [(True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize("shared", [False, True])
def test_disentangled_attention_against_loops(kinds, shared) -> None:
    width, heads, reach = 8, 2, 2
    size = width // heads
    config = configuration(
        V, width=width, heads=heads, reach=reach, dropout=0.0,
        content_to_position=kinds[0], position_to_content=kinds[1], share_projections=shared,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = attention(config).double().eval()
    x, table, valid = draw(1, T, width), draw(2 * reach, width, seed=1), torch.tensor([1, 1, 1, 1, 0])
    out, probabilities = layer(
        x, (valid[None] * valid[:, None])[None, None], output_attentions=True, rel_embeddings=table
    )
    position = {"pos_key_proj": "key_proj", "pos_query_proj": "query_proj"} if shared else {}

    def project(name: str, rows: Tensor) -> Tensor:
        return getattr(layer, position.get(name, name))(rows).unflatten(-1, (heads, size))

    q, k, v = (project(f"{n}_proj", x[0]) for n in ("query", "key", "value"))
    for h in range(heads):
        for i in range(T):
            scores = []
            for j in range(T):
                if not (valid[i] and valid[j]):
                    scores.append(torch.tensor(torch.finfo(torch.float64).min, dtype=torch.float64))
                    continue
                apart = min(max(i - j + reach, 0), 2 * reach - 1)
                score = q[i, h] @ k[j, h]
                if kinds[0]:
                    score = score + q[i, h] @ project("pos_key_proj", table)[apart, h]
                if kinds[1]:
                    score = score + k[j, h] @ project("pos_query_proj", table)[apart, h]
                scores.append(score / math.sqrt((1 + sum(kinds)) * size))
            p = torch.softmax(torch.stack(scores), 0)
            torch.testing.assert_close(probabilities[0, h, i], p, rtol=1e-6, atol=1e-9)
            torch.testing.assert_close(
                out[0, i, h * size : (h + 1) * size], p @ v[:, h], rtol=1e-6, atol=1e-7
            )


def test_padding_does_not_reach_the_encoders_states() -> None:
    encoder = disentangled_encoder(configuration(V, width=8, heads=2, reach=3), seed=0).eval()
    ids, mask = torch.randint(1, V, (B, T)), torch.ones(B, T, dtype=torch.long)
    states = encoder(ids, mask).last_hidden_state
    wider = encoder(
        torch.nn.functional.pad(ids, (0, 4), value=3), torch.nn.functional.pad(mask, (0, 4))
    ).last_hidden_state
    torch.testing.assert_close(wider[:, :T], states)
