"""Made-up clips: every class pulses in a chord of its own, every speaker a little sharp or flat.

Steady tones would not do: features that lose each clip's mean lose those.
"""

from __future__ import annotations

import csv
import wave
from pathlib import Path

import numpy as np

CLASSES = {"low": (220, 330), "middle": (440, 700), "high": (880, 1300)}
SPEAKERS = ("anna", "bruno", "carla", "dario", "elena")


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
