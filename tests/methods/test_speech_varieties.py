"""Speech varieties and its baseline: they learn, resume, ignore micro-batches, come back from folders, and refuse nonsense."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, silhouette_score

from counterpoint.data.audio.load import Audio, load_audio
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.speech import macro_f1, tables, vectors
from counterpoint.methods.catalog import load
from counterpoint.models.audio.classifier import SpeechClassifier
from counterpoint.models.audio.encoder import SmallSpeech
from counterpoint.pairs.class_batches import ClassBatches
from counterpoint.pairs.sound_views import roughened
from counterpoint.tasks.audio import TASK
from counterpoint.training import Budget, Run
from counterpoint.training.batches import ItemRandom
from own_clips import folder

pytest.importorskip("soundfile")

SMALL = {"batch_size": 12, "per_class": 4, "learning_rate": 3e-3}
METHODS = [
    ("audio-classifier", SMALL),
    ("speech-varieties", SMALL),
    ("speech-varieties", {**SMALL, "contrast": "supcon", "use": "pretraining", "projection": 8}),
    ("speech-varieties", {**SMALL, "contrast": "triplet", "noise": 0.1, "freeze": "encoder", "adapter": 16}),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Audio:
    return load_audio(
        folder(tmp_path_factory.mktemp("own") / "clips", each=4), group="prefix", sample_rate=8000
    )


def fit(out, data, key, settings, steps=6, model="conv-speech", run_class=Run, **options):
    with run_class(out, seed=1, budget=Budget(steps=steps), progress=False, **options) as run:
        return load(key).settings(**settings).fit(TASK.load_model(model, data, 1), data, run)


class Killed(Exception):
    pass


class Dying(Run):
    def step(self, losses, **options):
        if self.cursor.spent["steps"] == 4:
            raise Killed
        return super().step(losses, **options)


@pytest.mark.parametrize(("key", "settings"), METHODS)
def test_an_interrupted_run_ends_with_the_same_bits(tmp_path, data, key, settings):
    whole = fit(tmp_path / "whole", data, key, settings, audit=True)
    with pytest.raises(Killed):
        fit(tmp_path / "cut", data, key, settings, run_class=Dying, checkpoint_steps=3)
    again = fit(tmp_path / "cut", data, key, settings)
    for one, other in zip(whole.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(("key", "settings"), METHODS)
def test_micro_batches_change_nothing(tmp_path, data, key, settings):
    settings = {**settings, "learning_rate": 1e-4}
    whole = fit(tmp_path / "whole", data, key, settings, steps=4)
    parts = fit(tmp_path / "parts", data, key, settings, steps=4, micro_batch_size=5)
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("key", "settings"), METHODS[:3])
def test_they_learn_and_come_back_from_their_folder(tmp_path, data, key, settings):
    trained = fit(tmp_path / "run", data, key, settings, steps=50)
    found = TASK.evaluate(trained, data, "test")
    assert found["macro_f1"] > 0.8
    TASK.save_model(trained, tmp_path / "model")
    again = TASK.load_model(str(tmp_path / "model"), data, 0)
    assert isinstance(again, SpeechClassifier)
    assert TASK.evaluate(again, data, "test") == pytest.approx(found)
    on = fit(tmp_path / "on", data, "audio-classifier", SMALL, steps=1, model=str(tmp_path / "model"))
    assert on.classes == trained.classes


def test_half_precision_stays_near(tmp_path, data):
    whole = fit(tmp_path / "whole", data, "speech-varieties", {**SMALL, "learning_rate": 1e-4}, steps=4)
    half = fit(
        tmp_path / "half",
        data,
        "speech-varieties",
        {**SMALL, "learning_rate": 1e-4},
        steps=4,
        precision="bf16",
    )
    for one, other in zip(whole.parameters(), half.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0.1, atol=2e-3)


def test_a_frozen_encoder_stays_and_its_adapter_moves(tmp_path, data):
    trained = fit(tmp_path / "run", data, *METHODS[3], steps=4)
    fresh = TASK.load_model("conv-speech", data, 1)
    for one, other in zip(fresh.parameters(), trained.encoder.parameters(), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(CounterpointError, match="give adapter=128"):
        fit(tmp_path / "other", data, "speech-varieties", {**SMALL, "freeze": "encoder"})


def test_the_term_acts_as_asked(tmp_path, data):
    def terms(name: str, **settings) -> list[set[str]]:
        fit(tmp_path / name, data, "speech-varieties", {**SMALL, **settings}, steps=4)
        lines = map(json.loads, (tmp_path / name / "events.jsonl").read_text().splitlines())
        return [{"loss/label", "loss/contrast"} & set(line) for line in lines if "learning_rate" in line]

    both, one, other = {"loss/label", "loss/contrast"}, {"loss/contrast"}, {"loss/label"}
    assert set(map(frozenset, terms("joint"))) == {frozenset(both)}
    assert {frozenset(one), frozenset(other)} == set(map(frozenset, terms("before", use="pretraining")))
    plain = fit(tmp_path / "plain", data, "audio-classifier", SMALL, steps=4)
    nothing = fit(tmp_path / "nothing", data, "speech-varieties", {**SMALL, "weight": 0.0}, steps=4)
    for a, b in zip(plain.parameters(), nothing.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_wrong_settings_teach(tmp_path, data):
    with pytest.raises(CounterpointError, match="contrast='supercon'"):
        load("speech-varieties").settings(contrast="supercon")
    with pytest.raises(CounterpointError, match="did you mean 'weight'"):
        load("speech-varieties").settings(wieght=1.0)
    with pytest.raises(CounterpointError, match="per_class=1"):
        fit(tmp_path / "run", data, "audio-classifier", {"per_class": 1})


def test_batches_hold_every_class_from_different_groups():
    labels = torch.tensor([0] * 20 + [1] * 8 + [2] * 4 + [3] * 40)
    groups = [f"g{row % 4}" for row in range(len(labels))]
    order = ClassBatches(labels, 16, 4, groups)
    found = order(0, torch.Generator().manual_seed(0))
    assert len(found) == len(labels)
    for batch in found.split(16):
        if len(batch) == 16:
            assert Counter(labels[batch].tolist()) == {0: 4, 1: 4, 2: 4, 3: 4}
            for label in range(4):
                mine = [groups[row] for row in batch.tolist() if labels[row] == label]
                assert len(set(mine)) == 4
    assert torch.equal(found, order(0, torch.Generator().manual_seed(0)))
    two = ClassBatches(torch.tensor([0, 0, 0, 1, 1, 1]), 6, 3)(0, torch.Generator())
    assert sorted(two.tolist()) == list(range(6))
    many = ClassBatches(torch.arange(10).repeat(3), 8, 4)(0, torch.Generator().manual_seed(1))
    assert len(set((many % 10)[:8].tolist())) == 2


def test_noise_ends_with_the_clip_and_not_with_the_batch():
    waves = torch.ones(2, 50) * (torch.arange(50) < torch.tensor([[50], [20]]))
    lengths, device = torch.tensor([50, 20]), torch.device("cpu")
    rough = roughened(waves, lengths, ItemRandom(3, 2, slice(None), device), 0.2, 80)
    assert not rough[1, 20:].any()
    assert not torch.equal(rough[0], waves[0])
    second = roughened(waves[1:, :20], lengths[1:], ItemRandom(3, 2, slice(1, 2), device), 0.2, 80)
    torch.testing.assert_close(second[0], rough[1, :20])
    assert roughened(waves, lengths, ItemRandom(3, 2, slice(None), device), 0.0, 80) is waves


def test_figures_are_what_they_say(data):
    net = SpeechClassifier.fresh(SmallSpeech(8000), data.classes, 0)
    rows, scores = vectors(net, data.test, size=4)
    again, _ = vectors(net, data.test, size=100)
    torch.testing.assert_close(rows, again, rtol=1e-4, atol=1e-5)
    truth, said = data.test.labels.numpy(), scores.argmax(1).numpy()
    found, shown = TASK.evaluate(net, data, "test"), tables(net, data, data.test)
    assert found["accuracy"] == pytest.approx((truth == said).mean())
    assert shown["confusion"] == confusion_matrix(truth, said, labels=[0, 1, 2]).tolist()
    assert found["silhouette"] == pytest.approx(
        silhouette_score(rows.numpy(), truth, metric="cosine"), abs=1e-5
    )
    unit = rows / rows.norm(dim=1, keepdim=True)
    bank, _ = vectors(net, data.train)
    nearest = ((bank / bank.norm(dim=1, keepdim=True)) @ unit.T).argmax(0)
    assert found["nearest_accuracy"] == pytest.approx(
        float((data.train.labels[nearest].numpy() == truth).mean())
    )
    middles = [unit[torch.tensor(truth == c)].mean(0) for c in range(3)]
    middles = [m / m.norm() for m in middles]
    assert shown["distances"][0][2] == pytest.approx(1 - float(middles[0] @ middles[2]), abs=1e-5)
    assert shown["distances"][1][1] == pytest.approx(0, abs=1e-6)
    assert macro_f1(np.array([0, 0]), np.array([0, 0]), 2) == 0.5
    alone = TASK.evaluate(SmallSpeech(8000), data, "test")
    assert set(alone) == set(found) - {"cross_entropy"}


@pytest.mark.slow
def test_whisper_tells_real_voices_apart(tmp_path):
    pytest.importorskip("transformers")
    voices = TASK.load_data(
        "voices",
        sample_rate=16_000,
        seconds=1.0,
        per_class=4,
        limit=16,
        classes="it-IT-carlo,it-IT-menardi,ru-RU-ivrvoice,en-US-allison",
    )
    few = voices.test.subset(range(0, len(voices.test), 20))
    settings = {"batch_size": 8, "per_class": 2, "learning_rate": 1e-4, "contrast": "supcon"}
    trained = fit(tmp_path / "run", voices, "speech-varieties", settings, steps=10, model="whisper-tiny-en")
    TASK.save_model(trained, tmp_path / "model")
    again = TASK.load_model(str(tmp_path / "model"), voices, 0)
    torch.testing.assert_close(vectors(again, few)[0], vectors(trained, few)[0], rtol=1e-4, atol=1e-4)
    assert float((vectors(trained, few)[1].argmax(1) == few.labels).float().mean()) > 0.6
