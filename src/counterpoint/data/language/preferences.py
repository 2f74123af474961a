"""Preferences: a prompt with a better and a worse answer, or with one answer marked good or bad. TRL's formats in.

Understood rows, text or messages:

* ``prompt``, ``chosen``, ``rejected``;
* ``chosen``, ``rejected`` that both begin with the prompt (implicit prompt);
* ``prompt``, ``completion``, ``label`` (unpaired);
* ``prompt``, ``completions`` and perhaps ``scores`` (a ranking, from which pairs are made).

A pair may have a ``margin``, how much better the chosen answer is, and may be a ``tie``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from counterpoint.conversation import stored, text_of
from counterpoint.data import row_numbers
from counterpoint.data.language import prompted
from counterpoint.data.language.described import described
from counterpoint.data.language.preference_rows import Preference, parse
from counterpoint.data.language.rankings import Pairs, Ranking, parse_ranking
from counterpoint.data.language.reading import AS_IT_COMES, Format, Reading, TooLong
from counterpoint.data.language.stored_rows import Look, StoredRows, hashed
from counterpoint.data.tables import Rows
from counterpoint.errors import CounterpointError, counted

__all__ = ["Preference", "PreferenceData", "Preferences", "load"]


class Preferences(prompted.PromptedRows[Preference]):
    """One split: rows by index, by slice, or by an index tensor (then a list).

    >>> split = Preferences([Preference("1+1=", "2", "3")])
    >>> len(split), split.paired, split[0].chosen
    (1, True, '2')
    """

    @property
    def paired(self) -> bool:
        """Whether every row has both answers."""
        return bool(LOOK.of(self.rows)["paired"].all())


@dataclass(frozen=True)
class PreferenceData:
    """Three splits of preferences and what was noticed while reading them."""

    name: str
    train: Preferences
    validation: Preferences
    test: Preferences
    notes: tuple[str, ...] = ()
    reading: Reading = AS_IT_COMES

    @property
    def paired(self) -> bool:
        """Whether every row of every split has both answers."""
        return self.train.paired and self.validation.paired and self.test.paired

    def describe(self) -> list[str]:
        """What was understood, one line each."""
        lines = [
            f"{self.name}: preferences, {'pairs' if self.paired else 'single answers marked good or bad'}"
        ]
        for name in ("train", "validation", "test"):
            rows = getattr(self, name).rows
            if not rows:
                continue
            facts = LOOK.of(rows)
            better, worse = (
                row_numbers.own_sorted(side[side > 0]) for side in (facts["chosen"], facts["rejected"])
            )
            talk, margins, ties = (int(facts[what].sum()) for what in ("talk", "margin", "tie"))
            middle = lambda lengths: lengths[len(lengths) // 2] if len(lengths) else 0  # noqa: E731
            lines.append(
                f"{name}: {len(rows)} rows ({talk} conversations), median characters: chosen {middle(better)}, rejected {middle(worse)}"
                + (f"; {margins} with a margin" if margins else "")
                + (f"; {ties} ties" if ties else "")
                + ("; they stay on disk" if isinstance(rows, StoredRows) else "")
            )
            longer = int((facts["paired"] & (facts["chosen"] > facts["rejected"])).sum())
            if rows and longer > 0.8 * len(rows):
                lines.append(
                    f"{name}: the chosen answer is the longer one in {longer / len(rows):.0%} of rows, so length alone "
                    "nearly decides; compare with a length-normalised loss (simpo, ipo, sigmoid_norm)"
                )
        return [*lines, *self.notes]

    def fingerprint(self) -> str:
        """Sha256 of every row and its split; of rows on disk, of their files and which they are."""
        digest = hashlib.sha256(b"preferences")
        for name in ("train", "validation", "test"):
            rows = getattr(self, name).rows
            if isinstance(rows, StoredRows):
                digest.update(f"{name} {rows.digest()}".encode())
                continue
            for row in rows:
                graded = [row.margin, row.tie] if row.margin is not None or row.tie else []
                whole = [name, stored(row.prompt), row.chosen, row.rejected, *graded]
                digest.update(json.dumps(whole, sort_keys=True).encode())
        return digest.hexdigest()


def load(
    spec: str | Path,
    *,
    prompt: str | None = None,
    chosen: str | None = None,
    rejected: str | None = None,
    validation: float = 0.1,
    test: float = 0.1,
    max_characters: int | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    format: Format = "auto",
    template: str = "",
    max_length: int | None = None,
    too_long: TooLong = "drop",
    pairs: Pairs = "all",
    ties: Literal["drop", "keep"] = "drop",
    rows: Rows = "auto",
) -> PreferenceData:
    """Load preferences.

    Args:
        spec: a JSONL, JSON, CSV, TSV or parquet file, a folder with train, validation and test files, a folder saved by the
            datasets library, "described-things" (made from a seed), or "paired:PROBLEMS" for any spec of problems with references: the chosen answer is the
            problem's own reference, the rejected one another problem's.
        prompt, chosen, rejected: columns, when they do not carry these names.
        validation, test: shares of a single file (by a hash of the prompt, so that rows of a prompt stay together).
        max_characters: leave out longer rows, and say how many; None keeps all.
        delimiter: between the cells of CSV and TSV (comma, tab, semicolon, ...), where it is not found by itself.
        encoding: of text files, such as cp1252, where they are neither UTF-8 nor begin with a byte-order mark.
        format: how a prompt that is text is read: "chat" as a turn of the user, "text" as it stands, "auto" as a turn where the
            model has a chat template that the text does not carry already.
        template: chat template for a model without one: "chatml", "roles" or a .jinja file.
        max_length: longest row in tokens, prompt and longer answer together; without it, what the model's positions hold.
        too_long: whether longer rows are left out ("drop") or cut at their end ("truncate").
        pairs: made of a row of several completions: "all" two of them, "adjacent" in the ranking, the "best" against each other,
            the "extremes" alone.
        ties: pairs whose answers are equally good (``tie``, or equal scores) are left out ("drop"), or left in train ("keep")
            for a method that learns from them (``dpo`` with ``graded.ties``).
        rows: where rows are held: all in "memory", or on "disk", each read when it is needed (JSON lines in UTF-8, Parquet and
            folders of the datasets library; pairs, no rankings); "auto" leaves them on disk from half a gigabyte on.

    Raises:
        CounterpointError: nothing there, a missing column, an empty answer, an empty split, equal answers everywhere.
    """
    reading = Reading(format, template, max_length, too_long)
    if str(spec).startswith("paired:"):
        made = _from_problems(str(spec).removeprefix("paired:"))
        return _finish(str(spec), made, [], max_characters, reading)
    if str(spec).split("?")[0] == "described-things":
        return _finish(str(spec), described(str(spec)), [], max_characters, reading)
    path = Path(spec)
    columns = {"prompt": prompt, "chosen": chosen, "rejected": rejected}

    def understood(row: dict[str, Any], file: Path, at: int) -> Preference | Ranking:
        return (parse_ranking if "completions" in row else parse)(row, columns, file, at)

    held = prompted.Held(rows, Look(_look_at_pair, LOOK.kind), f"preferences {columns}")
    read, notes = prompted.read(path, understood, validation, test, delimiter, encoding, held)
    parts = {split: _paired(part, pairs, ties, split, notes) for split, part in read.items()}
    return _finish(path.name, parts, notes, max_characters, reading)


def _look(row: Preference) -> tuple[Any, ...]:
    key, chosen, rejected = row.key(), text_of(row.chosen), text_of(row.rejected)
    one, other = (hashed("\0".join((key, *answers))) for answers in ((chosen, rejected), (rejected, chosen)))
    lengths = len(key), len(chosen), len(rejected)
    talk, margin = not isinstance(row.prompt, str), row.margin is not None
    return hashed(key), one, other, *lengths, row.paired, talk, margin, row.tie, row.chosen == row.rejected


def _look_at_pair(row: Preference | Ranking) -> tuple[Any, ...]:
    if isinstance(row, Ranking):
        raise CounterpointError(
            "a row of several completions makes several pairs, which cannot stay on disk: read this file into memory with "
            "--data-option rows=memory, or write its pairs as rows of prompt, chosen and rejected"
        )
    return _look(row)


_FLAGS = ("paired", "talk", "margin", "tie", "same")
LOOK: Look[Preference] = Look(
    _look,
    np.dtype(
        [(name, "<u8") for name in ("key", "one", "other")]
        + [(name, "<i4") for name in ("prompt", "chosen", "rejected")]
        + [(name, "?") for name in _FLAGS]
    ),
)
"""Of each row: hashes of its prompt and of the pair in both directions, characters, and what it has."""


def _paired(
    rows: Sequence[Preference | Ranking], pairs: Pairs, ties: str, split: str, notes: list[str]
) -> Sequence[Preference]:
    """Rankings as pairs, and ties where they can be used: order is measured on the other splits, and a tie has none."""
    made: Sequence[Preference]
    if isinstance(rows, StoredRows):
        made = rows
    else:
        made = [pair for row in rows for pair in (row.pairs(pairs) if isinstance(row, Ranking) else [row])]
        rankings = sum(isinstance(row, Ranking) for row in rows)
        if rankings:
            notes.append(
                f"{split}: {counted(len(made), 'pair was', 'pairs were')} made of {counted(rankings, 'ranking')} (pairs={pairs})"
            )
    if ties == "keep" and split == "train":
        return made
    left = prompted.picked(made, row_numbers.positions(~LOOK.of(made)["tie"]))
    if len(left) < len(made):
        use = (
            ""
            if split != "train"
            else "; --data-option ties=keep keeps them for a method that learns from them"
        )
        notes.append(f"{split}: left out {counted(len(made) - len(left), 'tie')}{use}")
    return left


def _from_problems(spec: str) -> dict[str, list[Preference]]:
    from counterpoint.data.language import problems

    loaded = problems.load(spec)
    parts: dict[str, list[Preference]] = {}
    for name in ("train", "validation", "test"):
        rows = [row for row in getattr(loaded, name) if row.reference]
        parts[name] = []
        for at, row in enumerate(rows):
            others = (rows[(at + step) % len(rows)].reference for step in range(1, len(rows)))
            wrong = next((text for text in others if text != row.reference), None)
            if wrong is not None:
                parts[name].append(Preference(row.prompt, row.reference, wrong))
    if not parts["train"]:
        raise CounterpointError(
            f"paired:{spec}: its problems have no two different references to set against one another"
        )
    return parts


def _finish(
    name: str,
    parts: Mapping[str, Sequence[Preference]],
    notes: list[str],
    max_characters: int | None,
    reading: Reading,
) -> PreferenceData:
    left: dict[str, Sequence[Preference]] = {}
    for split, rows in parts.items():
        if reading.format != "auto":

            def read(row: Preference, at: int, split: str = split) -> Preference:
                where = row.origin or f"{name}, {split}, row {at}"
                return replace(row, prompt=reading.prompt(row.prompt, where))

            rows = prompted.changed(rows, f"format={reading.format}", read, LOOK)
        different = prompted.picked(rows, row_numbers.positions(~LOOK.of(rows)["same"]))
        if len(different) < len(rows):
            notes.append(
                f"{split}: left out {counted(len(rows) - len(different), 'row')} whose two answers are the same"
            )
        if max_characters is not None:
            sizes = LOOK.of(different)
            size = sizes["prompt"] + np.maximum(sizes["chosen"], sizes["rejected"])
            different = prompted.short_ones(different, size, max_characters, split, notes)
        left[split] = different
    if not left["train"]:
        raise CounterpointError(
            f"{name}: no training row with two different answers is left; check the columns, or raise max_characters"
        )
    facts = {split: LOOK.of(rows) for split, rows in left.items()}
    paired = facts["train"]["paired"]
    against = (
        row_numbers.contained(
            facts["train"]["one"][paired], row_numbers.own_sorted(facts["train"]["other"][paired])
        )
        // 2
    )
    if against:
        notes.append(
            f"train: {counted(against, 'pair occurs', 'pairs occur')} in both directions, so their labels contradict one another (see cdpo, robust)"
        )
    keys = {split: each["key"] for split, each in facts.items()}
    keys["train"] = row_numbers.own_sorted(keys["train"])
    notes += prompted.overlaps(keys)
    splits = {split: Preferences(left.get(split, [])) for split in ("train", "validation", "test")}
    if len(np.unique(np.concatenate([each["paired"] for each in facts.values()]))) > 1:
        raise CounterpointError(
            f"{name} mixes pairs (chosen, rejected) with single answers (completion, label); keep one form"
        )
    return PreferenceData(name=name, notes=tuple(notes), reading=reading, **splits)


load_preferences = load
"""The package's public name of ``load``."""
