"""The loss of a head that names intents: of what a decoder says, the intent first and then the words, or of the intent alone.

N clips, T tokens, C intents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from counterpoint.kernels.vocabulary import log_probs
from counterpoint.models.audio.understanding import IntentDecoder, IntentHead
from counterpoint.objectives.reduction import Loss
from counterpoint.objectives.tokens import aggregate


def intent_loss(
    head: IntentHead,
    out: Mapping[str, Tensor],
    labels: Tensor,
    ids: Tensor,
    mask: Tensor,
    seen: Sequence[int],
) -> Loss:
    """Of a decoder the cross-entropy of its target's tokens, mean over all of the batch; of a classifier, of the intent.

    Args:
        head: says which.
        out: ``hidden`` [N, T, W] of a decoder, ``intents`` [N, C] of a classifier.
        labels: [N]. ids, mask: [N, T], the targets.
        seen: the intents that a classifier chooses among; every label is one of them.

    >>> from counterpoint.models.audio.understanding import IntentClassifier
    >>> head, scores = IntentClassifier(8, ["a", "b", "c"]), torch.tensor([[0.0, 9.0, 0.0]])
    >>> ids = torch.ones(1, 1, dtype=torch.long)
    >>> loss = intent_loss(head, {"intents": scores}, torch.tensor([2]), ids, ids > 0, seen=[2, 0])
    >>> float(loss.values.exp())  # one of two that score alike; the third is not asked
    2.0
    """
    if isinstance(head, IntentDecoder):
        return aggregate(-log_probs(head.scores(out["hidden"]), ids, mask=mask), mask)
    classes = torch.tensor(list(seen), device=labels.device)
    target = (labels[:, None] == classes).long().argmax(1)
    return Loss(cross_entropy(out["intents"][:, classes], target, reduction="none"))
