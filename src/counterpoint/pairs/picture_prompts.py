"""Pairs of pictures and prompts: captions become vectors here; and every prompt gets one that stands for a model's own pictures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from counterpoint.data.images.captions import Captions
from counterpoint.data.images.sets import Images
from counterpoint.data.pictures.load import Pictures, with_prompts
from counterpoint.pairs.caption_vectors import with_partners

FAKE = "fake image"
"""What is appended to a caption for the prompt of the model's own pictures (Self-E 2512.22374, appendix S.2)."""


def prompted(data: Pictures, fakes: bool = False) -> Pictures:
    """The same pictures with prompts that a model reads.

    Args:
        fakes: whether prompts for the model's own pictures are needed, too: of class k of K the number K + k, of a caption the
            vector of "caption, fake image". No prompt stays none.

    Raises:
        MissingExtra: captions, and transformers is not installed.
    """
    parts = data.splits()
    if data.by != "captions":
        prompts = {name: part.prompts for name, part in parts.items()}
        count = len(data.names)
        of_fakes = {name: (given + count).where(given >= 0, given) for name, given in prompts.items()}
        return with_prompts(data, prompts, of_fakes) if fakes else data
    if data.train.prompts.is_floating_point() and (not fakes or data.train.fakes is not None):
        return data

    def vectors(images: Images) -> dict[str, Any]:
        return {name: part.partners for name, part in with_partners(images).splits().items()}

    return with_prompts(data, vectors(data.images), vectors(_faked(data.images)) if fakes else None)


def _faked(images: Images) -> Images:
    def of(captions: tuple[Captions, ...] | None) -> tuple[Captions, ...]:
        return tuple(tuple(f"{text}, {FAKE}" for text in each) for each in captions or ())

    parts: dict[str, Any] = {
        name: replace(part, captions=of(part.captions)) for name, part in images.splits().items()
    }
    return replace(images, **parts)
