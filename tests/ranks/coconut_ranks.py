"""Train coconut for a few steps per stage; torchrun may start several processes."""

from __future__ import annotations

from pathlib import Path

import torch

from counterpoint.methods.coconut import Coconut
from counterpoint.models.audio.encoder import SmallSpeech
from counterpoint.models.audio.lexicon import Lexicon
from counterpoint.models.audio.understanding import with_head
from own_clips import NOISE_RATE, noise
from ranks_harness import Weights, report, short_run

KEYS = ("coconut",)
FORMS = {
    "decoder": {
        "distillation": "tokens+sequence+audio",
        "memory.selection": "herding",
        "distillation.beams": 2,
    },
    "ntpt": {"contrast": "ntpt", "multimodal": "all", "contrast.self_negative": False},
    "classifier": {"head": "classifier", "distillation": "classes", "contrast": "student"},
}


def train(out: Path) -> dict[str, Weights]:
    data = noise("abcd")
    result = {}
    for name, settings in FORMS.items():
        torch.manual_seed(0)
        lexicon = Lexicon.of(data.classes, data.train.texts)
        encoder = SmallSpeech(NOISE_RATE, num_mels=10, widths=(16, 16))
        start = with_head(encoder, str(settings.get("head", "decoder")), lexicon, dropout=0.0)
        with short_run(out / name, steps=6) as run:
            method = Coconut.settings(
                tasks=2, memory=6, memory_replay_share=0.4, batch_size=7, learning_rate=1e-3, **settings
            )
            result[name] = method.fit(start, data, run).state_dict()
    return result


if __name__ == "__main__":
    report(train)
