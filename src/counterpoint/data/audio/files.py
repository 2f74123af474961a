"""Reads labelled sound files: folders of class folders, and tables with a column of file names. Knows nothing of splits.

Tables are CSV, TSV, JSON lines or parquet with a file and a label column, alone or as ``metadata.csv`` in a folder (the
audio-folder convention of Hugging Face). Sound is read by soundfile, mixed down to one channel, and brought to one rate.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from math import gcd
from pathlib import Path
from typing import Any, Literal

import numpy as np

from counterpoint.data import tables
from counterpoint.data.endings import SOUNDS
from counterpoint.data.walk import follow, shown, walk
from counterpoint.errors import CounterpointError, MissingExtra, counted

BLOCK = 2**18
RATES = (1000, 768_000)
"""Samples per second that sound is recorded at; anything else is a damaged header, which no filter could bring to a rate."""
TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
FILE_COLUMNS = ("file", "file_name", "path", "audio", "filename", "wav")
LABEL_COLUMNS = ("label", "class", "target", "variety", "accent", "intent")
TEXT_COLUMNS = ("text", "transcription", "transcript", "sentence")
SPEAKER_COLUMNS = ("speaker", "speaker_id", "client_id", "town", "prompt")
EXPECTED = (
    "a folder of class folders (train/<label>/x.wav or <label>/x.wav), or a .csv/.tsv/.jsonl/.parquet file (or a folder with a "
    "metadata.csv) with columns file and label, and if you like group, text and split"
)
Part = Literal["start", "quiet"]


@dataclass
class ReadClips:
    """Clips as they were found, row by row.

    Attributes:
        waves: int16 samples of one channel at the wanted rate.
        rows: the row's columns; of a folder, ``label``, ``folder`` (below the class) and ``prefix`` (of the file's name).
        files: names for messages.
        splits: "train", "validation" or "test" where the files say so.
        rates: how many files had which sample rate; ``channels``: likewise, of which one was made as their mean.
        cut: how many were longer than wanted.
        silent: names of files without any sound.
        loud: names of files of floats beyond 1, which were divided by their peak.
        unreadable: names of files that cannot be used, each with the reason.
    """

    waves: list[np.ndarray] = field(default_factory=list)
    rows: list[dict[str, str]] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    splits: list[str | None] = field(default_factory=list)
    rates: Counter[int] = field(default_factory=Counter)
    channels: Counter[int] = field(default_factory=Counter)
    cut: int = 0
    silent: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    loud: list[str] = field(default_factory=list)

    def columns(self) -> list[str]:
        """Names of all columns, in order."""
        return list(dict.fromkeys(name for row in self.rows for name in row))


@dataclass(frozen=True)
class Listed:
    """One file to read: its path, its row of the table, and its split where one is named."""

    path: Path
    row: dict[str, str]
    split: str | None


def listing(path: Path, notes: list[str]) -> list[Listed]:
    """Every file that a folder or a table names, unread; ``notes`` gets what a person should know.

    Raises:
        CounterpointError: nothing there, no sound files, a column or a file is missing.
    """
    if not path.exists():
        raise CounterpointError(f"{path} does not exist; expected {EXPECTED}")
    if path.is_file():
        if path.suffix.lower() not in TABLES:
            raise CounterpointError(f"{path.name} is no table of sound files; expected {EXPECTED}")
        return _of_table(path, None, notes)
    metadata = walk(path).named("metadata", TABLES)
    if metadata:
        listed = [
            one
            for file in metadata
            for one in _of_table(file.path, tables.split_of(file.name.parent.name), notes)
        ]
        named = {one.path.name for one in listed}
        bare = [file for file in walk(path).of(SOUNDS) if file.path.name not in named]
        if bare:
            notes.append(
                f"{counted(len(bare), 'sound file stands', 'sound files stand')} in no row of the metadata, such as {shown(bare[0].name)}: left out"
            )
        return listed
    return _of_folder(path)


def read(listed: list[Listed], sample_rate: int, seconds: float, part: Part = "start") -> ReadClips:
    """Read files into one channel of int16 at ``sample_rate``, at most ``seconds`` long.

    Args:
        listed: what to read.
        part: "start" keeps a longer clip's first seconds; "quiet" its quietest stretch of that length (to see what
            labels can be predicted from the recording alone, without speech).
    """
    clips = ReadClips()
    longest = max(1, round(seconds * sample_rate))
    for one in listed:
        name = str(one.path)
        if not one.path.is_file():
            clips.unreadable.append(f"{name} (a link that leads to no file)")
            continue
        if not one.path.stat().st_size:
            clips.unreadable.append(f"{name} (an empty file)")
            continue
        try:
            # Of a long recording only what is kept is decoded, and a little more for the filter's sake.
            wave, rate, floats, channels = _decode(one.path, seconds + 0.1 if part == "start" else None)
        except MissingExtra:
            raise
        except Exception as error:  # whatever a decoder says of a damaged file becomes a lesson that names it
            reason = " ".join(str(error).split()).removeprefix(f"Error opening '{name}': ")
            clips.unreadable.append(f"{name} ({reason[:120] or type(error).__name__})")
            continue
        if not len(wave):
            clips.unreadable.append(f"{name} (no samples)")
            continue
        if not np.isfinite(wave).all():
            clips.unreadable.append(f"{name} (samples that are not finite)")
            continue
        if not RATES[0] <= rate <= RATES[1]:
            clips.unreadable.append(f"{name} (a rate of {rate:,} Hz)")
            continue
        if missing := _cut_off(one.path):
            clips.unreadable.append(f"{name} (cut off: {missing:,} bytes of sound are missing)")
            continue
        peak = float(np.abs(wave).max())
        if floats and peak > 1:  # floats know no full scale: they would be clipped
            wave = wave / peak
            clips.loud.append(name)
        clips.rates[rate] += 1
        clips.channels[channels] += 1
        wave = resample(wave, rate, sample_rate)
        if len(wave) > longest:
            clips.cut += 1
            wave = wave[:longest] if part == "start" else quietest(wave, longest)
        samples = np.clip(np.round(wave * 32767), -32768, 32767).astype(np.int16)
        if not samples.any():  # what is left of channels that cancel one another, too
            clips.silent.append(name)
        clips.waves.append(samples)
        clips.rows.append(one.row)
        clips.files.append(name)
        clips.splits.append(one.split)
    return clips


def resample(wave: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """Bring samples from one rate to another by a polyphase filter.

    >>> len(resample(np.zeros(8000, np.float32), 8000, 16000))
    16000
    """
    if rate == wanted:
        return wave
    from scipy.signal import resample_poly

    common = gcd(rate, wanted)
    return resample_poly(wave, wanted // common, rate // common).astype(np.float32)


def quietest(wave: np.ndarray, length: int) -> np.ndarray:
    """The stretch of ``length`` samples with the least energy, tried every tenth of its length.

    >>> quietest(np.array([3.0, 3, 0, 1, 3]), 2).tolist()
    [0.0, 1.0]
    """
    energy = np.concatenate([[0.0], np.cumsum(np.square(wave, dtype=np.float64))])
    starts = np.arange(0, len(wave) - length + 1, max(1, length // 10))
    best = starts[np.argmin(energy[starts + length] - energy[starts])]
    return wave[best : best + length]


def _decode(path: Path, seconds: float | None) -> tuple[np.ndarray, int, bool, int]:
    """Samples of one channel, those of the first ``seconds`` where given, their rate, whether they are stored as floats, how many channels."""
    try:
        import soundfile
    except ImportError:
        raise MissingExtra("soundfile", "audio") from None
    # Telephone GSM has no header of its own; everything else says what it is.
    bare = {"format": "RAW", "subtype": "GSM610", "samplerate": 8000, "channels": 1}
    with soundfile.SoundFile(path, **(bare if path.suffix.lower() == ".gsm" else {})) as file:
        left = math.inf if seconds is None else int(seconds * file.samplerate) + 1
        parts = []
        # Block by block, since not every file (telephone GSM) knows its length before its end.
        while left > 0:
            parts.append(file.read(int(min(left, BLOCK)), dtype="float32", always_2d=True).mean(1))
            left -= len(parts[-1])
            if len(parts[-1]) < BLOCK:
                break
        floats = file.subtype in ("FLOAT", "DOUBLE")
        return np.concatenate(parts), int(file.samplerate), floats, int(file.channels)


def _cut_off(path: Path) -> int:
    """How many bytes of sound a WAV file announces and does not hold; 0 of other files, and where the length is left open."""
    with path.open("rb") as file:
        if file.read(4) != b"RIFF" or file.seek(8) != 8 or file.read(4) != b"WAVE":
            return 0
        size = path.stat().st_size
        while len(head := file.read(8)) == 8:
            length = int.from_bytes(head[4:], "little")
            if head[:4] == b"data":  # a recorder that was writing to a pipe leaves the length open
                return 0 if length >= 0x7FFFFF00 else max(0, file.tell() + length - size)
            file.seek(length + length % 2, 1)
    return 0


def _of_folder(path: Path) -> list[Listed]:
    files = walk(path).of(SOUNDS)
    if not files:
        raise CounterpointError(f"{path}: no sound files in this folder; expected {EXPECTED}")
    parts = [file.name.parts for file in files]
    split_at_top = all(len(part) > 1 and tables.split_of(part[0]) for part in parts)
    listed = []
    for file, part in zip(files, parts, strict=True):
        below = part[1:] if split_at_top else part
        if len(below) < 2:
            raise CounterpointError(f"{path / file.name} lies in no class folder; expected {EXPECTED}")
        row = {"label": below[0], "folder": "/".join(below[1:-1]), "prefix": _prefix(file.name.stem)}
        listed.append(Listed(file.path, row, tables.split_of(part[0]) if split_at_top else None))
    return listed


def _prefix(stem: str) -> str:
    """A file name up to its first "_", "-" or ".": where corpora keep the speaker's code."""
    for mark in "-.":
        stem = stem.replace(mark, "_")
    return stem.split("_")[0]


def _of_table(path: Path, split: str | None, notes: list[str]) -> list[Listed]:
    table = tables.read_table(path)
    column = next((name for name in FILE_COLUMNS if name in table.names), None)
    if column is None:
        raise CounterpointError(
            f"{path} has columns {', '.join(table.names[:12])} and none is called {', '.join(FILE_COLUMNS)}; expected {EXPECTED}"
        )
    named = tables.splits_named(table)
    notes += [*table.notes, *table.gap_notes()]
    listed = []
    for index, row in enumerate(table.rows()):
        given = _text(row.get(column))
        file = follow(path.parent, given)
        if not given or not file.is_file():
            raise CounterpointError(
                f"{table.where(index)}: there is no file '{given}' (paths are relative to the table's folder); mend or remove the row"
            )
        texts = {name: _text(value) for name, value in row.items()}
        listed.append(Listed(file, texts, named[1][index] if named else split))
    return listed


def _text(value: Any) -> str:
    if value is None or value != value:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
