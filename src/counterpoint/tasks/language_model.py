"""How a language model is opened and saved by the kinds of data that train one: the model options, and what is written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

from torch import nn

from counterpoint.errors import CounterpointError
from counterpoint.models.language.language import Language
from counterpoint.tasks.options import checked_load


def opened(
    dtype: Literal["fp32", "bf16"] = "fp32",
    attention: Literal["sdpa", "eager", "flash_attention_2", "flex_attention"] | None = None,
    quantization: Literal["8bit", "4bit"] | None = None,
    recompute: bool = False,
) -> dict[str, Any]:
    """Model options, as ``models.language.language.load`` takes them.

    Args:
        dtype: of the weights in memory; the saved model has its source's.
        attention: implementation of attention; transformers' choice when None.
        quantization: of a frozen base under adapters, by bitsandbytes, on a GPU.
        recompute: each block's activations are computed again in the backward pass instead of being held.
    """
    import torch

    return {
        "dtype": {"fp32": torch.float32, "bf16": torch.bfloat16}[dtype],
        "attention": attention,
        "quantization": quantization,
        "recompute": recompute,
    }


def checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """Model options given as values or as text; empty where none is given.

    Raises:
        CounterpointError: an unknown option, with the nearest name, or a value that it cannot have.

    >>> checked({"recompute": "true"})["recompute"]
    True
    >>> checked({"dtpe": "bf16"})
    Traceback (most recent call last):
    counterpoint.errors.CounterpointError: no model option 'dtpe' for a language model; did you mean 'dtype'?
    """
    return checked_load(opened, None, options, "a language model", what="model option") if options else {}


def refuse_options(spec: str, options: Mapping[str, Any]) -> None:
    """Refuse model options for a stock model, which is made and not opened."""
    if options:
        raise CounterpointError(
            f"the stock model '{spec}' takes no model options ({', '.join(options)}); leave them out, or give a folder"
        )


def save(model: nn.Module, folder: Path, form: str = "merged") -> None:
    """Write an ordinary folder: merged weights, the adapter alone, or both (the adapter in a folder ``adapter`` inside)."""
    language = cast(Language, model)
    language.save(folder, adapter=form == "adapter")
    if form == "both":
        language.save(folder / "adapter", adapter=True)
