"""Train coconut for a few steps per stage and write weights and the stages' table; torchrun may start several processes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from counterpoint.data.audio import Audio, Clips
from counterpoint.methods.coconut import Coconut
from counterpoint.models.lexicon import Lexicon
from counterpoint.models.speech import SmallSpeech
from counterpoint.models.understanding import with_head
from counterpoint.training import Budget, Run

FORMS = {
    "decoder": {"distillation": "tokens+sequence+audio", "selection": "herding", "beams": 2},
    "ntpt": {"contrast": "ntpt", "multimodal": "all", "self_negative": False},
    "classifier": {"head": "classifier", "distillation": "classes", "contrast": "student"},
}


def clips(per_class: int, seed: int) -> Clips:
    draw = np.random.default_rng(seed)
    sizes = [int(draw.integers(300, 500)) for _ in range(4 * per_class)]
    waves = [(3000 * draw.normal(size=size)).astype(np.int16) for size in sizes]
    lengths = torch.tensor(sizes)
    labels = torch.arange(len(waves)) % 4
    words = tuple(f"word number {label}" for label in labels.tolist())
    starts = torch.cumsum(lengths, 0) - lengths
    samples = torch.from_numpy(np.concatenate(waves))
    return Clips(samples, starts, lengths, labels, ("",) * len(waves), words, words)


def main(out: Path) -> None:
    torch.set_num_threads(1)
    data = Audio(clips(8, 0), clips(2, 1), clips(2, 2), tuple("abcd"), 2000, 1.0)
    result = {}
    for name, settings in FORMS.items():
        torch.manual_seed(0)
        lexicon = Lexicon.of(data.classes, data.train.texts)
        encoder = SmallSpeech(2000, num_mels=10, widths=(16, 16))
        start = with_head(encoder, str(settings.get("head", "decoder")), lexicon, dropout=0.0)
        with Run(out / name, seed=1, budget=Budget(steps=6), progress=False) as run:
            method = Coconut.settings(
                tasks=2, memory=6, replay_share=0.4, batch_size=7, learning_rate=1e-3, **settings
            )
            trained = method.fit(start, data, run)
            world, rank = run.world, run.rank
        result[name] = trained.state_dict()
    if rank == 0:
        torch.save({"world": world, "result": result}, out / "result.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
