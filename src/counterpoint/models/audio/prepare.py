"""How a speech encoder enters a training: with a head, some of it frozen, at a learning rate that suits where it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import nn

from counterpoint.errors import CounterpointError
from counterpoint.models.audio.classifier import SpeechClassifier
from counterpoint.models.audio.encoder import SmallSpeech, SpeechEncoder
from counterpoint.models.audio.understanding import Understanding

Freeze = Literal["nothing", "front", "encoder"]


def speech_classifier(
    model: nn.Module, classes: Sequence[str], seed: int, freeze: Freeze = "front", adapter: int = 0
) -> SpeechClassifier:
    """A classifier in training mode, frozen as asked.

    Args:
        model: an encoder, which gets a head drawn from ``seed``, or a classifier of the same classes, which keeps its own.
        freeze: "front" a pretrained encoder's first convolutions (a small one has none), "encoder" all of it, which then
            also stays in evaluation mode.
        adapter: width of a linear layer between encoder and a new head; 0 for none.

    Raises:
        CounterpointError: no speech encoder.
    """
    if isinstance(model, SpeechClassifier) and model.classes == tuple(classes):
        net = model
    else:
        encoder = model.encoder if isinstance(model, SpeechClassifier | Understanding) else model
        if not isinstance(encoder, SpeechEncoder):
            raise CounterpointError(
                f"{type(encoder).__name__} is no speech encoder; open one with "
                "counterpoint.models.audio.pretrained.load_speech_encoder, or derive it from counterpoint.models.audio.encoder.SpeechEncoder"
            )
        net = SpeechClassifier.fresh(encoder, classes, seed, adapter)
    # A model that was just opened or measured is in evaluation mode, in which dropout would not act.
    net.train()
    if freeze == "encoder":
        net.encoder.requires_grad_(False)
        net.encoder.eval()
    elif freeze == "front" and hasattr(net.encoder, "freeze_front"):
        whole: Any = net.encoder
        whole.freeze_front()
    return net


def rate_for(encoder: nn.Module) -> float:
    """A learning rate to begin with: 1e-3 for the small encoder, 3e-5 for a pretrained one."""
    return 1e-3 if isinstance(encoder, SmallSpeech) else 3e-5
