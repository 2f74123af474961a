"""Vectors of questions and of their pictures, by which counterparts are looked for. N rows, d wide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from counterpoint.conversation import pictures_of, turns
from counterpoint.data.language.problem import Problem
from counterpoint.models.images.encoders import load_encoder
from counterpoint.models.language.vision.pictures import opened
from counterpoint.models.text.embedding import cached_sentence_vectors
from counterpoint.pairs.demonstrations import tfidf

SIDE = 16
"""Pixels a side of what "pixels" compares."""
USUAL = 224
"""Pixels a side that pretrained encoders see; those that say another size bring pictures to it themselves."""
AT_ONCE = 32


def picture_of(problem: Problem) -> dict[str, Any]:
    """The one picture of a problem, as a part of its message."""
    return pictures_of(turns(problem.prompt))[-1]


def question_vectors(texts: Sequence[str], encoder: str) -> Tensor:
    """[N, d], one a text; equal texts are embedded once.

    Args:
        texts: N questions.
        encoder: "minilm", "tfidf" (character trigrams, no model), or the folder of a sentence encoder.
    """
    distinct = sorted(set(texts))
    if encoder == "tfidf":
        vectors = torch.from_numpy(np.asarray(tfidf(distinct).todense()))  # type: ignore[attr-defined]
    else:
        spec = {} if encoder == "minilm" else {"spec": encoder}
        vectors = torch.from_numpy(cached_sentence_vectors(distinct, **spec))
    row_of = {text: row for row, text in enumerate(distinct)}
    return vectors[[row_of[text] for text in texts]]


def picture_vectors(problems: Sequence[Problem], encoder: str) -> Tensor:
    """[N, d], one a problem; equal pictures are embedded once.

    Args:
        problems: N, of one picture each.
        encoder: "pixels" (small pictures as they are, less their mean), "efficientnet-lite0", or the folder of a vision model, one
            of transformers or one that a method of this package trained.

    Raises:
        CounterpointError: no such encoder, or a picture that cannot be read.
    """
    parts = {part["sha256"]: part["image"] for part in map(picture_of, problems)}
    names = sorted(parts)
    read = [parts[name] for name in names]
    if encoder == "pixels":
        rows = torch.cat([_pixels([source], SIDE).flatten(1) for source in read])
        vectors = rows - rows.mean(0)
        if len(rows) == 1:
            vectors = rows
    else:
        vectors = _encoded(read, encoder)
    row_of = {name: row for row, name in enumerate(names)}
    return vectors[[row_of[picture_of(problem)["sha256"]] for problem in problems]]


@torch.no_grad()
def _encoded(sources: Sequence[str], encoder: str) -> Tensor:
    net = load_encoder(encoder, (3, USUAL, USUAL), statistics=([0.5] * 3, [0.5] * 3)).eval()
    side = getattr(net, "side", None) or USUAL
    parts = [sources[at : at + AT_ONCE] for at in range(0, len(sources), AT_ONCE)]
    return torch.cat([net(_pixels(part, side)).flatten(1) for part in parts])


def _pixels(sources: Sequence[str], side: int) -> Tensor:
    """[B, 3, side, side] in [0, 1]."""
    arrays = [np.asarray(opened(source).resize((side, side))) for source in sources]
    return torch.from_numpy(np.stack(arrays)).movedim(-1, 1).float() / 255
