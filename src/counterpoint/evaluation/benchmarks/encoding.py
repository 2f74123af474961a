"""Any of our text encoders as one function from texts to vectors of length one. N texts, H features."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn import functional

from counterpoint.errors import CounterpointError
from counterpoint.evaluation.text import outputs
from counterpoint.generation.rationales import embed
from counterpoint.models import passes
from counterpoint.models.retrieval.embedder import Embedder

Encode = Callable[[Sequence[str]], Tensor]


def encoder_of(model: nn.Module, benchmark: str) -> Encode:
    """What gives [N, H] float32 vectors of texts.

    Args:
        model: an encoder of texts, a classifier's own among them, or a language model as an encoder. benchmark: its name, for messages.

    Raises:
        CounterpointError: a model that gives no vectors of texts.

    >>> import torch
    >>> from counterpoint.models.text.folder import fresh_words
    >>> encoder_of(fresh_words(["tea", "milk"], 0, seed=0), "beir:food")(["tea", "milk and tea"]).norm(dim=1).round(decimals=6)
    tensor([1., 1.])
    """
    if isinstance(model, Embedder):
        return lambda texts: embed(model, texts, at_once=passes.at_once(32))
    if hasattr(model, "tokenize") and hasattr(model, "num_features"):
        return lambda texts: functional.normalize(
            outputs(model, texts, passes.at_once(256)), dim=1, eps=1e-12
        )
    raise CounterpointError(
        f"{benchmark} is of text encoders, and this model is a {type(model).__name__}; give a method that trains one (counterpoint list)"
    )
