"""Opens the encoder of a transformers folder with its tokenizer; of an encoder with a decoder, T5 and its kin, the encoder alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from counterpoint import library_bars
from counterpoint.errors import CounterpointError, MissingExtra
from counterpoint.models.folders import configuration

ALONE = "EncoderModel"
"""How transformers calls the class that holds the encoder of T5, mT5 or UMT5 alone."""

TOKENIZERS = (
    "tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "spm.model", "sentencepiece.bpe.model", "tokenizer.model",
)  # fmt: skip
"""Files that hold a tokenizer's words; without any, transformers makes up a tokenizer that knows none."""


def open_encoder(folder: Path) -> tuple[Any, Any]:
    """The encoder and its tokenizer.

    Raises:
        MissingExtra: transformers is not installed.
        CounterpointError: a folder without tokenizer or padding token, or of a model that has no encoder of its own.
    """
    try:
        import transformers
        from transformers import AutoConfig, AutoModel, AutoTokenizer

        from counterpoint.models.text.elastic.narrow_bert import NarrowBertConfig, NarrowBertModel
    except ImportError:
        raise MissingExtra("transformers", "language") from None
    AutoConfig.register(NarrowBertConfig.model_type, NarrowBertConfig, exist_ok=True)
    AutoModel.register(NarrowBertConfig, NarrowBertModel, exist_ok=True)
    library_bars.hide("transformers")
    level = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()  # it would report the pooler and heads that are not wanted
    try:
        if not any((folder / name).exists() for name in TOKENIZERS):
            raise ValueError("it holds no tokenizer, and one without words of its own would be made up")
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        alone = _alone(transformers, folder)
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        if alone is None and getattr(config, "is_encoder_decoder", False):
            raise CounterpointError(
                f"{folder} holds an encoder with a decoder ({type(config).__name__}) whose encoder transformers cannot open alone; give a "
                "folder of BERT, RoBERTa, DeBERTa, MiniLM, T5 or the like"
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # a pooler that the folder lacks is drawn at random, and never used
            net = (alone or AutoModel).from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise CounterpointError(
            f"{folder} cannot be opened as a text encoder with its tokenizer: {' '.join(str(error).split())[:300]}; give a folder "
            "that save_pretrained of a transformers encoder and its tokenizer wrote"
        ) from error
    finally:
        transformers.utils.logging.set_verbosity(level)
    if not hasattr(net.config, "hidden_size"):
        raise CounterpointError(
            f"{folder} holds {type(net).__name__}, which is no encoder of text alone; give a folder of BERT, RoBERTa, DeBERTa, MiniLM, T5 or "
            "the like"
        )
    if tokenizer.pad_token_id is None:
        raise CounterpointError(
            f"the tokenizer of {type(net).__name__} has no padding token; set tokenizer.pad_token and save the folder again"
        )
    if alone is not None:
        net.config.is_encoder_decoder = False
    return net, tokenizer


def _alone(transformers: Any, folder: Path) -> Any:
    """The class of the encoder alone, where the folder's model is one with a decoder, or was saved as such an encoder."""
    architectures = configuration(folder).get("architectures") or [""]
    name = str(architectures[0])
    for ending in (ALONE, "ForConditionalGeneration", "Model", "ForSequenceClassification"):
        if name.endswith(ending):
            return getattr(transformers, name.removesuffix(ending) + ALONE, None)
    return None
