"""Sound as it is meant: floats beyond 1, files that were cut off; whatever is no sound is named."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from counterpoint.data.audio.files import Listed, read
from counterpoint.data.audio.load import load_audio
from counterpoint.errors import CounterpointError

RATE = 8000


def tone(peak: float, number: int = 0) -> np.ndarray:
    """A quarter of a second."""
    return (peak * np.sin(np.arange(RATE // 4) * (0.1 + 0.01 * number))).astype(np.float32)


def clips(folder: Path, peak: float, subtype: str) -> None:
    """Two classes of ten clips."""
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for k in range(10):
            soundfile.write(
                folder / name / f"{name}{k}.wav", tone(peak, k + (name == "b")), RATE, subtype=subtype
            )


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize("peak", [1.5, 32767.0])
def test_floats_beyond_one_are_brought_down_and_said(tmp_path: Path, peak: float, subtype: str) -> None:
    clips(tmp_path, peak, subtype)
    audio = load_audio(tmp_path, sample_rate=RATE)
    assert (audio.train.samples.abs() >= 32767).float().mean() < 0.01
    assert any("20 clips hold floats beyond 1" in line for line in audio.describe())


def test_quiet_floats_and_whole_numbers_stay_as_they_are(tmp_path: Path) -> None:
    for subtype in ("FLOAT", "PCM_16"):
        clips(tmp_path / subtype, 0.5, subtype)
        audio = load_audio(tmp_path / subtype, sample_rate=RATE)
        assert int(audio.train.samples.abs().max()) in range(16300, 16400)
        assert not any("beyond" in line for line in audio.describe())


def test_files_that_were_cut_off_are_all_named(tmp_path: Path) -> None:
    clips(tmp_path, 0.5, "PCM_16")
    for k in range(5):
        file = tmp_path / "a" / f"a{k}.wav"
        file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CounterpointError, match="100 bytes of sound are missing") as error:
        load_audio(tmp_path, sample_rate=RATE)
    assert all(f"a{k}.wav" in str(error.value) for k in range(5))


def test_random_and_truncated_files_are_named_or_read(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    stream = io.BytesIO()
    soundfile.write(stream, tone(0.5)[:200], RATE, format="WAV", subtype="PCM_16")
    listed = []
    for number in range(1000):
        content = bytearray(stream.getvalue())
        for _ in range(int(draws.integers(1, 6))):
            content[int(draws.integers(60))] = int(draws.integers(256))
        content = content[: int(draws.integers(len(content)))] if number % 3 == 0 else content
        file = tmp_path / f"{number}.wav"
        file.write_bytes(draws.bytes(64) if number % 10 == 0 else content)
        listed.append(Listed(file, {}, None))
    found = read(listed, RATE, 1.0)
    assert len(found.waves) + len(found.unreadable) == 1000
    assert found.unreadable


def test_channels_that_are_averaged_are_said(tmp_path: Path) -> None:
    clips(tmp_path, 0.5, "PCM_16")
    assert not any("recorded in" in line for line in load_audio(tmp_path, sample_rate=RATE).describe())
    for name, channels in (("a", 2), ("b", 6)):
        for k in range(4):
            wave = np.repeat(tone(0.5, k + (name == "b"))[:, None], channels, axis=1)
            soundfile.write(tmp_path / name / f"{name}{k}.wav", wave, RATE)
    audio = load_audio(tmp_path, sample_rate=RATE)
    assert (
        "recorded in 2 channels (4 files), 6 channels (4 files); their mean is the one channel that is used"
        in audio.describe()
    )


def test_channels_that_cancel_one_another_leave_silence_and_it_is_said(tmp_path: Path) -> None:
    clips(tmp_path, 0.3, "PCM_16")
    wave = tone(0.3)
    soundfile.write(tmp_path / "a" / "x.wav", np.stack([wave, 1e-6 - wave], 1), RATE, subtype="FLOAT")
    said = load_audio(tmp_path, sample_rate=RATE).describe()
    assert any("1 clip holds only silence" in line and "x.wav" in line for line in said)
