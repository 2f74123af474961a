"""The cases of isogclr, sla and supremix can be planned: settings are known, both sides are tuned alike, data can be had."""

import pytest
import torch

from counterpoint import api
from counterpoint.cases import isogclr
from counterpoint.models.images.projector import Projected
from counterpoint.tasks.images import TASK
from counterpoint.training.report import Report


@pytest.mark.parametrize(
    ("key", "tuned", "one_budget"),
    [
        ("isogclr", ["simclr", "sogclr"], ["simclr", "sogclr", "isogclr"]),
        (
            "sla",
            ["baseline", "augmented", "multi-task", "sla", "sla+sd"],
            ["baseline", "augmented", "sla", "sla+sd"],
        ),
        ("supremix", ["supcon", "supcon, weighted", "supremix"], ["regression", "supcon", "supremix"]),
    ],
)
def test_the_case_is_fair(key, tuned, one_budget):
    case, plan = api.reproduction(key)
    entries = {entry.name: entry for entry in plan.entries}
    assert plan.seeds >= 5
    assert {str(entries[name].tune) for name in tuned} == {str(entries[tuned[0]].tune)} != {"{}"}
    assert {str(entries[name].recipe.budget) for name in one_budget} == {str(case.budget)}


def test_the_gap_of_temperatures_is_head_less_tail():
    data = TASK.load_data("mnist5k", **isogclr.order(2))
    sizes = torch.bincount(data.train.labels)
    assert int(sizes.max()) == 375
    model, report = Projected(torch.nn.Identity(), torch.nn.Identity()), Report()
    assert isogclr.measure(model, data, "test", 0, report) == {"head_less_tail": 0.0}
    tau = {
        label: 0.5 if size >= 125 else 0.3 if size > 31 else 0.1 for label, size in enumerate(sizes.tolist())
    }
    labels = data.train.labels.tolist()
    report.add(temperatures={"label": labels, "temperature": [tau[label] for label in labels]})
    assert isogclr.measure(model, data, "test", 0, report)["head_less_tail"] == pytest.approx(0.4)
