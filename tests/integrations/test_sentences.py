"""Losses with sentence-transformers' interface: columns of features in, a scalar out, equal to the objective on the embeddings."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from counterpoint.errors import CounterpointError
from counterpoint.integrations import SentenceLoss
from counterpoint.integrations.catalog import FORMS, OBJECTIVES
from counterpoint.integrations.modules import objective
from counterpoint.objectives.contrast.infonce import info_nce
from counterpoint.objectives.in_batch import unit
from objective_inputs import LABELS, SETTINGS, VALUES, D, N, rows

HELD: dict[str, dict[str, Any]] = {
    "proxies": {"num_classes": 3, "dimension": D},
    "remembered": {"num_rows": N, "temperature": 0.3},
}
THROUGH = [name for name, (_, form) in OBJECTIVES.items() if FORMS[form].columns]


class Embedder(nn.Module):
    """As a SentenceTransformer: features in, the same with "sentence_embedding" out."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(D, D, bias=False, dtype=torch.float64)

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {**features, "sentence_embedding": self.layer(features["x"])}


def batch(form: str) -> tuple[list[Tensor], Tensor | None]:
    count = {
        "labelled": 1,
        "valued": 1,
        "proxies": 1,
        "triplet": 3,
        "scores": 4,
        "candidates": 4,
        "views": 3,
    }.get(form, 2)
    labels = {
        "labelled": LABELS, "proxies": LABELS, "valued": VALUES, "same": torch.tensor([1, 0, 1, 0, 1, 0]),
        "candidates": rows(9, N, 3).detach(), "remembered": torch.arange(N), "graded": VALUES,
    }.get(form)  # fmt: skip
    return [rows(seed).detach() for seed in range(count)], labels


@pytest.mark.parametrize("name", THROUGH)
def test_a_loss_is_its_objective_on_embeddings(name: str) -> None:
    form = OBJECTIVES[name][1]
    settings = {**SETTINGS.get(name, {}), **HELD.get(form, {})}
    columns, labels = batch(form)
    torch.manual_seed(0)
    model = Embedder()
    loss = SentenceLoss(model, name, **settings).double()
    value = loss([{"x": column} for column in columns], labels)
    z = [model.layer(column) for column in columns]
    torch.manual_seed(0)
    Embedder()  # the same random numbers as far as the proxies
    ours = objective(name, **settings).double()
    if form == "views":
        expected = ours(torch.stack(z))
    elif form == "samples":
        expected = ours(torch.stack(z, 1))
    elif form == "scores":
        near = [(unit(z[0]) * unit(other)).sum(-1) for other in z[1:]]
        expected = ours(near[0], torch.stack(near[1:], 1))
    elif form == "candidates":
        expected = ours(torch.stack([(unit(z[0]) * unit(other)).sum(-1) for other in z[1:]], 1), labels)
    else:
        expected = ours(*z, *([] if labels is None else [labels]))
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
    mine, theirs = (
        torch.autograd.grad(each, model.layer.weight, retain_graph=True)[0] for each in (value, expected)
    )
    torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)
    assert bool(mine.any())
    assert set(dict(loss.named_parameters())) >= {"model.layer.weight"}


def test_hard_negatives_and_labelled_views() -> None:
    model, z = Embedder(), [rows(seed).detach() for seed in range(4)]
    loss = SentenceLoss(model, "info_nce", temperature=0.05)
    embedded = [model.layer(each) for each in z]
    expected = info_nce(embedded[0], torch.cat(embedded[1:]), temperature=0.05).mean()
    torch.testing.assert_close(loss([{"x": each} for each in z]), expected)
    views = SentenceLoss(model, "supcon_views", temperature=0.2)
    with_labels = views([{"x": each} for each in z[:2]], LABELS)
    torch.testing.assert_close(
        with_labels, objective("supcon_views", temperature=0.2)(torch.stack(embedded[:2], 1), LABELS)
    )
    assert float(with_labels.detach()) != float(views([{"x": each} for each in z[:2]]).detach())


@pytest.mark.parametrize(
    ("name", "columns", "labels", "message"),
    [
        ("decoupled", 3, None, "3 columns of text; expected anchor, positive"),
        ("supcon_out", 1, None, "no labels; expected text, label"),
        ("infonce", 2, None, "expected anchor, positive, negative"),
    ],
)
def test_columns_that_do_not_fit(name: str, columns: int, labels: None, message: str) -> None:
    with pytest.raises(CounterpointError, match=message):
        SentenceLoss(Embedder(), name)([{"x": rows(seed)} for seed in range(columns)], labels)


@pytest.mark.parametrize("name", [name for name in OBJECTIVES if name not in THROUGH])
def test_what_columns_of_text_cannot_give_is_refused_when_it_is_made(name: str) -> None:
    with pytest.raises(CounterpointError, match="is no loss of sentence-transformers: it (is of|needs)"):
        SentenceLoss(Embedder(), name)


def test_the_card_gets_plain_values() -> None:
    loss = SentenceLoss(Embedder(), "decoupled", temperature=0.05)
    assert loss.get_config_dict() == {"objective": "decoupled", "similarity": "cosine", "temperature": 0.05}
