"""Made-up clips: every class pulses in a chord of its own, every speaker a little sharp or flat.

Steady tones would not do: features that lose each clip's mean lose those. Where nothing has to be learned, noise will do.
"""

from __future__ import annotations

import csv
import wave
from pathlib import Path

import numpy as np
import torch

from counterpoint.data.audio.clips import Audio, Clips

CLASSES = {"low": (220, 330), "middle": (440, 700), "high": (880, 1300)}
SPEAKERS = ("anna", "bruno", "carla", "dario", "elena")
NOISE_RATE = 2000


def hum(notes: tuple[int, ...], seconds: float, draw: np.random.Generator, rate: int = 8000) -> np.ndarray:
    """A chord that comes and goes, with hiss, int16."""
    time = np.arange(round(seconds * rate)) / rate
    sound = sum(np.sin(2 * np.pi * note * time) for note in notes) / len(notes)
    sound = sound * (np.sin(2 * np.pi * 10 * time) > 0)
    return (8000 * sound + 1500 * draw.normal(size=len(time))).astype(np.int16)


def write_wav(path: Path, samples: np.ndarray, rate: int = 8000) -> Path:
    """One channel of 16 bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return path


def folder(path: Path, each: int = 3, rate: int = 8000) -> Path:
    """<class>/<speaker>_<n>.wav and a metadata table beside, in another folder's name: ``path``-table.csv."""
    draw = np.random.default_rng(0)
    rows = []
    for label, notes in CLASSES.items():
        for place, speaker in enumerate(SPEAKERS):
            for number in range(each):
                tuned = tuple(round(note * (1 + 0.02 * (place - 2))) for note in notes)
                sound = hum(tuned, float(draw.uniform(0.2, 0.5)), draw, rate)
                write_wav(path / label / f"{speaker}_{number}.wav", sound, rate)
                rows.append(
                    [f"{path.name}/{label}/{speaker}_{number}.wav", label, speaker, f"{label} {number}"]
                )
    with (path.parent / "clips.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file", "label", "speaker", "text"], *rows])
    return path


def noise(classes: str) -> Audio:
    """Short noises with words, in memory: classes of one letter each, eight clips of each for training and two of each beside."""
    train, validation, test = (_noises(len(classes), each, seed) for seed, each in enumerate((8, 2, 2)))
    return Audio(train, validation, test, tuple(classes), NOISE_RATE, 1.0)


def _noises(classes: int, each: int, seed: int) -> Clips:
    draw = np.random.default_rng(seed)
    lengths = draw.integers(300, 500, size=classes * each)
    samples = (3000 * draw.normal(size=lengths.sum())).astype(np.int16)
    labels = torch.arange(len(lengths)) % classes
    words = tuple(f"word number {label}" for label in labels.tolist())
    starts = lengths.cumsum() - lengths
    return Clips(
        torch.from_numpy(samples),
        torch.from_numpy(starts),
        torch.from_numpy(lengths),
        labels,
        ("",) * len(words),
        words,
        words,
    )
