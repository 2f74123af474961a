"""Vectors of the primer's family: losses of scores, of pairs and triplets of rows, and of label matching."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from harness import Case, Checks, folder, load_cases, vector_tests
from torch import Tensor

from counterpoint.evaluation import geometry
from counterpoint.models.text.match_head import Matcher, mean_vectors
from counterpoint.objectives.contrast import infonce, margins, noise_contrast
from counterpoint.objectives.labels.label_match import label_match
from counterpoint.objectives.labels.supervised import supcon_out
from counterpoint.objectives.reduction import nonzero_mean

RTOL = 1e-9
ATOL = 1e-13


def _scores(case: Case, name: str) -> None:
    positive, negatives = case.tensor("s_pos", grad=True), case.tensor("s_neg", grad=True)
    noise = case.tensor("logq_pos"), case.tensor("logq_neg")
    losses = noise_contrast.scored_contrast(
        name, positive, negatives, log_noise=noise, temperature=case.number("temperature")
    )
    losses.mean().backward()
    case.expect(f"{name}/loss", losses.mean(), rtol=RTOL)
    case.expect(f"{name}/grad_s_pos", positive.grad, rtol=RTOL, atol=ATOL)
    case.expect(f"{name}/grad_s_neg", negatives.grad, rtol=RTOL, atol=ATOL)


def scores(case: Case) -> Checks:
    unknown = set(case.losses()) - set(noise_contrast.LOSSES)
    assert not unknown, unknown
    return {name: partial(_scores, case, name) for name in case.losses()}


def _pair_losses(case: Case) -> dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]]:
    tau, margin = case.number("temperature"), case.number("margin")
    same, labels = case.tensor("same"), case.tensor("labels")
    return {
        "ntxent": lambda a, b, n: infonce.nt_xent(a, b, temperature=tau),
        "inbatch_oneway": lambda a, b, n: infonce.info_nce(a, b, temperature=tau),
        "inbatch_symmetric": lambda a, b, n: infonce.symmetric_info_nce(a, b, temperature=tau),
        "pair_margin": lambda a, b, n: margins.pair_margin(a, b, same, margin),
        "triplet_l2": lambda a, b, n: margins.row_triplet(a, b, n, margin),
        "triplet_cos": lambda a, b, n: margins.row_triplet(a, b, n, margin, distance="cosine"),
        "n_pair": lambda a, b, n: infonce.info_nce(a, b, temperature=1.0, normalize=False),
        "supcon_out": lambda a, b, n: nonzero_mean(supcon_out(a, labels, temperature=tau)).mean(),
    }


def _pairs(case: Case, name: str) -> None:
    rows = {key: case.tensor(key, grad=True) for key in ("a", "b", "n")}
    loss = _pair_losses(case)[name](*rows.values()).mean()
    loss.backward()
    case.expect(f"{name}/loss", loss, rtol=RTOL)
    for key in case.keys(f"{name}/grad_"):
        case.expect(key, rows[key.rsplit("_", 1)[1]].grad, rtol=RTOL, atol=1e-12)


def _measured(case: Case, name: str) -> None:
    """What the evaluation measures and nothing trains on: its value, and the same by a formula that has a gradient."""
    rows = {key: case.tensor(key, grad=True) for key in ("a", "b")}
    u, v = (torch.nn.functional.normalize(each, dim=1) for each in rows.values())
    if name == "alignment":
        value, measured = (u - v).square().sum(1).mean(), geometry.alignment(*rows.values())
    else:
        value, measured = torch.pdist(u).square().mul(-2).exp().mean().log(), geometry.uniformity(rows["a"])
    value.backward()
    case.expect(f"{name}/loss", torch.tensor(measured, dtype=torch.float64), rtol=RTOL)
    for key in case.keys(f"{name}/grad_"):
        case.expect(key, rows[key.rsplit("_", 1)[1]].grad, rtol=RTOL, atol=1e-12)


def pairs(case: Case) -> Checks:
    measured = {"alignment", "uniformity"}
    unknown = set(case.losses()) - set(_pair_losses(case)) - measured
    assert not unknown, unknown
    return {name: partial(_measured if name in measured else _pairs, case, name) for name in case.losses()}


def _cless(case: Case) -> None:
    words, texts = case.tensor("word_emb", grad=True), case.tensor("text_emb", grad=True)
    ids, lengths = case.tensor("label_word_ids"), case.tensor("label_lengths")
    first = case.tensor("W1")
    matcher = Matcher(texts.shape[1], words.shape[1], hidden=len(first), interact=False).double()
    with torch.no_grad():
        matcher.inner.weight.copy_(first)
        matcher.inner.bias.copy_(case.tensor("b1"))
        matcher.outer.weight.copy_(case.tensor("w2")[None])
        matcher.outer.bias.copy_(case.tensor("b2"))
    labels = mean_vectors(words[ids], torch.arange(ids.shape[2]) < lengths[..., None])
    loss = label_match(matcher(texts[:, None], labels), case.tensor("targets"), case.tensor("valid")).mean()
    loss.backward()
    case.expect("cless_bce/loss", loss, rtol=RTOL)
    case.expect("cless_bce/grad_text_emb", texts.grad, rtol=RTOL, atol=ATOL)
    case.expect("cless_bce/grad_word_emb", words.grad, rtol=RTOL, atol=ATOL)
    case.expect("cless_bce/grad_W1", matcher.inner.weight.grad, rtol=RTOL, atol=ATOL)
    case.expect("cless_bce/grad_w2", matcher.outer.weight.grad[0], rtol=RTOL, atol=ATOL)


def cless(case: Case) -> Checks:
    return {"cless_bce": partial(_cless, case)}


test_primer = vector_tests(
    {
        "contrastive-primer_scores": scores,
        "contrastive-primer_pairs": pairs,
        "contrastive-primer_cless": cless,
    }
)


@pytest.mark.parametrize(
    "path", sorted(folder().glob("contrastive-primer_scores*.npz")), ids=lambda p: p.stem
)
def test_single_precision(path):
    for case in load_cases(path):
        for name in case.losses():
            s, n = (case.tensor(key, dtype=torch.float32).requires_grad_() for key in ("s_pos", "s_neg"))
            noise = tuple(case.tensor(key, dtype=torch.float32) for key in ("logq_pos", "logq_neg"))
            loss = noise_contrast.scored_contrast(
                name, s, n, log_noise=noise, temperature=case.number("temperature")
            ).mean()
            loss.backward()
            case.expect(f"{name}/loss", loss, rtol=2e-5, atol=1e-6)
            case.expect(f"{name}/grad_s_pos", s.grad, rtol=2e-5, atol=1e-6)
            case.expect(f"{name}/grad_s_neg", n.grad, rtol=2e-5, atol=1e-6)
