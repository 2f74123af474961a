"""Texts to vectors through what the model writes about them: a rationale, then the pooled states of both."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from counterpoint.generation.sampler import Sampler
from counterpoint.models.retrieval.embedder import Embedder


@torch.no_grad()
def embed(
    encoder: Embedder, texts: Sequence[str], *, rationale: int | None = None, at_once: int = 32
) -> Tensor:
    """Return [N, D] float32 vectors of length one.

    Args:
        encoder: the model. texts: N.
        rationale: tokens that it may write about each text, greedily; 0 writes nothing; None takes the encoder's own.
        at_once: texts that go through it at a time; those of like length together.
    """
    longest = encoder.shown.rationale if rationale is None else rationale
    how = Sampler(max_new_tokens=longest, temperature=0.0) if longest else None
    training = encoder.training
    encoder.eval()
    order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
    vectors = torch.zeros(len(texts), encoder.language.head.weight.shape[1])
    try:
        for start in range(0, len(order), at_once):
            rows = order[start : start + at_once]
            prompts = encoder.prompts([texts[at] for at in rows])
            written = None if how is None else how(encoder.language, prompts)
            vectors[rows] = encoder.pool(prompts, written).float().cpu()
    finally:
        encoder.train(training)
    return vectors
