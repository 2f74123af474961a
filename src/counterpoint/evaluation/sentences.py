"""What a text encoder's vectors are good for without any label: finding the other half of a text, and noticing a wrong word.

N texts, L tokens, H features.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from counterpoint.errors import CounterpointError
from counterpoint.evaluation.geometry import alignment, uniformity
from counterpoint.evaluation.matching import matching_recall
from counterpoint.evaluation.text import outputs


def halves(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """The first and the second half of each text, by words.

    >>> halves(["a b c d e", "f"])
    (['a b', ''], ['c d e', 'f'])
    """
    words = [text.split() for text in texts]
    return [" ".join(w[: len(w) // 2]) for w in words], [" ".join(w[len(w) // 2 :]) for w in words]


def sentence_figures(model: nn.Module, texts: Sequence[str]) -> dict[str, float]:
    """How often a text's first half finds its second (recall at 1), and the geometry (alignment of halves, uniformity)."""
    starts, ends = halves(texts)
    first, second = outputs(model, starts), outputs(model, ends)
    numbers: dict[str, int] = {}
    same = torch.tensor([numbers.setdefault(end, len(numbers)) for end in ends])
    return {
        "retrieval": matching_recall(first, second, same=same)[0],
        "alignment": alignment(first, second),
        "uniformity": uniformity(outputs(model, texts)),
    }


@torch.no_grad()
def wrong_word_auc(
    model: nn.Module, texts: Sequence[str], share: float = 0.15, seed: int = 0, strength: float = 1e-2
) -> float:
    """How well a linear probe on token states tells words that were replaced by random others (area under the curve).

    The probe is a ridge regression on the tokens of one half of the texts, measured on those of the other. Replacements are
    drawn from the tokens of the same half, so that rarity gives nothing away: drawn from all texts, a word that one half alone
    has would be wrong wherever the other half has it, and the probe would learn the opposite of what it is measured by.

    Raises:
        CounterpointError: fewer than 4 texts.
    """
    if len(texts) < 4:
        raise CounterpointError(f"{len(texts)} texts; expected at least 4, two halves of two")
    from sklearn.metrics import roc_auc_score

    training = model.training
    model.eval()
    try:
        tokens = model.tokenize(texts)  # type: ignore[operator]
        draws = torch.Generator().manual_seed(seed)
        inner = tokens.mask.bool() & model.words.cpu()[tokens.ids]  # type: ignore[index, union-attr]
        chosen = inner & (torch.rand(tokens.ids.shape, generator=draws) < share)
        half = (torch.arange(len(texts)) % 2 == 0)[:, None].expand_as(inner)
        ids = tokens.ids.clone()
        for side in (half, ~half):
            pool = tokens.ids[inner & side]
            if len(pool):
                other = pool[torch.randint(len(pool), tokens.ids.shape, generator=draws)]
                ids = torch.where(chosen & side, other, ids)
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
        states = torch.cat(
            [
                model(i.to(device), m.to(device), out="tokens").cpu()
                for i, m in zip(ids.split(128), tokens.mask.split(128), strict=True)
            ]
        )
    finally:
        model.train(training)
    wrong = ids != tokens.ids
    x, y = states[inner & half].double(), wrong[inner & half].double()
    middle = x.mean(0)
    gram = (x - middle).T @ (x - middle) / len(x)
    ridge = strength * float(gram.diagonal().mean()) * torch.eye(len(gram), dtype=torch.float64)
    weight = torch.linalg.solve(gram + ridge, (x - middle).T @ (y - y.mean()) / len(x))
    score = (states[inner & ~half].double() - middle) @ weight
    truth = wrong[inner & ~half]
    if not (truth.any() and (~truth).any()):
        return float("nan")
    return float(roc_auc_score(np.asarray(truth), np.asarray(score)))
