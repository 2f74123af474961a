"""Bands made once are those made in every batch, for clips of any length and beside any others."""

from __future__ import annotations

import numpy as np
import torch

from counterpoint.data.audio.clips import Audio, Clips
from counterpoint.models.audio.encoder import SmallSpeech
from counterpoint.pairs.mel_cache import Bands, cached_bands


def clips(count: int, seed: int) -> Clips:
    draw = np.random.default_rng(seed)
    waves = [(3000 * draw.normal(size=int(draw.integers(20, 900)))).astype(np.int16) for _ in range(count)]
    lengths = torch.tensor([len(wave) for wave in waves])
    names = tuple(map(str, range(count)))
    starts = torch.cumsum(lengths, 0) - lengths
    return Clips(
        torch.from_numpy(np.concatenate(waves)), starts, lengths, torch.arange(count), names, names, names
    )


def test_an_encoder_hears_the_same() -> None:
    torch.manual_seed(0)
    model = SmallSpeech(2000, num_mels=10, widths=(16, 16)).eval()
    data = Audio(clips(9, 0), clips(3, 1), clips(4, 2), tuple(map(str, range(9))), 2000, 1.0)
    once = cached_bands(model, data)
    assert isinstance(once.train, Bands)
    for index in (torch.tensor([3, 0, 8]), torch.tensor([5])):
        wave, bands = data.train[index], once.train[index]
        for one, other in zip(
            model.frames(wave.waves, wave.lengths), model.frames(bands.waves, bands.lengths), strict=True
        ):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
        assert torch.equal(wave.labels, bands.labels)
    part = once.train.subset(torch.tensor([2, 7]))
    assert isinstance(part, Bands)
    assert part.texts == ("2", "7")
    assert torch.equal(part[torch.tensor([1])].waves, once.train[torch.tensor([7])].waves)


def test_other_models_hear_the_clips_as_they_are() -> None:
    data = Audio(clips(9, 0), clips(3, 1), clips(4, 2), tuple(map(str, range(9))), 2000, 1.0)
    assert cached_bands(torch.nn.Linear(2, 2), data) is data
