"""A model that understands speech answers with intents and transcripts, a clip of any length and rate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

import counterpoint
from counterpoint.models.audio.encoder import SmallSpeech
from counterpoint.models.audio.understanding import IntentDecoder, Understanding
from own_clips import hum, write_wav


def test_one_recording_and_a_folder_of_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = SmallSpeech(8000)
    head = IntentDecoder(encoder.num_features, ["stop", "go"], ["please", "on"], "abc", width=16)
    model = Understanding(encoder, head).eval()
    model.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "reading.json").write_text('{"kind": "audio", "seconds": 0.5}')
    draw = np.random.default_rng(0)
    wave = hum((300, 500), 1.0, draw, rate=8000)
    path = write_wav(tmp_path / "clips" / "a.wav", wave)
    opened = counterpoint.load(tmp_path / "model")
    [answer] = opened.predict(path)
    assert [{**answer, "file": "a.wav"}] == opened.predict(tmp_path / "clips")
    samples = torch.from_numpy(wave[:4000].astype(np.float32) / 32768)[None]
    with torch.no_grad():
        states = model.hidden_states(samples, torch.tensor([4000]))
        expected = model.head.intent_logits(*states).softmax(1)[0]
    assert answer["intent"] == model.classes[int(expected.argmax())]
    torch.testing.assert_close(
        torch.tensor(list(answer["probabilities"].values())), expected, rtol=1e-4, atol=1e-5
    )
    assert isinstance(answer["text"], str)
    array = {"audio": {"array": wave / 32768, "sampling_rate": 8000}}
    assert opened.predict([array])[0]["intent"] == answer["intent"]
