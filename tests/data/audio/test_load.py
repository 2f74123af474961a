"""Clips from folders and tables; groups on one side; and every wrong input with what to do about it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from counterpoint.data.audio.files import Listed, quietest, read, resample
from counterpoint.data.audio.load import load_audio
from counterpoint.data.group_split import split_groups
from counterpoint.errors import CounterpointError, MissingExtra
from counterpoint.study.recommend import facts_of, suggestions
from counterpoint.tasks.audio import TASK
from counterpoint.tasks.recognise import kind_of
from own_clips import CLASSES, SPEAKERS, folder, write_wav

pytest.importorskip("soundfile")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("sounds") / "clips")


def sides(data) -> dict[str, set[str]]:
    return {name: set(part.groups) for name, part in data.splits().items()}


def test_a_folder_of_class_folders(clips):
    data = load_audio(clips, sample_rate=8000)
    assert data.classes == tuple(sorted(CLASSES))
    assert sum(len(part) for part in data.splits().values()) == 45
    assert all(len(set(part.labels.tolist())) == 3 for part in data.splits().values())
    again = load_audio(clips, sample_rate=8000)
    assert (
        again.fingerprint() == data.fingerprint() != load_audio(clips, sample_rate=8000, seed=1).fingerprint()
    )
    assert "45" not in data.describe()[0]
    assert "3 classes (high, low, middle)" in data.describe()[1]


def test_batches_are_padded_with_zeros_and_scaled(clips):
    data = load_audio(clips, sample_rate=8000)
    batch = data.train[torch.arange(len(data.train))]
    assert batch.waves.shape == (len(data.train), data.train.longest)
    assert 0.1 < float(batch.waves.abs().max()) <= 1
    for wave, length in zip(batch.waves, batch.lengths.tolist(), strict=True):
        assert not wave[length:].any()
        assert wave[length - 50 : length].any()
    assert batch.to("cpu").labels.tolist() == data.train.labels.tolist()


@pytest.mark.parametrize("group", ["prefix", "speaker"])
def test_no_group_is_on_two_sides(clips, group):
    spec = clips if group == "prefix" else clips.parent / "clips.csv"
    data = load_audio(spec, group=group, sample_rate=8000)
    found = sides(data)
    assert set().union(*found.values()) == set(SPEAKERS)
    assert sum(map(len, found.values())) == len(SPEAKERS)
    assert "none of them in validation or test" in "\n".join(data.describe())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), min_size=1, max_size=120), st.integers(0, 5)
)
def test_groups_are_never_cut(rows, seed):
    labels, groups = [f"c{c}" for c, _ in rows], [f"g{g}" for _, g in rows]
    try:
        found = split_groups(labels, groups, {"validation": 0.2, "test": 0.3}, seed)
    except CounterpointError:
        return
    sides_of = {
        group: {side for side, other in zip(found, groups, strict=True) if other == group} for group in groups
    }
    assert all(len(there) == 1 for there in sides_of.values())
    for label in set(labels):
        assert {side for side, own in zip(found, labels, strict=True) if own == label} == {
            "train",
            "validation",
            "test",
        }


def test_rows_in_another_order_are_split_alike():
    labels, groups = list("aaaabbbbcccc"), list("123456789xyz")
    found = dict(zip(groups, split_groups(labels, groups, {"test": 0.25}, 3), strict=True))
    turned = split_groups(labels[::-1], groups[::-1], {"test": 0.25}, 3)
    assert found == dict(zip(groups[::-1], turned, strict=True))


def test_named_splits_are_kept(tmp_path, clips):
    for number, name in enumerate(("train", "validation", "test")):
        for label in CLASSES:
            for speaker in SPEAKERS[:3]:
                source = clips / label / f"{speaker}_{number}.wav"
                target = tmp_path / "own" / name / label / source.name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(source.read_bytes())
    data = load_audio(tmp_path / "own", sample_rate=8000)
    assert [len(part) for part in data.splits().values()] == [9, 9, 9]
    data = load_audio(tmp_path / "own", sample_rate=8000, group="prefix")
    assert "warning: 9 validation and 9 test clips are of a prefix that training hears" in "\n".join(
        data.describe()
    )


def test_tables_with_texts_and_splits(tmp_path, clips):
    rows = [
        {"file_name": str(file), "label": file.parent.name, "transcription": "hm", "split": split}
        for file, split in zip(sorted(clips.rglob("*.wav")), ["train", "dev", "test"] * 15, strict=True)
    ]
    (tmp_path / "own").mkdir()
    (tmp_path / "own/metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = load_audio(tmp_path / "own", sample_rate=8000)
    assert [len(part) for part in data.splits().values()] == [15, 15, 15]
    assert set(data.test.texts) == {"hm"}
    assert (
        kind_of(str(tmp_path / "own"))
        == kind_of(str(clips))
        == kind_of(str(clips.parent / "clips.csv"))
        == "audio"
    )


def test_one_speaker_held_out_and_limits(clips):
    data = load_audio(clips.parent / "clips.csv", held_out="speaker=anna", group="speaker", sample_rate=8000)
    assert sides(data)["test"] == {"anna"}
    few = load_audio(clips, per_class=2, sample_rate=8000)
    assert Counter(few.train.labels.tolist()) == {0: 2, 1: 2, 2: 2}
    assert few.test.labels.tolist() == load_audio(clips, sample_rate=8000).test.labels.tolist()
    assert len(load_audio(clips, limit=5, sample_rate=8000).train) == 5
    two = load_audio(clips, classes="low, high", sample_rate=8000)
    assert two.classes == ("high", "low")


def test_rates_are_brought_to_one(tmp_path, clips):
    own = folder(tmp_path / "own", rate=16000)
    for file in clips.rglob("elena*.wav"):
        (own / file.parent.name / file.name).write_bytes(file.read_bytes())
    data = load_audio(own, sample_rate=8000)
    assert "recorded at 8000 Hz (9 files), 16000 Hz (36 files); brought to 8000 Hz" in "\n".join(
        data.describe()
    )
    time = np.arange(16000) / 16000
    found = resample(np.sin(2 * np.pi * 300 * time).astype(np.float32), 16000, 8000)
    assert np.abs(found - np.sin(2 * np.pi * 300 * np.arange(8000) / 8000))[100:-100].max() < 0.01


def test_long_clips_keep_their_start_or_their_quietest_stretch(clips):
    start = load_audio(clips, seconds=0.1, sample_rate=8000)
    assert start.train.longest == 800
    assert "clips were longer than 0.1 seconds; the start was kept" in "\n".join(start.describe())
    quiet = load_audio(clips, seconds=0.1, part="quiet", sample_rate=8000)
    assert quiet.train.samples.float().square().mean() < start.train.samples.float().square().mean()
    naive = np.random.default_rng(0).normal(size=300)
    energies = [np.square(naive[s : s + 40]).sum() for s in range(0, 261, 4)]
    assert np.array_equal(quietest(naive, 40), naive[4 * int(np.argmin(energies)) :][:40])


def test_what_is_not_kept_is_not_needed(tmp_path):
    sound = np.random.default_rng(0).normal(0, 3000, 24000).astype(np.int16)
    listed = [Listed(write_wav(tmp_path / "long.wav", sound), {}, None)]
    found = read(listed, 16000, 0.5)
    wanted = resample(sound.astype(np.float32) / 32768, 8000, 16000)[:8000]
    assert found.cut == 1
    assert np.abs(found.waves[0] / 32767 - wanted).max() < 1e-4


def test_copies_go_to_one_side(tmp_path, clips):
    own = folder(tmp_path / "own")
    for file in list(own.rglob("*_0.wav")):
        file.with_name(f"copy_of_{file.name}").write_bytes(file.read_bytes())
    data = load_audio(own, sample_rate=8000)
    assert not any("sample for sample" in line for line in data.describe())
    data = load_audio(own, sample_rate=8000, group="prefix")  # groups tell otherwise
    assert any("are sample for sample in train too" in line for line in data.describe())


WRONG = {
    "unreadable": (lambda f: (f / "low/x.wav").write_bytes(b"noise"), {}, r"x\.wav.*unreadable=skip"),
    "empty": (lambda f: write_wav(f / "low/x.wav", np.zeros(0, np.int16)), {}, r"x\.wav \(no samples\)"),
    "no class": (lambda f: write_wav(f / "x.wav", np.ones(99, np.int16)), {}, "lies in no class folder"),
    "column": (lambda f: None, {"label": "accent"}, "has no column 'accent'.*known: folder, label, prefix"),
    "class": (lambda f: None, {"classes": "low,hihg"}, "did you mean 'high'"),
    "one class": (lambda f: None, {"classes": "low"}, "expected at least two classes"),
    "group": (lambda f: None, {"group": "folder"}, "has no folder"),
    "held out": (lambda f: None, {"held_out": "prefix=ana"}, "did you mean 'anna'"),
    "shares": (lambda f: None, {"test": 0.95}, "shares above 0"),
    "seconds": (lambda f: None, {"seconds": 0.0}, "seconds above 0"),
    "limit": (lambda f: None, {"per_class": 0}, "per_class=0; expected a positive"),
    "option": (lambda f: None, {"secnds": 3}, "did you mean 'seconds'"),
    "type": (lambda f: None, {"seconds": "long"}, "data option seconds='long'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_met_with_what_to_do(tmp_path, name):
    spoil, options, message = WRONG[name]
    own = folder(tmp_path / "own", each=2)
    spoil(own)
    with pytest.raises(CounterpointError, match=f"(?s){message}"):
        TASK.load_data(str(own), **{"sample_rate": 8000, **options})


def test_unreadable_files_can_be_left_out(tmp_path):
    own = folder(tmp_path / "own")
    (own / "low/x.wav").write_bytes(b"noise")
    assert any("left out" in line for line in load_audio(own, unreadable="skip", sample_rate=8000).describe())


def test_a_class_of_too_few_groups_is_named(tmp_path):
    own = folder(tmp_path / "own")
    for file in own.rglob("low/*.wav"):
        if not file.name.startswith(("anna", "bruno")):
            file.unlink()
    with pytest.raises(
        CounterpointError, match=r"class 'low' has 2 groups by prefix \(anna, bruno\).*at least 3"
    ):
        load_audio(own, group="prefix", sample_rate=8000)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label\nlow\n", "none is called file"),
        ("file,label\nx.wav,low\n", r"row 1: there is no file 'x\.wav'"),
        ("file,tone\nclips/low/anna_0.wav,low\n", "name the column of labels: --data-option label=tone"),
        ("file,label\nclips/low/anna_0.wav,\n", "has no label"),
        ("file,label,split\nclips/low/anna_0.wav,low,trian\n", "did you mean 'train'"),
    ],
)
def test_tables_teach(tmp_path, text, message):
    folder(tmp_path / "clips", each=1)
    (tmp_path / "own.csv").write_text(text)
    with pytest.raises(CounterpointError, match=message):
        load_audio(tmp_path / "own.csv", sample_rate=8000)


def test_nothing_there_and_no_reader(tmp_path, monkeypatch):
    with pytest.raises(CounterpointError, match="does not exist; expected a folder of class folders"):
        load_audio(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CounterpointError, match="no sound files"):
        load_audio(tmp_path / "empty")
    own = folder(tmp_path / "own", each=1)
    monkeypatch.setitem(__import__("sys").modules, "soundfile", None)
    with pytest.raises(MissingExtra, match=r"counterpoint\[audio\]"):
        load_audio(own)


def test_methods_are_suggested(clips):
    facts = facts_of("audio", load_audio(clips, sample_rate=8000))
    assert (facts.classes, facts.labelled) == (3, facts.rows)
    assert suggestions(facts, {"speech-varieties", "audio-classifier"})[0].key == "speech-varieties"


def test_telephone_gsm_is_read_whole_and_in_part(tmp_path: Path) -> None:
    """It has no header, so its length shows only at its end."""
    soundfile = pytest.importorskip("soundfile")
    from counterpoint.data.audio import files as audio_files

    wave = np.sin(np.arange(8000 * 40) * 0.3 * (1 + np.arange(8000 * 40) / 4e5)).astype(np.float32)
    path = tmp_path / "long.gsm"
    soundfile.write(path, wave, 8000, format="RAW", subtype="GSM610")
    whole, rate, floats, channels = audio_files._decode(path, None)
    assert (rate, floats, channels) == (8000, False, 1)
    assert len(whole) == len(wave)
    part, *_ = audio_files._decode(path, 1.0)
    assert np.array_equal(part, whole[: len(part)])
    assert len(part) == 8001
