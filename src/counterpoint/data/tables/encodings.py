"""What bytes of a text file mean: byte-order marks, UTF-8, UTF-16, UTF-32, and cp1252 where a format is known to use it.

UTF-8 stays on disk and is read from there; everything else is turned into UTF-8 in memory.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from counterpoint.errors import CounterpointError

BLOCK = 2**23
MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""Byte-order marks; those of UTF-32 come first, since they begin like those of UTF-16."""


@dataclass(frozen=True)
class Text:
    """The UTF-8 bytes of a file, without a byte-order mark.

    Attributes:
        path: of the file.
        data: the bytes where they had to be converted; None: they stand in the file, after ``skip`` bytes.
        skip: length of a byte-order mark.
        note: what to say about the encoding; empty for plain UTF-8.
    """

    path: Path
    data: bytes | None = None
    skip: int = 0
    note: str = ""

    def open(self) -> BinaryIO:
        """The bytes as a file, at their beginning."""
        if self.data is not None:
            return io.BytesIO(self.data)
        file = self.path.open("rb")
        file.seek(self.skip)
        return file

    def blocks(self) -> Iterator[bytes]:
        """The bytes, some megabytes at a time."""
        with self.open() as file:
            while block := file.read(BLOCK):
                yield block

    @property
    def size(self) -> int:
        """Number of bytes."""
        return len(self.data) if self.data is not None else self.path.stat().st_size - self.skip


def read_text(path: Path, encoding: str | None = None, fallback: str | None = None) -> Text:
    """Find out a file's encoding, check every byte, and give it as UTF-8.

    Args:
        path: the file.
        encoding: its encoding, where the person names it.
        fallback: what bytes that are no UTF-8 are read as, such as "cp1252"; None refuses them.

    Raises:
        CounterpointError: no such file, an unknown encoding, bytes that are no text in it.
    """
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise CounterpointError(
            f"{path}: cannot be read ({error.strerror}); expected a readable file"
        ) from None
    mark, marked = next(((mark, name) for mark, name in MARKS if head.startswith(mark)), (b"", None))
    wanted = _codec(encoding) if encoding else marked or _wide(head) or "utf-8"
    if wanted in ("utf-16", "utf-32") and marked and marked.startswith(wanted):
        wanted = marked
    skip = len(mark) if marked and wanted == marked else 0
    if wanted == "utf-8":
        text = Text(path, skip=skip, note="UTF-8 with a byte-order mark" if skip else "")
        wrong = _check(text)
        if wrong is None:
            return text
        if fallback is None or encoding is not None:
            raise CounterpointError(
                f"{path}: byte {wrong + skip} is no UTF-8; save the file as UTF-8, or name its encoding, e.g. "
                "--data-option encoding=cp1252 (Windows, Western Europe)"
            )
        wanted = fallback
    return _convert(path, wanted, skip)


def first_lines(path: Path, count: int = 5) -> list[str]:
    """The first lines of a text file in whatever encoding it says or shows, for a look at what it may be.

    Reads 64 KiB at most; a line that they cut off counts where it is the only one. A binary or unreadable file has none.
    """
    size = 2**16
    try:
        with path.open("rb") as file:
            head = file.read(size)
    except OSError:
        return []
    mark, encoding = next(((mark, name) for mark, name in MARKS if head.startswith(mark)), (b"", ""))
    encoding = encoding or _wide(head) or "utf-8"
    whole = len(head) < size
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head[len(mark) :], final=whole)
    except UnicodeDecodeError:
        text = head.decode("cp1252", "replace")
    if "\0" in text:
        return []
    # Line ends alone: ``str.splitlines`` would also split at characters that stand inside cells.
    lines = [line.rstrip("\n") for line in io.StringIO(text, newline=None)]
    return (lines if whole or len(lines) == 1 else lines[:-1])[:count]


def _codec(encoding: str) -> str:
    try:
        name = codecs.lookup(encoding).name
        "".encode(name)
    except (LookupError, ValueError):
        raise CounterpointError(
            f"encoding='{encoding}' is no text encoding that is known; expected one such as utf-8, utf-16, cp1252 or gb18030"
        ) from None
    return "utf-8" if name == "utf-8-sig" else name


def _wide(head: bytes) -> str | None:
    """UTF-16 without a mark: of Western text every other byte is zero."""
    zeros = [head[start::2].count(0) for start in (0, 1)]
    half = len(head) // 2
    if half < 2 or min(zeros) > half // 20 or max(zeros) < max(2, half // 3):
        return None
    return "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"


def _check(text: Text) -> int | None:
    """Position of the first byte that is no UTF-8 text; None when all are. A zero byte is a binary file's."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    start = 0
    try:
        for block in text.blocks():
            zero = block.find(b"\0")
            if zero >= 0:
                raise CounterpointError(
                    f"{text.path}: byte {start + zero + text.skip} is zero, so this is no text file; expected UTF-8 text"
                )
            if not block.isascii() or decoder.getstate()[0]:
                pending = len(decoder.getstate()[0])
                try:
                    decoder.decode(block)
                except UnicodeDecodeError as error:
                    return start - pending + error.start
            start += len(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return max(0, start - 1)
    return None


def _convert(path: Path, encoding: str, skip: int) -> Text:
    raw = path.read_bytes()[skip:]
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "cp1252":
            raise CounterpointError(
                f"{path}: byte {error.start + skip} is no {encoding.upper()}; name the file's encoding, e.g. "
                "--data-option encoding=cp1252, or save it as UTF-8"
            ) from None
        # Five bytes mean nothing in cp1252; files that hold them were written as Latin-1.
        encoding, text = "latin-1", raw.decode("latin-1")
    if "\0" in text:
        raise CounterpointError(
            f"{path}: holds zero characters as {encoding.upper()}, so this is no text file"
        )
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise CounterpointError(
            f"{path}: character {error.start} is half of a surrogate pair; save the file as UTF-8"
        ) from None
    return Text(path, data, note=f"read as {encoding.upper()}")
