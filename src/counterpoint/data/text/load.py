"""Texts with one label, several, or none, split once and for all into train, validation and test.

A text without a label is trained on where a method can use it, and never evaluated on. N texts, C classes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from counterpoint.data import row_numbers
from counterpoint.data.nested import split_seeds
from counterpoint.data.tables import Rows
from counterpoint.data.tables.cells import class_order, near_twins
from counterpoint.data.tables.converted import converted
from counterpoint.data.text import rows as text_rows
from counterpoint.data.text.split import proportional, split_rows, text_keys
from counterpoint.data.text.stored_texts import StoredTexts, cut
from counterpoint.errors import CounterpointError


@dataclass(frozen=True)
class Lines:
    """One split: texts (in memory, or on disk), targets [N, C] bool (a row of False where nothing is known), labelled [N] bool."""

    texts: Sequence[str]
    targets: Tensor
    labelled: Tensor

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: Tensor) -> Lines:
        return Lines(text_rows.selected(self.texts, index.numpy()), self.targets[index], self.labelled[index])

    @property
    def labels(self) -> Tensor:
        """[N] the first class of each text, -1 where there is none."""
        return (
            torch.where(self.targets.any(1), self.targets.int().argmax(1), -1)
            if self.targets.shape[1]
            else torch.full((len(self),), -1)
        )

    def words(self) -> np.ndarray:
        """[N] how many words each text has."""
        if isinstance(self.texts, StoredTexts):
            return self.texts.fact("words")
        return np.fromiter((len(text.split()) for text in self.texts), np.int64, len(self))

    def keys(self) -> np.ndarray:
        """[N] what copies of a text share."""
        if isinstance(self.texts, StoredTexts):
            return self.texts.fact("key")
        return text_keys(self.texts, len(self))

    def with_labels(self) -> Lines:
        """Only the rows with a label."""
        return self[torch.nonzero(self.labelled)[:, 0]]


@dataclass(frozen=True)
class Texts:
    """Three splits and what was understood about them.

    Attributes:
        classes: names of the C classes, in the order of the targets' columns; empty without labels.
        sizes: texts of each class in all three splits, also those whose labels training may not see.
        multi_label: a text may belong to several classes.
        truth: the training texts' targets [N, C] before labels were hidden or made wrong on request; None where none was.
    """

    train: Lines
    validation: Lines
    test: Lines
    classes: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()
    multi_label: bool = False
    notes: tuple[str, ...] = ()
    name: str = "texts"
    truth: Tensor | None = None

    def splits(self) -> dict[str, Lines]:
        """Return the three splits by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def label_texts(self) -> tuple[str, ...]:
        """The classes' names as texts: "men_women" reads "men women"."""
        return tuple(readable(name) for name in self.classes)

    def tail(self) -> Tensor:
        """[C] bool: the rarer half of the classes."""
        order = torch.argsort(torch.tensor(self.sizes), stable=True)
        rare = torch.zeros(len(self.classes), dtype=torch.bool)
        rare[order[: len(self.classes) // 2]] = True
        return rare

    def fingerprint(self) -> str:
        """Sha256 of all texts and labels in their splits; of texts on disk kept in the cache, since all are read for it."""
        stored = [part.texts for part in self.splits().values() if isinstance(part.texts, StoredTexts)]
        if not stored:
            return self._fingerprint()
        identity = hashlib.sha256(
            repr((self.classes, self.multi_label, [t.digest() for t in stored])).encode()
        )
        for part in self.splits().values():
            for flags in (part.targets, part.labelled):
                identity.update(flags.contiguous().numpy().data)
        name = f"fingerprint of texts {identity.hexdigest()}"
        folder = converted([], name, lambda made: (made / "fingerprint").write_text(self._fingerprint()))
        return (folder / "fingerprint").read_text()

    def _fingerprint(self) -> str:
        digest = hashlib.sha256(repr((self.classes, self.multi_label)).encode())
        for name, part in self.splits().items():
            digest.update(f"{name}{len(part)}".encode())
            for text in part.texts:
                digest.update(f"{len(text)}:{text}".encode("utf-8", "surrogatepass"))
            digest.update(part.targets.contiguous().numpy().data)
            digest.update(part.labelled.contiguous().numpy().data)
        return digest.hexdigest()

    def describe(self) -> list[str]:
        """Say what was understood, one finding per line."""
        counts = ", ".join(f"{len(part)} {name}" for name, part in self.splits().items())
        lengths = self.train.words()
        lines = [
            f"{self.name}: {counts} texts; {int(np.median(lengths))} words each in the middle, {int(lengths.max())} at most"
        ]
        if self.classes:
            sizes, rare = torch.tensor(self.sizes), self.tail()
            order = torch.argsort(sizes, descending=True, stable=True).tolist()
            few = [order[0], order[1], *order[-2:]] if len(order) > 3 else order
            named = [f"{self.classes[n]} {int(sizes[n])}" for n in few]
            shown = ", ".join([*named[:2], "...", *named[2:]] if len(order) > 4 else named)
            several = (
                f", {float(self.test.targets.sum()) / max(1, int(self.test.labelled.sum())):.2g} labels a test text"
                if self.multi_label
                else ""
            )
            lines.append(
                f"{len(self.classes)} classes{several}; sizes from the largest to the smallest: {shown}"
            )
            lines.append(
                f"tail: the rarer half, {int(rare.sum())} classes with {int(sizes[rare].sum())} of {int(sizes.sum())} labels"
            )
        else:
            lines.append(
                "no labels: encoders can be pretrained; nothing can be classified or measured by classes"
            )
        bare = len(self.train) - int(self.train.labelled.sum())
        if self.classes and bare:
            lines.append(f"{bare} of {len(self.train)} training texts without a label: read as text only")
        seen = np.sort(self.train.keys())
        shared = [row_numbers.contained(part.keys(), seen) for part in (self.validation, self.test)]
        if any(shared):
            lines.append(f"warning: {shared[0]} validation and {shared[1]} test texts are in train, too")
        return [*lines, *self.notes]


def load_texts(
    spec: str | Path,
    *,
    text: str | None = None,
    label: str | None = None,
    separator: str | None = None,
    empty: str = "error",
    delimiter: str | None = None,
    encoding: str | None = None,
    labelled: float = 1.0,
    mislabelled: float = 0.0,
    words: int | None = None,
    limit: int | None = None,
    validation: float = 0.15,
    test: float = 0.2,
    seed: int = 0,
    untested: str = "",
    rows: Rows = "auto",
) -> Texts:
    """Load texts from a CSV, TSV, JSON lines, JSON or parquet file, a folder with one per split, or ``LABEL/*.txt``.

    Args:
        spec: the path.
        text, label: columns, when they have no usual name (text, label); ``label="none"`` reads texts alone.
        separator: between the labels of one cell, such as ";": makes the data multi-label, as lists of labels do.
        empty: "error", or "skip" to leave out rows without text.
        delimiter: between the cells of CSV and TSV (comma, tab, semicolon, ...), where it is not found by itself.
        encoding: of text files, such as cp1252, where they are neither UTF-8 nor begin with a byte-order mark.
        labelled: which share of the labelled training texts keeps its labels, or, from 2 on, how many; the others are
            read as text only. Drawn with ``seed``, in the classes' proportions.
        mislabelled: which share of the labels that training sees is replaced by another class, to study wrong labels.
        words: only so many words of each text, from its beginning; less is faster.
        limit: at most that many training texts, labelled first, in the classes' proportions.
        validation, test: shares to cut from the training texts when the files name no such split; stratified, copies
            of a text on one side.
        seed: of all this.
        untested: seeds of other splits, with commas; what they put into validation is not tested here.
        rows: where texts are held: all in "memory", or on "disk", each read when it is needed (JSON lines in UTF-8, Parquet and
            folders of the datasets library); "auto" leaves them on disk from half a gigabyte on.

    Raises:
        CounterpointError: with what was found, what was expected and the call that works.
    """
    path = Path(spec)
    most = words if words and words > 0 else None  # what is no number of words is refused further on
    loaded = text_rows.read(path, text, label, separator, empty, delimiter, encoding, rows, most)
    return build(
        loaded.rows, loaded.rows.labels.several, path.name, loaded.notes,
        labelled=labelled, mislabelled=mislabelled, words=words, limit=limit,
        validation=validation, test=test, seed=seed, untested=untested,
    )  # fmt: skip


def build(
    rows: Sequence[text_rows.Row] | text_rows.Columns,
    several: bool,
    name: str,
    notes: Sequence[str] = (),
    *,
    labelled: float = 1.0,
    mislabelled: float = 0.0,
    words: int | None = None,
    limit: int | None = None,
    validation: float = 0.15,
    test: float = 0.2,
    seed: int = 0,
    untested: str = "",
) -> Texts:
    """Encode labels, cut the splits that the rows do not name, and put the data together; options as in ``load_texts``."""
    notes = list(notes)
    rows = text_rows.Columns.of(rows)
    if len(rows) < 20:
        raise CounterpointError(
            f"{name}: {len(rows)} texts; expected at least 20 (hundreds to learn anything)"
        )
    if not (0 < validation < 1 and 0 < test < 1 and validation + test < 1):
        raise CounterpointError(
            f"validation={validation}, test={test}; expected shares above 0 that leave some to train on"
        )
    if words is not None:
        if words < 1:
            raise CounterpointError(f"words={words}; expected at least 1 word of each text")
        if not isinstance(rows.texts, StoredTexts):  # else they are cut as they are read
            rows = replace(rows, texts=[cut(text, words) for text in rows.texts])
    classes = _classes(rows, name)
    notes += near_twins(classes)
    several = several or any(len(labels) > 1 for labels in rows.labels.present())
    index_of = {label: number for number, label in enumerate(classes)}
    codes = rows.labels.codes
    # Of each set of labels that occurs: its first class, and which classes are in it.
    first_of = np.full(len(rows.labels.sets), -1, np.int32)
    has = torch.zeros(len(rows.labels.sets), len(classes), dtype=torch.bool)
    for number, labels in enumerate(rows.labels.sets):
        there = [index_of[label] for label in labels if label in index_of]
        if there:
            first_of[number] = there[0]
            has[number, there] = True
    first = row_numbers.gathered(first_of, codes)
    counts = torch.from_numpy(row_numbers.counts(codes, len(has)))
    stored = isinstance(rows.texts, StoredTexts)
    keys = rows.texts.fact("key") if stored else text_keys(rows.texts, len(rows))  # type: ignore[attr-defined]
    parts = split_rows(
        keys, rows.splits, rows.split_names, first, validation, test, seed, name, notes, split_seeds(untested)
    )
    if limit is not None:
        if limit < 2:
            raise CounterpointError(f"limit={limit}; expected at least 2 training texts")
        parts["train"] = np.sort(proportional(first, parts["train"], seed)[:limit])
    lines = {}
    for part, index in parts.items():
        targets = has[torch.from_numpy(codes[index].astype(np.int64))]
        lines[part] = Lines(text_rows.selected(rows.texts, index), targets, targets.any(1))
    if several:  # in multi-label data a list without labels is an answer; it cannot be told from "not labelled" in a table
        notes.append("several labels a text: each class is decided on its own")
    data = Texts(
        train=lines["train"],
        validation=lines["validation"],
        test=lines["test"],
        classes=classes,
        sizes=tuple((has * counts[:, None]).sum(0).tolist()),
        multi_label=several,
        notes=tuple(notes),
        name=name,
    )
    bare = [part for part in ("validation", "test") if not bool(data.splits()[part].labelled.any())]
    if classes and bare:
        raise CounterpointError(
            f"{name}: no {bare[0]} text has a label; nothing could be measured: give labelled {bare[0]} texts, or leave that file out and "
            "have them cut from the training texts"
        )
    data = data if labelled == 1.0 else _hide(data, labelled, seed)
    return data if mislabelled == 0.0 else _mislabel(data, mislabelled, seed)


def readable(name: str) -> str:
    """A class's name as words.

    >>> readable("sci.space_news")
    'sci space news'
    """
    return re.sub(r"[\W_]+", " ", name).strip() or name


def _classes(rows: text_rows.Columns, name: str) -> tuple[str, ...]:
    present = {label for labels in rows.labels.present() for label in labels}
    if len(present) == 1:
        raise CounterpointError(
            f"{name}: every labelled text is of the class '{present.pop()}'; expected at least two classes, or --data-option label=none for texts "
            "without labels"
        )
    if len(present) > len(rows) // 2:
        raise CounterpointError(
            f"{name}: {len(present)} different labels for {len(rows)} texts; is the label's column right? Name it with --data-option label=COLUMN, "
            "or say --data-option 'separator=;' when a cell holds several labels"
        )
    return class_order(present)


def _hide(data: Texts, labelled: float, seed: int) -> Texts:
    """Keep the labels of a share, or of so many, of the labelled training texts."""
    labelled_rows = np.flatnonzero(data.train.labelled.numpy())
    if not (0 <= labelled < 1 or (labelled >= 2 and labelled == int(labelled))):
        raise CounterpointError(
            f"labelled={labelled}; expected a share from 0 to 1, or a whole number of texts from 2 on"
        )
    count = round(labelled * len(labelled_rows)) if labelled < 1 else int(labelled)
    if count > len(labelled_rows):
        raise CounterpointError(f"labelled={count}, but only {len(labelled_rows)} training texts have labels")
    order = proportional(data.train.labels.numpy(), labelled_rows, seed)
    keep = torch.zeros(len(data.train), dtype=torch.bool)
    keep[torch.from_numpy(order[:count].copy())] = True
    note = f"training may use the labels of {count} of {len(labelled_rows)} labelled texts (drawn with seed {seed})"
    train = Lines(data.train.texts, data.train.targets & keep[:, None], keep)
    return replace(data, train=train, truth=data.train.targets, notes=(*data.notes, note))


def _mislabel(data: Texts, share: float, seed: int) -> Texts:
    """Give a share of the labels that training sees to another class, every other class being as likely."""
    if data.multi_label or not 0 < share < 1:
        raise CounterpointError(
            f"mislabelled={share}; expected a share between 0 and 1 of the labels, in data with one label a text"
        )
    random = np.random.default_rng([seed, 1])
    labelled_rows = random.permutation(np.flatnonzero(data.train.labelled.numpy()))
    wrong = torch.from_numpy(labelled_rows[: round(share * len(labelled_rows))].copy())
    shift = torch.from_numpy(random.integers(1, len(data.classes), len(wrong)))
    targets = data.train.targets.clone()
    targets[wrong] = False
    targets[wrong, (data.train.labels[wrong] + shift) % len(data.classes)] = True
    note = f"{len(wrong)} of the {len(labelled_rows)} labels that training sees are wrong on purpose (drawn with seed {seed})"
    return replace(
        data,
        train=replace(data.train, targets=targets),
        truth=data.train.targets if data.truth is None else data.truth,
        notes=(*data.notes, note),
    )
