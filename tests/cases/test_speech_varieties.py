"""The case of speech-varieties can be planned: settings are known, all sides are tuned alike, under one budget."""

from counterpoint import api
from counterpoint.cases.speech_varieties import LANGUAGES, OTHERS, SWAPPED


def test_the_case_is_fair():
    case, plan = api.reproduction("speech-varieties")
    entries = {entry.name: entry for entry in plan.entries}
    tuned = [name for name in entries if not name.startswith(("new speakers", "no speech"))]
    assert plan.seeds >= 5
    assert {str(entries[name].tune) for name in tuned} == {str(entries["cross-entropy"].tune)} != {"{}"}
    assert {str(entry.recipe.budget) for entry in entries.values()} == {str(case.budget)}
    assert all(not entries[name].tune for name in entries if name not in tuned)


def test_the_speakers_of_both_directions_are_all_and_differ():
    one, other = (set(options["held_out"].split("=")[1].split(",")) for options in (OTHERS, SWAPPED))
    assert not one & other
    assert one | other == {"carlo", "menardi", "allison", "jimenez", "june", "armelle"}
    assert LANGUAGES["classes"] == "it,es,fr"
