"""What earlier comparisons foretell of methods on other data: the forest of AutoDistiller over records that this machine keeps.

Every finished ``compare`` and ``reproduce`` leaves what its data were like, its methods and what they reached in the cache's folder
``records`` (none with COUNTERPOINT_RECORDS=off; nothing leaves the machine). The package brings along the records of its own evidence.
The rules of ``study.recommend`` have the word unless, with each data set left out in turn, records chose better methods than they.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from counterpoint.errors import CounterpointError, counted
from counterpoint.study.files import read_json, write_json
from counterpoint.study.settings_search.auto_distiller import AutoDistiller
from counterpoint.study.settings_search.record import Record

log = logging.getLogger(__name__)
FIRST = "first_records.json"
"""The records of the evidence, in this package."""
SWITCH = "COUNTERPOINT_RECORDS"
FEWEST = 3
"""Data sets of a kind below which nothing is learnt."""


@dataclass(frozen=True)
class Learnt:
    """What records say of methods on data.

    Attributes:
        records: comparisons of this kind of data that stand behind it. sets: different data sets among them.
        foretold: method -> share of the best one's figure to expect, and its interval, the best first; empty where too few.
        error: mean error of such a share on data sets left out. gain: mean share that chosen methods reached more there than
            the rules' choice; None where it cannot be measured.
        speaks: whether it has the word over the rules.
    """

    records: int
    sets: int
    foretold: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    error: float | None = None
    gain: float | None = None

    @property
    def speaks(self) -> bool:
        """Whether records chose better than the rules on data left out."""
        return self.gain is not None and self.gain > 0

    def sentence(self) -> str:
        """Who has the word, and why."""
        behind = f"{counted(self.records, 'comparison')} on {counted(self.sets, 'data set')} of this kind"
        if self.gain is None:
            return f"records: {behind}, too few to learn from, so the rules have the word"
        measured = f"on data left out, their choice reached {self.gain:+.3f} of the best figure against the rules' (error {self.error:.3f})"
        return f"records: {behind}; {measured}, so {'the records have' if self.speaks else 'the rules have'} the word"


def outcome(summary: Mapping[str, Any], facts: Mapping[str, float]) -> Record | None:
    """A study's summary, or evidence, as a record: what each method reached at its best, on the data of most arms.

    None where fewer than two methods share their data, or figures are none that shares can be taken of.
    """
    primary = summary["primary"]
    if primary in summary["lower_is_better"]:
        return None
    by_data: dict[str, dict[str, float]] = {}
    for arm in summary["arms"].values():
        mean = arm["metrics"][primary]["mean"]
        if mean is None or not math.isfinite(mean) or mean <= 0:
            continue
        reached = by_data.setdefault(str(arm["data_fingerprint"]), {})
        reached[arm["key"]] = max(mean, reached.get(arm["key"], 0.0))
    if not by_data:
        return None
    reached = max(by_data.values(), key=len)
    if len(reached) < 2:
        return None
    return Record(
        method=summary["kind"],
        data=str(summary["data"]["spec"]),
        name=str(summary["data"]["spec"]),
        model="",
        metric=primary,
        reference=max(reached.values()),
        tried=[({"method": key}, value) for key, value in sorted(reached.items())],
        facts=dict(facts),
    )


def keep(summary: Mapping[str, Any], facts: Mapping[str, float]) -> Path | None:
    """Leave a finished study's record on this machine; None where that is switched off, it says nothing, or cannot be written."""
    record = outcome(summary, facts) if os.environ.get(SWITCH, "on") != "off" else None
    if record is None:
        return None
    import hashlib

    name = hashlib.sha256(json.dumps(record.as_dict(), sort_keys=True).encode()).hexdigest()[:16]
    path = store() / f"{name}.json"
    try:
        write_json(path, record.as_dict())
    except CounterpointError as error:  # the study is whole without it
        log.info("no record is left: %s", error)
        return None
    return path


def store() -> Path:
    """The folder of this machine's records."""
    from counterpoint.bundled.cache import root

    return Path(root()) / "records"


def stored(kind: str) -> list[Record]:
    """Records of a kind of data: the package's, and this machine's unless switched off. A damaged file is passed over."""
    first = json.loads(
        files("counterpoint.study.settings_search").joinpath(FIRST).read_text(encoding="utf-8")
    )
    contents = list(first)
    if os.environ.get(SWITCH, "on") != "off":
        for path in sorted(store().glob("*.json")):
            try:
                contents.append(read_json(path))
            except CounterpointError:
                continue
    records = []
    for content in contents:
        try:
            record = Record.from_dict(content)
        except (TypeError, KeyError, ValueError):
            continue
        if record.method == kind:
            records.append(record)
    return records


def learn(
    kind: str,
    facts: Mapping[str, float],
    keys: Iterable[str],
    rules: Callable[[Mapping[str, float]], Sequence[str]],
    records: Sequence[Record] | None = None,
) -> Learnt:
    """What records foretell of methods on data of these facts.

    Args:
        keys: methods that may be chosen. rules: facts -> methods as the rules rank them, the best first.
        records: None means those that are stored.
    """
    past = list(stored(kind) if records is None else records)
    sets = sorted({record.data for record in past})
    if len(sets) < FEWEST:
        return Learnt(len(past), len(sets))
    gains, errors = [], []
    for data in sets:
        model = AutoDistiller([record for record in past if record.data != data])
        for record in (record for record in past if record.data == data):
            truth = {str(s["method"]): record.ratio(v) for s, v in record.tried}
            foretold = model.foretell(record, [{"method": key} for key in truth])
            errors += [abs(each.ratio - truth[str(each.settings["method"])]) for each in foretold]
            choice = max(foretold, key=lambda each: each.ratio)
            ruled = next((key for key in rules(record.facts) if key in truth), None)
            if ruled is not None:
                gains.append(truth[str(choice.settings["method"])] - truth[ruled])
    seen = {str(s["method"]) for record in past for s, _ in record.tried}
    own = Record(kind, "", "", "", "", 1.0, (), facts=facts)
    best = AutoDistiller(past).recommend(own, [{"method": key} for key in keys if key in seen], len(seen))
    return Learnt(
        records=len(past),
        sets=len(sets),
        foretold={str(each.settings["method"]): (each.ratio, each.low, each.high) for each in best},
        error=sum(errors) / len(errors),
        gain=sum(gains) / len(gains) if gains else None,
    )


def main() -> None:
    """``python -m counterpoint.study.settings_search.learnt docs/evidence`` writes the package's first records from the evidence."""
    import sys

    records = []
    for path in sorted(Path(sys.argv[1]).glob("*.json")):
        evidence = read_json(path)
        rows = (evidence["data"].get("sizes") or {}).get("train")
        record = outcome(evidence, {} if rows is None else {"rows": float(rows)})
        if record is not None:
            records.append(record.as_dict())
    write_json(Path(__file__).with_name(FIRST), records)


if __name__ == "__main__":
    main()
