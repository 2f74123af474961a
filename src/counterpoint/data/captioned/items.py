"""Images with captions once they are loaded: three splits, and items of two benchmarks' forms. Shapes: N images [C, H, W], uint8."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from torch import Tensor

from counterpoint.data.images.captions import Captions, same
from counterpoint.data.images.decoding import taken
from counterpoint.errors import counted


@dataclass(frozen=True)
class CaptionedSet:
    """One split: ``len()`` and pixels by a LongTensor, as the Run's batches want it.

    Attributes:
        pixels: [N, C, H, W] uint8.
        captions: of each image, one or several.
        negatives: of each image captions that are nearly right, and wrong; () where there are none.
    """

    pixels: Tensor
    captions: tuple[Captions, ...]
    negatives: tuple[Captions, ...]

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: Tensor) -> Tensor:
        return self.pixels[index]

    def subset(self, rows: list[int]) -> CaptionedSet:
        """These rows as a split of their own."""
        return CaptionedSet(
            taken(self.pixels, rows),
            tuple(self.captions[row] for row in rows),
            tuple(self.negatives[row] for row in rows),
        )


@dataclass(frozen=True)
class PairItems:
    """Items of two images and two captions, as Winoground has them: image j shows caption j.

    Attributes:
        pixels: [K, 2, C, H, W] uint8. captions: K times two. tags: of each item, "" for none.
    """

    pixels: Tensor
    captions: tuple[tuple[str, str], ...]
    tags: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.captions)


@dataclass(frozen=True)
class ChoiceItems:
    """Items of an image, its caption and wrong ones, as ARO has them.

    Attributes:
        pixels: [K, C, H, W] uint8. true: the captions. false: one or several an item. groups: the relation or attribute, "" for none.
    """

    pixels: Tensor
    true: tuple[str, ...]
    false: tuple[Captions, ...]
    groups: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.true)


@dataclass(frozen=True)
class Captioned:
    """Three splits and the benchmarks' items, which no training and no tuning looks at.

    Attributes:
        winoground, aro: items to measure on beside ``test``, where they were given.
    """

    train: CaptionedSet
    validation: CaptionedSet
    test: CaptionedSet
    winoground: PairItems | None = None
    aro: ChoiceItems | None = None
    name: str = "captioned"
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""
        channels, height, width = self.train.pixels.shape[1:]
        return int(channels), int(height), int(width)

    def splits(self) -> dict[str, CaptionedSet]:
        """The three splits by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def texts(self) -> list[str]:
        """Every caption and every wrong one of all splits and items, once each, sorted."""
        texts = {
            text
            for part in self.splits().values()
            for row in (*part.captions, *part.negatives)
            for text in row
        }
        if self.winoground is not None:
            texts |= {text for pair in self.winoground.captions for text in pair}
        if self.aro is not None:
            texts |= {*self.aro.true, *(text for row in self.aro.false for text in row)}
        return sorted(texts)

    def fingerprint(self) -> str:
        """Sha256 of all pixels and texts in their splits and items."""
        digest = hashlib.sha256()
        for name, part in self.splits().items():
            digest.update(repr((name, tuple(part.pixels.shape), part.captions, part.negatives)).encode())
            digest.update(part.pixels.contiguous().numpy().data)
        for pairs in (self.winoground,) if self.winoground is not None else ():
            digest.update(repr(("winoground", pairs.captions, pairs.tags)).encode())
            digest.update(pairs.pixels.numpy().tobytes())
        for choices in (self.aro,) if self.aro is not None else ():
            digest.update(repr(("aro", choices.true, choices.false, choices.groups)).encode())
            digest.update(choices.pixels.numpy().tobytes())
        return digest.hexdigest()

    def describe(self) -> list[str]:
        """What was understood, one finding per line."""
        channels, height, width = self.shape
        counts = ", ".join(f"{len(part)} {name}" for name, part in self.splits().items())
        lines = [f"{self.name}: {counts}; {height}x{width} pixels, {counted(channels, 'channel')}"]
        lines.append(f"captions such as '{self.train.captions[0][0]}'")
        wrong = {name: sum(map(bool, part.negatives)) for name, part in self.splits().items()}
        if any(wrong.values()):
            example = next(row[0] for part in self.splits().values() for row in part.negatives if row)
            shown = ", ".join(f"{count} {name}" for name, count in wrong.items())
            lines.append(f"captions that are nearly right, such as '{example}', of {shown} images")
        else:
            lines.append(
                "no wrong captions: whether the model tells a caption from one nearly like it cannot be measured"
            )
        alike = len({frozenset(same(row)) for row in self.train.captions})
        if alike < len(self.train):
            lines.append(
                f"{len(self.train)} training images have {alike} different captions; where equal ones meet in a batch they are no "
                "negatives of one another (the setting mask_repeats)"
            )
        if self.winoground is not None:
            lines.append(
                f"{len(self.winoground)} items of two images and two captions (Winoground's form), measured on and not learnt from"
            )
        if self.aro is not None:
            lines.append(
                f"{len(self.aro)} items of an image and captions to choose from (ARO's form), likewise"
            )
        return [*lines, *self.notes]
