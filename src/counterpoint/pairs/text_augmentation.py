"""Other wordings of texts: words from a masked language model, there and back through two translators, words that change places.

A teacher labels what comes out, so that a wording need not keep the label.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from counterpoint import library_bars
from counterpoint.errors import CounterpointError, MissingExtra
from counterpoint.models import passes
from counterpoint.models.model_folders import find


def swapped(texts: Sequence[str], share: float, generator: torch.Generator) -> list[str]:
    """Each word changes places with another one of its text with probability ``share``.

    >>> swapped(["one"], 1.0, torch.Generator()), sorted(swapped(["a b c d"], 1.0, torch.Generator())[0].split())
    (['one'], ['a', 'b', 'c', 'd'])
    """
    result = []
    for text in texts:
        words = text.split()
        chosen = torch.rand(len(words), generator=generator) < share
        others = torch.randint(max(len(words), 1), (len(words),), generator=generator)
        for index in torch.nonzero(chosen)[:, 0].tolist():
            other = int(others[index])
            words[index], words[other] = words[other], words[index]
        result.append(" ".join(words))
    return result


@torch.no_grad()
def reworded(
    texts: Sequence[str], spec: str | Path, share: float, generator: torch.Generator, top_p: float = 0.8
) -> list[str]:
    """A share of each text's tokens is drawn anew by a masked language model, from its likeliest ones of mass ``top_p``.

    Args:
        spec: a transformers folder with a masked language model, or a bundled name such as "bert-tiny".
    """
    model, tokenizer = _opened(spec, "AutoModelForMaskedLM")
    if tokenizer.mask_token_id is None:
        raise CounterpointError(f"{spec} has no mask token; give a masked language model such as bert-tiny")
    special = torch.tensor(sorted(set(tokenizer.all_special_ids)))
    result: list[str] = []
    for part in passes.over(list(texts), 64):
        given = tokenizer(list(part), padding=True, truncation=True, max_length=128, return_tensors="pt")
        ids, mask = given["input_ids"], given["attention_mask"].bool()
        free = mask & ~torch.isin(ids, special)
        gaps = free & (torch.rand(ids.shape, generator=generator) < share)
        logits = model(input_ids=ids.masked_fill(gaps, tokenizer.mask_token_id), attention_mask=given["attention_mask"]).logits  # fmt: skip
        logits[..., special] = -torch.inf
        drawn = nucleus(logits[gaps].float(), top_p, generator) if bool(gaps.any()) else ids[gaps]
        result += tokenizer.batch_decode(ids.masked_scatter(gaps, drawn), skip_special_tokens=True)
    return result


def nucleus(logits_NV: Tensor, top_p: float, generator: torch.Generator) -> Tensor:
    """Draw an entry [N] from the smallest set of likeliest ones that holds the mass ``top_p``; one at least.

    >>> nucleus(torch.tensor([[9.0, 0.0, 0.0]]), 0.5, torch.Generator()).tolist()
    [0]
    """
    ordered, index = logits_NV.softmax(1).sort(1, descending=True)
    before = ordered.cumsum(1) - ordered
    chosen = torch.multinomial(ordered.masked_fill(before >= top_p, 0), 1, generator=generator)
    return index.gather(1, chosen)[:, 0]


@torch.no_grad()
def back_translated(texts: Sequence[str], there: str | Path, back: str | Path) -> list[str]:
    """Translate texts by one model and the result back by another, each its likeliest wording.

    Args:
        there, back: transformers folders of encoder-decoders, such as two of the Marian family.
    """
    for spec in (there, back):
        model, tokenizer = _opened(spec, "AutoModelForSeq2SeqLM")
        result: list[str] = []
        for part in passes.over(list(texts), 32):
            given = tokenizer(list(part), padding=True, truncation=True, max_length=128, return_tensors="pt")
            given = {name: given[name] for name in ("input_ids", "attention_mask")}
            written = model.generate(**given, do_sample=False, max_new_tokens=128)
            result += tokenizer.batch_decode(written, skip_special_tokens=True)
        texts = result
    return list(texts)


def _opened(spec: str | Path, kind: str) -> tuple[Any, Any]:
    try:
        import transformers
    except ImportError:
        raise MissingExtra("transformers", "language") from None
    library_bars.hide("transformers")
    folder = find(spec)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = getattr(transformers, kind).from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise CounterpointError(
            f"{spec} holds no model for {kind}: {' '.join(str(error).split())[:200]}; give a folder that its save_pretrained wrote"
        ) from None
    return model.eval(), tokenizer
