"""The image cases can be planned: settings are known, both sides are tuned alike, same-settings arms differ in one thing."""

import pytest

from counterpoint import api

PAIRS = {
    "dcl": [("simclr-8-tuned", "dcl-8-tuned"), ("simclr-128-tuned", "dcl-128-tuned")],
    "multiview": [("pairwise-4-tuned", "dhel-4-tuned")],
}
SAME = {
    "dcl": [("simclr-8", "dcl-8"), ("simclr-128", "dcl-128")],
    "multiview": [("pairwise-2", "dhel-2"), ("pairwise-4", "dhel-4"), ("polyview-4", "dhel-4")],
}


@pytest.mark.parametrize("key", PAIRS)
def test_the_case_is_fair(key):
    case, plan = api.reproduction(key)
    entries = {entry.name: entry for entry in plan.entries}
    assert plan.seeds >= 5
    for one, other in PAIRS[key]:
        assert entries[one].tune == entries[other].tune != {}
    for one, other in PAIRS[key] + SAME[key]:
        first, second = (entries[name].recipe for name in (one, other))
        assert first.budget == second.budget
        given = [dict(case.arm(name).settings) for name in (one, other)]
        for settings in given:
            settings.pop("loss", None)
        assert given[0] == given[1]
