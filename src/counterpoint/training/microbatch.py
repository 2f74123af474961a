"""A forward pass in pieces that cannot change the loss: outputs are whole, activations are recomputed in the backward.

A batch's embeddings are small; its activations are not. So each piece runs under activation checkpointing, and the
objective sees all rows at once, contrast included. This replaces gradient accumulation, which changes every loss whose
items interact and every mean over ragged counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from counterpoint.errors import CounterpointError
from counterpoint.models import passes, sharding


def forward_in_pieces(
    model: Callable[..., Any], size: int | None, *args: Any, tokens: int | None = None, **kwargs: Any
) -> Any:
    """``model(*args, **kwargs)`` over pieces of rows along axis 0 of every tensor with the batch's row count.

    Args:
        size: rows of a piece. tokens: instead, positions of a piece: for models that say what a row costs (``row_lengths``).

    Raises:
        CounterpointError: the model normalises over the batch, so that pieces would change its output; a limit on tokens for a
            model without any.
    """
    rows = next(v.shape[0] for v in (*args, *kwargs.values()) if isinstance(v, Tensor) and v.ndim > 0)
    parts = _parts(model, rows, size, tokens, args, kwargs)
    # Where weights are in shards every process runs as many pieces; those behind its last row are empty.
    parts += [slice(rows, rows)] * (sharding.most(len(parts), model) - len(parts))
    if len(parts) == 1:
        return model(*args, **kwargs)
    if isinstance(model, nn.Module):
        refuse_batch_norm(model, "micro_batch_size" if tokens is None else "micro_batch_tokens")

    def cut(value: Any, part: slice) -> Any:
        whole = isinstance(value, Tensor) and value.ndim > 0 and value.shape[0] == rows
        return value[part] if whole else value

    outputs = []
    for number, part in enumerate(parts):
        piece = [cut(v, part) for v in args], {k: cut(v, part) for k, v in kwargs.items()}
        # The last piece keeps its activations: its backward comes first and needs no second forward.
        keep = number + 1 == len(parts) or not torch.is_grad_enabled()
        outputs.append(
            model(*piece[0], **piece[1])
            if keep
            else checkpoint(model, *piece[0], use_reentrant=False, **piece[1])
        )
    return _join(outputs)


def _parts(
    model: Any, rows: int, size: int | None, tokens: int | None, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> list[slice]:
    if tokens is None:
        step = max(rows if size is None else size, 1)
        return [slice(start, start + step) for start in range(0, max(rows, 1), step)]
    inner = getattr(model, "module", model)  # under data-parallel wrappers
    if not hasattr(inner, "row_lengths"):
        raise CounterpointError(
            f"micro_batch_tokens={tokens} is for language models; {type(inner).__name__} reads no tokens, so give "
            "micro_batch_size, in rows"
        )
    return passes.within(inner.row_lengths(*args, **kwargs), tokens)


def refuse_batch_norm(model: nn.Module, why: str) -> None:
    """Raise when a training-mode batch normalisation would see only a part of the batch."""
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training:
            raise CounterpointError(
                f"{why}: the model's '{name}' ({type(module).__name__}) averages over the batch, so a part of the batch "
                "gives other values; use a model with group or layer normalisation (norm='group'), or the whole batch"
            )


def _join(outputs: list[Any]) -> Any:
    first = outputs[0]
    if isinstance(first, Tensor):
        return torch.cat(outputs)
    if isinstance(first, Mapping):
        joined = {k: _join([o[k] for o in outputs]) for k in first if isinstance(first[k], Tensor | tuple)}
        return type(first)(**joined)
    if isinstance(first, tuple):
        return tuple(_join(list(part)) for part in zip(*outputs, strict=True))
    raise CounterpointError(
        f"a model that returns {type(first).__name__} cannot run in micro-batches; return tensors, tuples or mappings"
    )
