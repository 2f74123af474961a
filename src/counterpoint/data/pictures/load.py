"""Loads images as pictures to learn to make, each with a prompt: its class, the group of its class, its caption, or none.

Files, folders, splits, sizes and captions are those of ``data.images``.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from counterpoint.data.images.captions import LEAVE_OUT
from counterpoint.data.images.load import load_images
from counterpoint.data.images.sets import TEXT_ENCODER, Images, ImageSet
from counterpoint.data.tables import Rows
from counterpoint.errors import CounterpointError, data_option, nearest

By = Literal["classes", "captions", "none"]
BYS = ("auto", "classes", "captions", "none")


@dataclass(frozen=True)
class PictureBatch:
    """Pictures and their prompts: pixels_NCHW uint8, prompts_N long or prompts_ND floats (``models.pictures.prompts``)."""

    pixels: Tensor
    prompts: Tensor
    fakes: Tensor | None = None


@dataclass(frozen=True)
class PictureSet:
    """One split: ``len()`` and indexing by a LongTensor, as the Run's batches want it.

    Attributes:
        images: the split's images, with labels and captions.
        prompts: [N] numbers of prompts, -1 for none; or [N, D] vectors of captions, once they are made.
        fakes: the prompts that stand for a model's own pictures of the same, where a method needs them.
    """

    images: ImageSet
    prompts: Tensor
    fakes: Tensor | None = None

    def __len__(self) -> int:
        return len(self.prompts)

    def __getitem__(self, index: Tensor) -> PictureBatch:
        fakes = None if self.fakes is None else self.fakes[index]
        return PictureBatch(self.images.pixels[index], self.prompts[index], fakes)


@dataclass(frozen=True)
class Pictures:
    """Three splits of pictures with prompts.

    Attributes:
        images: where they come from.
        by: what prompts are.
        names: of the prompts, where they are classes or groups of classes.
        prompt_of_class: the prompt of each class, where prompts are classes or groups.
        samples: pictures that an evaluation draws.
        judge: what says which class a drawn picture is of, see ``evaluation.pictures.judge``.
    """

    train: PictureSet
    validation: PictureSet
    test: PictureSet
    images: Images
    by: By
    names: tuple[str, ...] = ()
    prompt_of_class: tuple[int, ...] = ()
    samples: int = 1000
    judge: str = "mlp"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every picture."""
        return self.images.shape

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the images' classes."""
        return self.images.classes

    def splits(self) -> dict[str, PictureSet]:
        """The three splits by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def fingerprint(self) -> str:
        """Sha256 of all pixels, labels, captions and prompts in their splits."""
        digest = hashlib.sha256(self.images.fingerprint().encode())
        digest.update(repr((self.by, self.names, self.prompt_of_class, self.samples, self.judge)).encode())
        return digest.hexdigest()

    def describe(self) -> list[str]:
        """What was understood, one finding per line."""
        lines = [
            line
            for line in self.images.describe()
            if not line.startswith(("no labels", "every image has a c"))
        ]
        if self.by == "captions":
            assert self.images.train.captions is not None
            example = self.images.train.captions[0][0]
            lines.append(
                f"prompts are captions, such as '{example}'; {self.images.text_encoder} makes vectors of them"
            )
        elif self.by == "classes":
            counts = Counter(self.train.prompts.tolist())
            shown = ", ".join(f"{name} ({counts[number]})" for number, name in enumerate(self.names[:12]))
            lines.append(f"{len(self.names)} prompts: {shown}{', ...' if len(self.names) > 12 else ''}")
        else:
            lines.append("no prompts: a model learns to make such pictures, and not which")
        return lines


def load_pictures(
    spec: str | Path,
    *,
    prompts: str = "auto",
    size: int | None = None,
    image: str | None = None,
    label: str | None = None,
    captions: str | None = None,
    caption: str | None = None,
    text_encoder: str = TEXT_ENCODER,
    samples: int = 1000,
    judge: str = "mlp",
    limit: int | None = None,
    evaluation_limit: int | None = None,
    unreadable: str = "error",
    validation: float = 0.1,
    test: float = 0.2,
    seed: int = 0,
    untested: str = "",
    workers: int = 0,
    rows: Rows = "auto",
) -> Pictures:
    """Load images, and say what the prompt of each is.

    Args:
        spec: a bundled name of images, or a path: whatever ``data.images`` reads.
        prompts: "classes", "captions" or "none"; "auto" takes captions where there are any, else classes, else none; or groups of
            classes, such as "even=0,2,4,6,8; odd=1,3,5,7,9".
        size: side in pixels to bring every image to (shorter side resized, centre cropped); chosen where sizes differ.
        image: column or array of the images, when not a usual name.
        label: column or array of the labels, likewise.
        captions: a file with an image's name and a caption per row, or "none".
        caption: the column of captions, when it is called otherwise.
        text_encoder: what makes vectors of captions: "minilm-l6", or a folder of your own encoder.
        samples: how many pictures an evaluation draws for each number of steps.
        judge: what looks at drawn pictures: "mlp", a network trained on the data's own classes, "pixels", or a folder of an image model.
        limit: at most that many training images, stratified.
        evaluation_limit: at most that many images in validation and in test, stratified.
        unreadable: "error", or "skip" to leave out files that cannot be opened.
        validation: share of all images cut for validation when the files name none.
        test: share of all images cut for test, likewise.
        seed: of the split and of the limits.
        untested: seeds of other splits, with commas; what they put into validation is not tested here.
        workers: processes that decode files; the pixels are the same from any number.
        rows: where pixels are held, as of ``load_images``: "memory", "disk" or "auto".

    Raises:
        CounterpointError: with what was found, what was expected and the call that works.
    """
    if samples < 10:
        raise CounterpointError(
            f"samples={samples}; expected at least 10, and hundreds for figures that mean anything"
        )
    groups = None if prompts in BYS else read_groups(prompts)
    images = load_images(
        spec,
        size=size,
        image=image,
        label=label,
        captions=LEAVE_OUT if prompts in ("classes", "none") or groups else captions,
        caption=caption,
        text_encoder=text_encoder,
        limit=limit,
        evaluation_limit=evaluation_limit,
        unreadable=unreadable,
        validation=validation,
        test=test,
        seed=seed,
        untested=untested,
        workers=workers,
        rows=rows,
    )
    by = _chosen(prompts, images)
    names, of_class = (images.classes, tuple(range(len(images.classes)))) if by == "classes" else ((), ())
    if groups is not None:
        names, of_class = tuple(groups), _grouped(groups, images)
    table = torch.tensor([*of_class, -1])  # the last for images without a label
    parts = {name: PictureSet(part, table[part.labels] if by == "classes" else torch.full_like(part.labels, -1))
             for name, part in images.splits().items()}  # fmt: skip
    return Pictures(
        **parts, images=images, by=by, names=names, prompt_of_class=of_class, samples=samples, judge=judge
    )


def read_groups(text: str) -> dict[str, list[str]]:
    """Groups of classes as they are typed.

    Raises:
        CounterpointError: something else.

    >>> read_groups("even=0,2; odd=1,3")
    {'even': ['0', '2'], 'odd': ['1', '3']}
    """
    groups: dict[str, list[str]] = {}
    for part in text.split(";"):
        name, equals, members = (each.strip() for each in part.partition("="))
        classes = [each.strip() for each in members.split(",") if each.strip()]
        if not (name and equals and classes) or name in groups:
            raise CounterpointError(
                f"prompts={text}; expected one of {', '.join(BYS)}, or groups of classes: "
                + data_option("prompts", "even=0,2,4; odd=1,3,5")
            )
        groups[name] = classes
    return groups


def _chosen(prompts: str, images: Images) -> By:
    captioned = images.train.captions is not None
    if prompts == "auto":
        return "captions" if captioned else "classes" if images.classes else "none"
    if prompts == "captions" and not captioned:
        raise CounterpointError(
            f"{images.name}: prompts=captions, and there are none; put a captions.csv with the columns file and caption among the "
            "images, or take " + data_option("prompts", "classes")
        )
    if prompts not in ("captions", "none") and not images.classes:
        raise CounterpointError(
            f"{images.name}: prompts={prompts}, and the images have no labels; put them into folders, one a class, or take "
            + data_option("prompts", "none")
        )
    return "captions" if prompts == "captions" else "none" if prompts == "none" else "classes"


def _grouped(groups: dict[str, list[str]], images: Images) -> tuple[int, ...]:
    """The group of each class; a class in none has no prompt."""
    of_class = {name: -1 for name in images.classes}
    for number, members in enumerate(groups.values()):
        for member in members:
            if member not in of_class:
                raise CounterpointError(f"prompts: no class '{member}'; {nearest(member, images.classes)}")
            if of_class[member] >= 0:
                raise CounterpointError(f"prompts: class '{member}' is in two groups; name it in one")
            of_class[member] = number
    return tuple(of_class.values())


def with_prompts(
    data: Pictures, prompts: dict[str, Tensor], fakes: dict[str, Tensor] | None = None
) -> Pictures:
    """The same pictures with other tensors of prompts in each split."""
    parts: dict[str, Any] = {name: replace(part, prompts=prompts[name], fakes=None if fakes is None else fakes[name])
             for name, part in data.splits().items()}  # fmt: skip
    return replace(data, **parts)
