"""How far a text classifier's probabilities can be trusted, and how much they hang on the exact input. N texts, C classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.models.text.encoder import TextClassifier
from counterpoint.objectives.labels.adversarial import disturbed


def calibration_error(logits: Tensor, labels: Tensor, bins: int = 10) -> float:
    """Expected calibration error: mean gap between confidence and accuracy over bins of equal width, weighed by their size.

    Args:
        logits: [N, C]. labels: [N].

    >>> calibration_error(torch.tensor([[9.0, 0.0], [9.0, 0.0]]), torch.tensor([0, 1])) > 0.49
    True
    """
    if not len(labels):
        raise CounterpointError("no labelled text, so that confidence cannot be compared with anything")
    confidence, predicted = torch.softmax(logits.double(), 1).max(1)
    right = (predicted == labels).double()
    bin_index = (confidence * bins).long().clamp(max=bins - 1)
    gap = torch.zeros(bins, dtype=torch.float64).index_add_(0, bin_index, confidence - right)
    return float(gap.abs().sum() / len(labels))


@torch.no_grad()
def answer_change(model: TextClassifier, texts: Sequence[str], std: float = 0.3, seed: int = 0) -> float:
    """Mean total variation between the answers with and without normal noise on the normalised embeddings."""
    size = 128
    training = model.training
    model.eval()
    draws = torch.Generator().manual_seed(seed)
    device = next(model.parameters()).device
    changes = []
    try:
        for start in range(0, len(texts), size):
            tokens = model.tokenize(texts[start : start + size]).to(device)
            embeddings = model.embed(tokens.ids)
            noise = std * torch.randn(embeddings.shape, generator=draws).to(device)
            clean = model(tokens.ids, tokens.mask, out="logits")
            noisy = model(tokens.ids, tokens.mask, embedded=disturbed(embeddings, noise), out="logits")
            changes.append((torch.softmax(clean, 1) - torch.softmax(noisy, 1)).abs().sum(1).cpu() / 2)
    finally:
        model.train(training)
    return float(torch.cat(changes).mean())
