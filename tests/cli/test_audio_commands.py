"""Clips on the command line: suggestions, wrong input as one message that says what to do, nothing half-written."""

from __future__ import annotations

import json

import pytest

from own_clips import folder, write_wav

pytest.importorskip("soundfile")


@pytest.fixture
def clips(tmp_path):
    return folder(tmp_path / "clips", each=4)


def refused(done, out, *says):
    assert done.exit_code == 2, done.output
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    for part in says:
        assert part in done.stderr
    assert not out.exists()


def run(cli, data, out, *more):
    return cli("run", "speech-varieties", "--data", data, "--steps", "2", "--out", out, *more)


def test_methods_are_recommended_for_clips(cli, clips):
    done = cli("recommend", "--data", clips)
    assert done.exit_code == 0, done.output
    assert done.output.index("speech-varieties") < done.output.index("audio-classifier")


def test_a_damaged_clip_is_named(cli, clips, tmp_path):
    (clips / "low/broken.wav").write_bytes(b"RIFF")
    refused(run(cli, clips, tmp_path / "out"), tmp_path / "out", "broken.wav", "unreadable=skip")


def test_one_class_and_no_class(cli, clips, tmp_path):
    refused(
        run(cli, clips, tmp_path / "out", "--data-option", "classes=low"),
        tmp_path / "out",
        "at least two classes",
    )
    write_wav(clips / "lost.wav", __import__("numpy").ones(900, "int16"))
    refused(run(cli, clips, tmp_path / "out"), tmp_path / "out", "lost.wav lies in no class folder")


def test_misspelt_options_and_settings(cli, clips, tmp_path):
    out = tmp_path / "out"
    refused(run(cli, clips, out, "--data-option", "gruop=prefix"), out, "did you mean 'group'")
    refused(run(cli, clips, out, "--contrast", "tripplet"), out, "contrast", "tripplet")
    refused(run(cli, clips, out, "--wieght", "2"), out, "did you mean 'weight'")


@pytest.mark.parametrize(
    "content", [{}, {"config.json": "{"}, {"config.json": json.dumps({"architecture": "Oven"})}]
)
def test_a_folder_without_a_speech_encoder(cli, clips, tmp_path, content):
    model, out = tmp_path / "model", tmp_path / "out"
    model.mkdir()
    for name, text in content.items():
        (model / name).write_text(text)
    refused(run(cli, clips, out, "--model", model), out, str(model))


def test_a_model_for_another_rate(cli, clips, tmp_path):
    done = run(cli, clips, tmp_path / "one", "--data-option", "sample_rate=8000", "--batch-size", "8")
    assert done.exit_code == 0, done.output
    out = tmp_path / "two"
    refused(run(cli, clips, out, "--model", tmp_path / "one/model"), out, "sample_rate=8000")
