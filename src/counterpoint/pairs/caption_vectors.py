"""Pairs of images and captions: the captions' vectors beside the images, made by a text encoder that stays as it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from counterpoint.data.images.captions import Captions
from counterpoint.data.images.load import Images
from counterpoint.errors import CounterpointError
from counterpoint.models.text.embedding import cached_sentence_vectors


def with_partners(images: Images) -> Images:
    """The same images with a vector beside each: those given, or those of its captions (the mean direction of several).

    Vectors of captions are made by ``images.text_encoder`` once and kept in the cache.

    Raises:
        CounterpointError: there are neither vectors nor captions.
        MissingExtra: captions, and transformers is not installed.
    """
    if images.train.partners is not None:
        return images
    parts = {name: part.captions for name, part in images.splits().items()}
    described = [captions for part in parts.values() if part is not None for captions in part]
    if not described:
        raise CounterpointError(
            f"{images.name}: this pairs every image with a text or a vector and the data has neither; put a captions.csv with the "
            "columns file and caption among the images (or --data-option captions=FILE), or give one vector per image: "
            "--data-option partners=captions.npy"
        )
    texts = sorted({text for captions in described for text in captions}, key=lambda text: (len(text), text))
    vectors = torch.from_numpy(cached_sentence_vectors(texts, images.text_encoder))
    row_of = {text: row for row, text in enumerate(texts)}

    def of(captions: Captions) -> Tensor:
        return normalize(vectors[[row_of[text] for text in captions]].mean(0), dim=0)

    made: dict[str, Any] = {
        name: replace(part, partners=torch.stack([of(captions) for captions in parts[name] or ()]))
        for name, part in images.splits().items()
    }
    return replace(images, **made)
