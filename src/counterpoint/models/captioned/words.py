"""Tokens of whole words, for small models of captions made from nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError, MissingExtra

WORD = re.compile(r"\w+|[^\w\s]")
PAD, UNKNOWN = 0, 1


def vocabulary(captions: Iterable[str], most: int = 20_000) -> tuple[str, ...]:
    """The words of captions, the most frequent first, in small letters.

    >>> vocabulary(["One left of two", "two left"])
    ('left', 'two', 'of', 'one')
    """
    counts = Counter(word for text in captions for word in WORD.findall(text.casefold()))
    return tuple(word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most])


def word_ids(captions: Sequence[str], words: Sequence[str], length: int) -> Tensor:
    """[N, length]: 0 behind a caption's end, 1 for a word that is not known, else 2 and more.

    Raises:
        CounterpointError: a caption of more words.

    >>> word_ids(["two left!"], ("left", "two"), 4).tolist()
    [[3, 2, 1, 0]]
    """
    number_of = {word: number + 2 for number, word in enumerate(words)}
    ids = torch.full((len(captions), length), PAD)
    for row, text in enumerate(captions):
        numbers = [number_of.get(word, UNKNOWN) for word in WORD.findall(text.casefold())]
        require_length(text, len(numbers), length)
        ids[row, : len(numbers)] = torch.tensor(numbers, dtype=torch.long)
    return ids


def require_length(text: str, tokens: int, most: int) -> None:
    """Refuse a caption that a model cannot read whole.

    Raises:
        CounterpointError: with its beginning and both lengths.
    """
    if tokens > most:
        raise CounterpointError(
            f"the caption '{text[:60]}...' has {tokens} tokens and the model reads {most}; shorten it, or leave its image out"
        )


def word_tokenizer(words: Sequence[str]) -> Any:
    """A tokenizer of transformers: ``<pad>``, ``<s>``, ``<unk>``, the words, ``</s>`` last, as CLIP pools at the highest number.

    >>> word_tokenizer(("left", "two"))("Two left").input_ids
    [1, 4, 3, 5]
    >>> word_tokenizer(("left", "left", "two"))("two").input_ids  # a word that stands twice is one
    [1, 4, 5]
    """
    try:
        import tokenizers
        from transformers import PreTrainedTokenizerFast
    except ImportError:
        raise MissingExtra("transformers", "images") from None
    entries = list(
        dict.fromkeys(["<pad>", "<s>", "<unk>", *(word for word in words if word != "</s>"), "</s>"])
    )
    numbers = {token: number for number, token in enumerate(entries)}
    raw = tokenizers.Tokenizer(tokenizers.models.WordLevel(numbers, unk_token="<unk>"))
    raw.normalizer = tokenizers.normalizers.Lowercase()
    raw.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    raw.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", len(entries) - 1)]
    )
    raw.add_special_tokens(["<pad>", "<s>", "<unk>", "</s>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
