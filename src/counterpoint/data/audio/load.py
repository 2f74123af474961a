"""Loads labelled clips of sound and splits them once and for all, with no group (speaker, town, prompt) on two sides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from counterpoint.data.audio import files as audio_files
from counterpoint.data.audio.clips import Audio, ClipBatch, Clips, hashes
from counterpoint.data.audio.files import (
    LABEL_COLUMNS,
    SPEAKER_COLUMNS,
    TEXT_COLUMNS,
    Listed,
    Part,
    ReadClips,
)
from counterpoint.data.group_split import split_groups
from counterpoint.data.tables.cells import class_order, near_twins
from counterpoint.errors import CounterpointError, counted, data_option, nearest

__all__ = ["Audio", "ClipBatch", "Clips", "load_audio"]

BUNDLED = ("voices", "voices-it", "voices-en")


def load_audio(
    spec: str | Path,
    *,
    label: str | None = None,
    group: str | None = None,
    text: str | None = None,
    classes: str = "",
    held_out: str = "",
    sample_rate: int = 16_000,
    seconds: float = 5.0,
    part: Part = "start",
    per_class: int | None = None,
    limit: int | None = None,
    unreadable: str = "error",
    validation: float = 0.1,
    test: float = 0.2,
    seed: int = 0,
) -> Audio:
    """Load clips from a bundled name, a folder or a table, and split them.

    Splits named by folders or a ``split`` column are kept. What is missing is cut from the training clips, class by
    class, with each group (or, without groups, each clip with its exact copies) on one side.

    Args:
        spec: one of ``BUNDLED``, or a path to ``audio_files.EXPECTED``.
        label: column of the labels, when it is none of label, class, target, variety, accent, intent.
        group: column that splits may not cut through (speaker, town, prompt); of a folder, "folder" (the folders below
            the class) or "prefix" (the file's name up to its first mark). A column "group" is used without being named.
        text: column of transcripts, when it is none of text, transcription, transcript, sentence.
        classes: keep these labels only, comma-separated.
        held_out: clips that make the test, by a column's values: "speaker=anna,bruno".
        sample_rate: to bring all clips to.
        seconds: longest clip.
        part: what is kept of longer ones: their "start", or the "quiet" stretch (without speech, to see what labels can be
            told from the recording alone).
        per_class: at most that many training clips of each class.
        limit: at most that many training clips.
        unreadable: "error", or "skip" to leave out files that cannot be used (they are counted in the description).
        validation, test: shares of each class's groups to cut when nothing names that split.
        seed: of the split and the limits.

    Raises:
        CounterpointError: with what was found, what was expected and the call that works.
    """
    spec = str(spec)
    if not (seconds > 0 and sample_rate >= 1000):
        raise CounterpointError(
            f"seconds={seconds}, sample_rate={sample_rate}; expected seconds above 0 and a rate of at least 1000 samples per second"
        )
    if not (0 < validation < 1 and 0 < test < 1 and validation + test < 1):
        raise CounterpointError(
            f"validation={validation}, test={test}; expected shares above 0 that leave some for training"
        )
    notes: list[str] = []
    listed = audio_files.listing(
        _bundled(spec) if spec in BUNDLED and not Path(spec).exists() else Path(spec), notes
    )
    names = _columns(listed, label, group, text, spec, notes)
    listed = _wanted(listed, names["label"], classes, spec)
    clips = audio_files.read(listed, sample_rate, seconds, part)
    _require_usable(clips, spec, unreadable, sample_rate, seconds, part, notes)
    labels = [row[names["label"]] for row in clips.rows]
    order = _classes(labels, spec)
    notes += near_twins(order)
    lengths = torch.tensor([len(wave) for wave in clips.waves])
    everything = Clips(
        samples=torch.from_numpy(np.concatenate(clips.waves)),
        starts=torch.cumsum(lengths, 0) - lengths,
        lengths=lengths,
        labels=torch.tensor([order.index(name) for name in labels]),
        groups=tuple(row.get(names["group"], "") for row in clips.rows),
        texts=tuple(row.get(names["text"], "") for row in clips.rows),
        files=tuple(clips.files),
    )
    if names["group"] and not all(everything.groups):
        empty = clips.files[everything.groups.index("")]
        raise CounterpointError(
            f"{spec}: {empty} has no {names['group']}; give every clip one, or split without group="
        )
    sides = _sides(everything, clips, labels, names["group"], held_out, (validation, test), seed, spec, notes)
    parts = {name: np.flatnonzero(sides == name) for name in ("train", "validation", "test")}
    parts["train"] = _limited(everything.labels.numpy(), parts["train"], per_class, limit, seed)
    subsets = {name: everything.subset(rows) for name, rows in parts.items()}
    title = spec if spec in BUNDLED else Path(spec).name
    return Audio(
        **subsets,
        classes=order,
        sample_rate=sample_rate,
        seconds=seconds,
        group=names["group"],
        notes=tuple(notes),
        name=title,
    )


def _bundled(name: str) -> Path:
    from counterpoint.bundled.convert import data as bundled

    return bundled.path(name)


def _columns(
    listed: list[Listed], label: str | None, group: str | None, text: str | None, spec: str, notes: list[str]
) -> dict[str, str]:
    columns = list(dict.fromkeys(name for one in listed for name in one.row))
    for given in (label, group, text):
        if given and given not in columns:
            raise CounterpointError(f"{spec} has no column '{given}'; {nearest(given, columns)}")

    def pick(given: str | None, usual: Sequence[str]) -> str:
        return next((name for name in ([given] if given is not None else usual) if name in columns), "")

    names = {
        "label": pick(label, LABEL_COLUMNS),
        "group": pick(group, ("group",)),
        "text": pick(text, TEXT_COLUMNS),
    }
    if not names["label"]:
        raise CounterpointError(
            f"{spec} has columns {', '.join(columns[:12])} and none is called {', '.join(LABEL_COLUMNS)}; name the column of labels: {data_option('label', columns[-1])}"
        )
    bare = [str(one.path) for one in listed if not one.row.get(names["label"])]
    if bare:
        raise CounterpointError(
            f"{spec}: {counted(len(bare), 'clip has', 'clips have')} no {names['label']}, the first {bare[0]}; label or remove them"
        )
    unused = [name for name in SPEAKER_COLUMNS if name in columns and name != names["label"]]
    if not names["group"] and unused:
        notes.append(
            f"column '{unused[0]}' is not used: {data_option('group', unused[0])} would keep each {unused[0]} on one side of the split"
        )
    return names


def _wanted(listed: list[Listed], label: str, classes: str, spec: str) -> list[Listed]:
    if not classes:
        return listed
    wanted = [name.strip() for name in classes.split(",") if name.strip()]
    present = {one.row[label] for one in listed}
    for name in wanted:
        if name not in present:
            raise CounterpointError(f"{spec} has no class '{name}'; {nearest(name, present)}")
    return [one for one in listed if one.row[label] in wanted]


def _require_usable(
    clips: ReadClips, spec: str, unreadable: str, rate: int, seconds: float, part: Part, notes: list[str]
) -> None:
    if clips.unreadable:
        message = f"{counted(len(clips.unreadable), 'file')} cannot be used: {'; '.join(clips.unreadable)}"
        if unreadable != "skip":
            raise CounterpointError(
                f"{spec}: {message}; mend or remove them, or leave them out with --data-option unreadable=skip"
            )
        notes.append(message + "; left out")
    if len(clips.waves) < 6:
        raise CounterpointError(
            f"{spec}: {len(clips.waves)} usable clips; expected at least 6 (hundreds to learn anything)"
        )
    if set(clips.rates) != {rate}:
        rates = ", ".join(
            f"{hertz} Hz ({counted(count, 'file')})" for hertz, count in sorted(clips.rates.items())
        )
        notes.append(f"recorded at {rates}; brought to {rate} Hz")
    mixed = {count: files for count, files in sorted(clips.channels.items()) if count > 1}
    if mixed:
        counts = ", ".join(f"{count} channels ({counted(files, 'file')})" for count, files in mixed.items())
        notes.append(f"recorded in {counts}; their mean is the one channel that is used")
    if clips.cut:
        what = "the start" if part == "start" else "the quietest stretch"
        notes.append(
            f"{counted(clips.cut, 'clip was', 'clips were')} longer than {seconds:g} seconds; {what} was kept"
        )
    if clips.loud:
        loud = counted(len(clips.loud), "clip holds", "clips hold")
        notes.append(f"{loud} floats beyond 1, such as {clips.loud[0]}; divided by the peak")
    if clips.silent:
        notes.append(
            f"warning: {counted(len(clips.silent), 'clip holds', 'clips hold')} only silence, such as {clips.silent[0]}"
        )


def _classes(labels: list[str], spec: str) -> tuple[str, ...]:
    present = set(labels)
    if len(present) == 1:
        raise CounterpointError(
            f"{spec}: every clip is of the class '{labels[0]}'; expected at least two classes"
        )
    return class_order(present)


def _sides(
    clips: Clips,
    usable: ReadClips,
    labels: list[str],
    group: str,
    held_out: str,
    shares: tuple[float, float],
    seed: int,
    spec: str,
    notes: list[str],
) -> np.ndarray:
    named = np.array([split or "train" for split in usable.splits], dtype=object)
    if held_out:
        column, _, values = held_out.partition("=")
        wanted = {value.strip() for value in values.split(",")}
        present = {row.get(column.strip(), "") for row in usable.rows}
        for value in wanted:
            if value not in present or not value:
                raise CounterpointError(
                    f"held_out='{held_out}': no clip has '{value}' in column '{column}'; expected --data-option held_out=column=value,value; "
                    f"{nearest(value, present)}"
                )
        named[[row.get(column.strip()) in wanted for row in usable.rows]] = "test"
    missing = {
        name: share
        for name, share in zip(("validation", "test"), shares, strict=True)
        if not (named == name).any()
    }
    pool = np.flatnonzero(named == "train")
    if not len(pool):
        raise CounterpointError(f"{spec}: no training clips; expected a 'train' split")
    if missing:
        codes = hashes(clips)
        groups = [clips.groups[row] if group else codes[row].hex() for row in pool]
        named[pool] = split_groups([labels[row] for row in pool], groups, missing, seed, group or "clip")
        how = f"no {group} on two sides" if group else "copies of a clip on one side"
        notes.append(f"{' and '.join(missing)} cut from the training clips ({how}, seed {seed})")
    trained = {labels[row] for row in np.flatnonzero(named == "train")}
    unseen = set(labels) - trained
    if unseen:
        raise CounterpointError(
            f"{spec}: class '{min(unseen)}' has no training clips; add some, or leave it out with {data_option('classes', ','.join(sorted(trained)))}"
        )
    return named


def _limited(
    labels: np.ndarray, rows: np.ndarray, per_class: int | None, limit: int | None, seed: int
) -> np.ndarray:
    for name, number in (("per_class", per_class), ("limit", limit)):
        if number is not None and number < 1:
            raise CounterpointError(f"{name}={number}; expected a positive number of clips")
    order = np.random.default_rng(seed).permutation(rows)
    rank, seen = np.empty(len(order), dtype=int), Counter[int]()
    for position, row in enumerate(order):
        rank[position] = seen[int(labels[row])]
        seen[int(labels[row])] += 1
    if per_class is not None:
        order, rank = order[rank < per_class], rank[rank < per_class]
    sizes = Counter(labels[order].tolist())
    # The lowest relative ranks keep the classes' proportions.
    relative = (rank + 0.5) / np.array([sizes[int(labels[row])] for row in order])
    return np.sort(order[np.argsort(relative, kind="stable")[:limit]])
