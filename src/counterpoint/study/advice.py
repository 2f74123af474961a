"""Which methods to try on given data, and the command that settles it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from counterpoint.methods import catalog
from counterpoint.study.recommend import Facts, Suggestion


@dataclass(frozen=True)
class Recommendation:
    """What ``recommend`` found: facts of the data, methods that fit, doubts, and the command that settles it."""

    facts: Facts
    suggestions: list[Suggestion]
    cautions: list[str]
    command: str


def recommend(
    data: str, *, kind: str | None = None, data_options: Mapping[str, Any] | None = None
) -> Recommendation:
    """Suggest methods for data by its kind and size. Rules of thumb: the last word has a comparison."""
    from counterpoint.study import recommend as rules
    from counterpoint.tasks import recognise
    from counterpoint.tasks.task import open_data, task

    kind = kind or recognise.kind_of(data)
    facts = rules.facts_of(kind, open_data(task(kind), data, data_options))
    ready = [key for key, row in catalog.rows().items() if row.ready]
    found = rules.suggestions(facts, ready)
    chosen = [s for s in found if s.ready][:3]
    keys = [s.key for s in chosen]
    model = next((f"--model {s.model} " for s in chosen if s.model), "")
    command = (
        f"counterpoint compare {' '.join(keys)} --data {data} {model}--seeds 5 --trials 8 --steps 500 --out comparison"
        if len(keys) > 1
        else f"counterpoint run {keys[0] if keys else 'KEY'} --data {data} {model}--steps 500 --out run"
    )
    return Recommendation(facts, found, rules.cautions(facts), command)
