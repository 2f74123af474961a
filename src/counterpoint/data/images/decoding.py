"""Decodes image files in worker processes, by index: the same pixels from any number of them; and pixels that stay on disk.

Images whose pixels do not fit in memory are decoded once, into a file of uint8 [N, C, H, W] in the cache, which is mapped into
memory: a tensor as any other, whose pages the system reads when a batch needs them. N images.
"""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from counterpoint.data.images.opening import ImageFile, Opening, StoredFile, TarMember
from counterpoint.data.images.pixels import Decoded, Header, colour, decode_frame, header
from counterpoint.data.tables.converted import converted, state_of
from counterpoint.data.tables.read import LARGE
from counterpoint.errors import CounterpointError, MissingExtra

CHUNK = 64
"""Images that a worker decodes at a time."""


class _Decoding(Dataset[Any]):
    """What is wanted of each file: its header, or its pixels (text says why there are none)."""

    def __init__(self, files: Sequence[ImageFile], size: int | None, headers: bool) -> None:
        self.files, self.size, self.headers = files, size, headers

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Header | Decoded | str | None:
        file = self.files[index]
        try:
            opened = file.open() if isinstance(file, StoredFile | TarMember) else file
            if isinstance(opened, io.BytesIO):
                opened.seek(0)
            return header(opened) if self.headers else decode_frame(opened, self.size)
        except MissingExtra:
            raise
        except Exception as error:
            return str(error) if isinstance(error, CounterpointError) else type(error).__name__


def decoded(files: Sequence[ImageFile], size: int | None, workers: int) -> Iterator[Decoded | str]:
    """Every file's pixels in the order of ``files``, or the reason why it has none."""
    return _each(_Decoding(files, size, False), workers)


def headers(files: Sequence[ImageFile], workers: int) -> Iterator[Header | None]:
    """Every file's header; None where it cannot be read."""
    return (
        each if isinstance(each, Header) else None for each in _each(_Decoding(files, None, True), workers)
    )


def _each(wanted: _Decoding, workers: int) -> Iterator[Any]:
    if not workers or "fork" not in multiprocessing.get_all_start_methods():
        yield from (wanted[index] for index in range(len(wanted)))
        return
    # Files in memory or in mapped tables go to the workers with the process itself: nothing is copied.
    loader = DataLoader(
        wanted, CHUNK, num_workers=workers, collate_fn=list, multiprocessing_context="fork", generator=torch.Generator()
    )  # fmt: skip
    for part in loader:
        yield from part


@dataclass(frozen=True)
class StoredPixels:
    """Decoded images in a file.

    Attributes:
        pixels: [N, C, H, W] uint8, memory-mapped; zeros where a file cannot be read.
        shapes: [N, 2] height and width in the files. reasons: number -> why a file cannot be read. animated: files of several frames.
    """

    pixels: Tensor
    shapes: np.ndarray
    reasons: dict[int, str]
    animated: int


def stored_pixels(
    files: Sequence[ImageFile], heads: Sequence[Header | None], opening: Opening
) -> StoredPixels:
    """Files decoded into the cache once, at ``opening.size`` or, where that is None, at the size that all have.

    Raises:
        CounterpointError: a full disk.
    """
    readable = [head for head in heads if head is not None]
    channels = 3 if any(not head.gray for head in readable) else 1
    height, width = (
        (opening.size, opening.size) if opening.size else (readable[0].shape if readable else (1, 1))
    )
    content = [_identity(file) for file in files]

    def fill(folder: Path) -> None:
        shape = (len(files), channels, height, width)
        pixels = np.memmap(folder / "pixels.u8", np.uint8, "w+", shape=shape)
        shapes, reasons, animated = np.zeros((len(files), 2), np.int64), {}, 0
        for number, each in enumerate(decoded(files, opening.size, opening.workers)):
            if isinstance(each, str):
                reasons[number] = each
                continue
            pixels[number] = np.moveaxis(colour(each.pixels, channels), 2, 0)
            shapes[number] = each.shape
            animated += each.animated
        pixels.flush()
        np.save(folder / "shapes.npy", shapes)
        about = {"reasons": reasons, "animated": animated, "shape": shape}
        (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")

    folder = converted([], repr(("pixels", opening.size, channels, height, width, content)), fill)
    about = json.loads((folder / "about.json").read_text("utf-8"))
    reasons = {int(number): reason for number, reason in about["reasons"].items()}
    pixels = mapped(folder / "pixels.u8", about["shape"])
    return StoredPixels(pixels, np.load(folder / "shapes.npy"), reasons, about["animated"])


def mapped(path: Path, shape: Sequence[int]) -> Tensor:
    """A file as a uint8 tensor whose pages are read when they are needed. It is not written to."""
    return torch.from_file(str(path), shared=True, size=int(np.prod(shape)), dtype=torch.uint8).view(*shape)


def taken(pixels: Tensor, index: Tensor | Sequence[int]) -> Tensor:
    """Rows of pixels [N, C, H, W]: in memory, or, of pixels in a file, as another file in the cache where they are many."""
    index = torch.as_tensor(index, dtype=torch.long)
    source = pixels.untyped_storage().filename
    if source is None or len(index) * pixels[:1].numel() < LARGE:
        return pixels[index]
    shape = (len(index), *pixels.shape[1:])

    def fill(folder: Path) -> None:
        copied = np.memmap(folder / "pixels.u8", np.uint8, "w+", shape=shape)
        for start in range(0, len(index), 1024):
            copied[start : start + 1024] = pixels[index[start : start + 1024]].numpy()
        copied.flush()

    # The folder of the source is named by its content.
    name = repr(("rows", source, tuple(pixels.shape), index.numpy().tobytes()))
    return mapped(converted([], name, fill) / "pixels.u8", shape)


def _identity(file: ImageFile) -> Any:
    if isinstance(file, StoredFile | TarMember):
        return file.identity()
    if isinstance(file, Path):
        return state_of(file) if file.exists() else (str(file.resolve()), None)
    return hash_of(file)


def hash_of(file: io.BytesIO) -> str:
    """Sha256 of bytes in memory."""
    return hashlib.sha256(file.getbuffer()).hexdigest()
