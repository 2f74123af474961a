"""The case of Vega: both sides of every claim are tuned alike and see the same data, and the figures are what they say."""

import math

import pytest
import torch

from counterpoint import api
from counterpoint.cases import vega
from counterpoint.data.text.load import build
from counterpoint.data.text.rows import Row
from counterpoint.models.text.encoder import TextClassifier, with_linear_head
from counterpoint.models.text.words import WordEncoder
from counterpoint.study.case import OF_SEED
from counterpoint.training.report import Report


def test_the_case_is_fair() -> None:
    case, plan = api.reproduction("vega")
    entries = {entry.name: entry for entry in plan.entries}
    assert plan.seeds >= 7
    assert plan.trials == max(math.prod(len(given) for given in e.tune.values()) for e in plan.entries)
    for claim in case.claims:
        one, other = (entries[name] for name in claim.contrast)
        assert one.recipe.data_options == other.recipe.data_options
        assert one.recipe.model == other.recipe.model
        if "texts: as published" not in claim.contrast:
            choices = [math.prod(len(given) for given in entry.tune.values()) for entry in (one, other)]
            assert choices[0] == choices[1] >= 2
        for entry in (one, other):
            assert entry.recipe.data_options["seed"] == OF_SEED
    for name, entry in entries.items():
        if entry.recipe.key == "vega" and not name.startswith("texts"):
            on = [
                s
                for s in (
                    "pretraining.replaced_tokens",
                    "pretraining.sentence_contrast",
                    "calibration.on",
                    "adversarial.on",
                    "transduction.on",
                )
                if entry.recipe.settings[s]
            ]
            assert len(on) == 1, name


def test_figures_of_hidden_labels() -> None:
    rows = [
        Row(f"{'tea' if i % 2 else 'sea'} {i}", ("tea" if i % 2 else "sea",), None, f"row {i}")
        for i in range(60)
    ]
    data = build(rows, False, "made", labelled=10)

    class Reader(torch.nn.Module):
        classes, multi_label = data.classes, False

        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(1, 1)

        def forward(self, sentences, encoder=None):
            place = data.classes.index("tea")
            return (
                torch.nn.functional.one_hot((sentences[:, 0] > 0).long() * (2 * place - 1) + 1 - place, 2)
                * 9.0
            )

    encoder = WordEncoder(["tea", "sea"], dropout=0.0)
    plain = with_linear_head(encoder, data.classes, False, 0)
    found = vega.measure(plain, data, "test", 0, Report())
    assert 0 <= found["asked_accuracy"] <= 1
    assert math.isnan(found["retrieval"])
    with torch.no_grad():  # a classifier that reads the word
        encoder.table.weight.zero_()
        encoder.table.weight[3, 0], encoder.table.weight[4, 0] = 1.0, -1.0
    encoder.body = torch.nn.Sequential(torch.nn.Identity())
    right = vega.measure(TextClassifier(encoder, Reader()), data, "test", 0, Report())
    assert right["asked_accuracy"] == 1.0
    assert right["asked_less_unseen"] == pytest.approx(0.0)
    assert right["calibration_error"] < 0.01
    bare = vega.measure(encoder, data, "test", 0, Report())
    assert math.isnan(bare["asked_accuracy"])
    assert not math.isnan(bare["retrieval"])
