"""Rows of text and a language model brought together before the first step: template, lengths in tokens, what is too long.

What the kinds "problems" and "preferences" share.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from counterpoint.data.language.reading import Reading
from counterpoint.data.language.stored_rows import StoredRows
from counterpoint.errors import CounterpointError, counted
from counterpoint.models.language import templates
from counterpoint.models.language.language import Language
from counterpoint.models.language.rows_fit import Row, check_rows, lengths, typed_tokens

T = TypeVar("T")
logger = logging.getLogger("counterpoint")
SPLITS = ("train", "validation", "test")
SAMPLE = 10_000
"""Rows on disk that are tokenised before training."""
SHARES = (0.5, 0.9, 0.99, 1.0)


def fitted(model: Language, data: T, row_of: Callable[[Any], Row]) -> T:
    """Data as the model will read them, and the model as the data's options want it.

    Args:
        model: gets the named template, where it has none, and the length at which rows are cut.
        data: ``ProblemData`` or ``PreferenceData``.
        row_of: a row's prompt and answers.

    Returns:
        The data; where ``max_length`` is given, without the rows that cannot be used, which a note counts.

    Raises:
        CounterpointError: a row that the template refuses, or that passes the model's positions; nothing left to train on; a
            template for a model that has one.
    """
    reading: Reading = data.reading  # type: ignore[attr-defined]
    _give_template(model, reading)
    notes: list[str] = []
    splits = {}
    for split in SPLITS:
        rows = getattr(data, split)
        if reading.max_length is None:
            some = _checked(split, rows)
            odd = check_rows(model, split, map(row_of, some), Origins(some))
            if odd:
                logger.warning(_unknown(split, odd, len(some)))
            continue
        fate = fates(model, split, map(row_of, rows), reading, Origins(rows.rows))
        splits[split] = fate
        notes += [f"{split}: {line}" for line in fate.lines(reading)]
    if reading.max_length is None:
        return data
    if reading.too_long == "truncate":
        model.max_length = reading.max_length
    if not splits["train"].left:
        raise CounterpointError(
            f"every training row is longer than max_length={reading.max_length} tokens; raise it, or give --too-long truncate"
        )
    return replace(  # type: ignore[type-var]
        data,
        notes=(*data.notes, *notes),  # type: ignore[attr-defined]
        **{split: getattr(data, split).select(fate.left) for split, fate in splits.items()},
    )


@dataclass(frozen=True)
class Fates:
    """What happens to the rows of a split.

    Attributes:
        sizes: tokens of each row. left: numbers of the rows that are used. cut: of those, the rows that lose their end.
        unknown: rows that hold something that the tokenizer does not know.
    """

    sizes: Sequence[int]
    left: Sequence[int]
    cut: Sequence[int]
    unknown: int = 0

    def lines(self, reading: Reading) -> list[str]:
        """In words, where something happens."""
        over = len(self.sizes) - len(self.left) + len(self.cut)
        odd = [_unknown("", self.unknown, len(self.sizes))] if self.unknown else []
        if not over:
            return odd
        done = []
        if self.cut:
            done.append(counted(len(self.cut), "is cut at its end", "are cut at their end"))
        if len(self.left) < len(self.sizes):
            alone = ", whose prompt alone is as long" if reading.too_long == "truncate" else ""
            done.append(counted(len(self.sizes) - len(self.left), "is", "are") + f" left out{alone}")
        of = f"of {len(self.sizes)} rows "
        return [
            f"{counted(over, of + 'is', of + 'are')} longer than {reading.max_length} tokens (longest {max(self.sizes)}): "
            + "; ".join(done),
            *odd,
        ]


class Origins(Sequence[str]):
    """Of each row its file and number there, looked up when it is needed."""

    def __init__(self, rows: Sequence[Any]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, at: Any) -> Any:
        return self.rows[at].origin


def _checked(split: str, rows: Any) -> Sequence[Any]:
    """The rows that are tokenised before the first step: all; of rows on disk, so many that it takes seconds."""
    if not isinstance(rows.rows, StoredRows) or len(rows) <= SAMPLE:
        return rows.rows
    logger.info(
        "%s: %d of %d rows, evenly spaced, are tokenised before training; any other that the model cannot read ends the run when "
        "it is reached", split, SAMPLE, len(rows),
    )  # fmt: skip
    return rows.rows.sample(SAMPLE)


def _unknown(split: str, odd: int, count: int) -> str:
    rows = counted(odd, f"of {count} rows holds", f"of {count} rows hold")
    return (
        f"{split + ': ' if split else ''}{rows} characters that the model's tokenizer does not know: it reads, and "
        "learns to write, its unknown token for them"
    )


def fates(
    model: Language, split: str, rows: Iterable[Row], reading: Reading, origins: Sequence[str] = ()
) -> Fates:
    """Count the tokens of rows and decide about those above ``max_length``; without one, about none."""
    sizes, left, cut, odd = array("i"), array("q"), array("q"), 0
    for at, (prompt, whole, unknown) in enumerate(lengths(model, split, rows, origins)):
        sizes.append(whole)
        odd += bool(unknown)
        if reading.max_length is None or whole <= reading.max_length:
            left.append(at)
        elif reading.too_long == "truncate" and prompt < reading.max_length:
            left.append(at)
            cut.append(at)
    return Fates(sizes, left, cut, odd)


def preview(
    model: Language, data: Any, row_of: Callable[[Any], Row], example: Callable[[Any], Row]
) -> Preview:
    """What ``check`` shows of rows and model: lengths, what is too long, one row with who wrote what.

    Args:
        model, data: before ``fitted``. row_of: a row's prompt and answers. example: those that are learnt.
    """
    reading: Reading = data.reading
    _give_template(model, reading)
    lines = []
    for split in SPLITS:
        rows = getattr(data, split)
        if not len(rows):
            continue
        some = _checked(split, rows) if reading.max_length is None else rows.rows
        fate = fates(model, split, map(row_of, some), reading, Origins(some))
        ordered = sorted(fate.sizes)
        at = [ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in SHARES]
        lines.append(
            f"{split}: tokens a row: half up to {at[0]}, 90 % up to {at[1]}, 99 % up to {at[2]}, longest {at[3]}"
        )
        lines += [f"{split}: {line}" for line in fate.lines(reading)]
        typed = typed_tokens(model, split, map(row_of, some), Origins(some))
        if typed is not None:
            count, where, token = typed
            rows = counted(count, f"of {len(some)} rows has", f"of {len(some)} rows have")
            lines.append(
                f"{split}: {rows} special tokens of the model in what was written (first {where}: {token}); they are read "
                "as if the template had written them, so a turn may seem to end there: mend the text if it is not meant"
            )
        over = (
            sum(size > model.limit for size in fate.sizes)
            if model.limit and reading.max_length is None
            else 0
        )
        if over:
            lines.append(
                f"{split}: {counted(over, 'row passes', 'rows pass')} the model's {model.limit} positions, and a run would refuse that; "
                f"--max-length {model.limit} leaves out what is longer, with --too-long truncate it cuts it"
            )
    prompt, answers = example(data.train[0])
    answer = next((each for each in answers if each), None)
    if answer is None:
        [ids] = model.prompt_ids([prompt])
        return Preview(lines, _segments(model, ids, [False] * len(ids)))
    [row] = model.rendered([(prompt, answer)])
    return Preview(lines, _segments(model, row.ids, row.authored))


@dataclass(frozen=True)
class Preview:
    """Lines about all rows, and one row as (text, whether it is learnt)."""

    lines: Sequence[str]
    segments: Sequence[tuple[str, bool]]


def _segments(model: Language, ids: Sequence[int], authored: Sequence[bool]) -> list[tuple[str, bool]]:
    runs: list[tuple[list[int], bool]] = []
    for number, own in zip(ids, authored):
        if not runs or runs[-1][1] != own:
            runs.append(([], own))
        runs[-1][0].append(number)
    return [(model.tokenizer.decode(model.readable(part)), own) for part, own in runs]


def _give_template(model: Language, reading: Reading) -> None:
    if not reading.template:
        return
    given = templates.named(reading.template)
    if model.tokenizer.chat_template not in (None, "", given):
        raise CounterpointError(
            f"template={reading.template}, but the model has a chat template of its own; leave the option out, or change "
            "tokenizer.chat_template in the model's folder"
        )
    model.tokenizer.chat_template = given
