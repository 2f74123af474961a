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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from counterpoint.conversation import stored, text_of
from counterpoint.data.language import prompted
from counterpoint.data.language.described import described
from counterpoint.data.language.preference_rows import Preference, parse
from counterpoint.data.language.rankings import Pairs, Ranking, parse_ranking
from counterpoint.data.language.reading import AS_IT_COMES, Format, Reading, TooLong
from counterpoint.errors import CounterpointError

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
        return all(row.paired for row in self.rows)


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
            better = sorted(len(text_of(row.chosen)) for row in rows if row.chosen)
            worse = sorted(len(text_of(row.rejected)) for row in rows if row.rejected)
            talk = sum(not isinstance(row.prompt, str) for row in rows)
            margins, ties = sum(row.margin is not None for row in rows), sum(row.tie for row in rows)
            middle = lambda lengths: lengths[len(lengths) // 2] if lengths else 0  # noqa: E731
            lines.append(
                f"{name}: {len(rows)} rows ({talk} conversations), median characters: chosen {middle(better)}, rejected {middle(worse)}"
                + (f"; {margins} with a margin" if margins else "")
                + (f"; {ties} ties" if ties else "")
            )
            longer = sum(len(text_of(row.chosen)) > len(text_of(row.rejected)) for row in rows if row.paired)
            if rows and longer > 0.8 * len(rows):
                lines.append(
                    f"{name}: the chosen answer is the longer one in {longer / len(rows):.0%} of rows, so length alone "
                    "nearly decides; compare with a length-normalised loss (simpo, ipo, sigmoid_norm)"
                )
        return [*lines, *self.notes]

    def fingerprint(self) -> str:
        """Sha256 of every row and its split."""
        digest = hashlib.sha256(b"preferences")
        for name in ("train", "validation", "test"):
            for row in getattr(self, name):
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
        ties: pairs whose answers are equally good (``tie``, or equal scores) are left out ("drop"), or kept in train ("keep")
            for a method that learns from them (``dpo`` with ``graded.ties``).

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

    read, notes = prompted.read(path, understood, validation, test, delimiter, encoding)
    parts = {split: _paired(rows, pairs, ties, split, notes) for split, rows in read.items()}
    return _finish(path.name, parts, notes, max_characters, reading)


def _paired(
    rows: list[Preference | Ranking], pairs: Pairs, ties: str, split: str, notes: list[str]
) -> list[Preference]:
    """Rankings as pairs, and ties where they can be used: order is measured on the other splits, and a tie has none."""
    made = [pair for row in rows for pair in (row.pairs(pairs) if isinstance(row, Ranking) else [row])]
    rankings = sum(isinstance(row, Ranking) for row in rows)
    if rankings:
        notes.append(f"{split}: {len(made)} pairs were made of {rankings} rankings (pairs={pairs})")
    if ties == "keep" and split == "train":
        return made
    left = [pair for pair in made if not pair.tie]
    if len(left) < len(made):
        use = (
            ""
            if split != "train"
            else "; --data-option ties=keep keeps them for a method that learns from them"
        )
        notes.append(f"{split}: left out {len(made) - len(left)} ties{use}")
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
    parts: dict[str, list[Preference]],
    notes: list[str],
    max_characters: int | None,
    reading: Reading,
) -> PreferenceData:
    for split, rows in parts.items():
        if reading.format != "auto":
            where = [row.origin or f"{name}, {split}, row {at}" for at, row in enumerate(rows, 1)]
            rows = [replace(row, prompt=reading.prompt(row.prompt, at)) for row, at in zip(rows, where)]
        different = [row for row in rows if row.chosen != row.rejected]
        if len(different) < len(rows):
            notes.append(
                f"{split}: left out {len(rows) - len(different)} rows whose two answers are the same"
            )
        size = lambda row: len(row.key()) + max(len(text_of(row.chosen)), len(text_of(row.rejected)))  # noqa: E731
        parts[split] = prompted.short_ones(different, size, max_characters, split, notes)
    if not parts["train"]:
        raise CounterpointError(
            f"{name}: no training row with two different answers is left; check the columns, or raise max_characters"
        )
    both_ways = {
        (row.key(), text_of(row.rejected), text_of(row.chosen)) for row in parts["train"] if row.paired
    }
    against = (
        sum((row.key(), text_of(row.chosen), text_of(row.rejected)) in both_ways for row in parts["train"])
        // 2
    )
    if against:
        notes.append(
            f"train: {against} pairs occur in both directions, so their labels contradict one another (see cdpo, robust)"
        )
    notes += prompted.overlaps(parts)
    splits = {split: Preferences(parts.get(split, [])) for split in ("train", "validation", "test")}
    mixed = {row.paired for rows in splits.values() for row in rows}
    if len(mixed) > 1:
        raise CounterpointError(
            f"{name} mixes pairs (chosen, rejected) with single answers (completion, label); keep one form"
        )
    return PreferenceData(name=name, notes=tuple(notes), reading=reading, **splits)


load_preferences = load
"""The package's public name of ``load``."""
