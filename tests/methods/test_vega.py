"""Vega: it resumes, learns, saves ordinary folders; each trick does what it says and nothing when it is off."""

import json

import pytest
import torch

from counterpoint.data.text.load import Texts, build
from counterpoint.data.text.rows import Row
from counterpoint.errors import CounterpointError
from counterpoint.methods.catalog import load
from counterpoint.methods.vega import Vega
from counterpoint.models.text.detector import Detector
from counterpoint.models.text.disentangled import fresh_disentangled
from counterpoint.models.text.encoder import TextClassifier
from counterpoint.objectives.labels.adversarial import disturbed, normalised
from counterpoint.objectives.reduction import total
from counterpoint.phases.encoder_tricks import attacked, replaced_tokens, stratified_folds
from counterpoint.phases.own_labels import calibrated, logits_of
from counterpoint.study.ablate import variations
from counterpoint.tasks.text import TASK
from counterpoint.training import Budget, Run
from counterpoint.training.batches import Batch, ItemRandom

SWITCHES = (
    "pretraining.replaced_tokens",
    "pretraining.sentence_contrast",
    "calibration.on",
    "adversarial.on",
    "transduction.on",
)
OFF = dict.fromkeys(SWITCHES, False)
SMALL = {
    "batch_size": 8,
    "calibration.folds": 2,
    "learning_rate": 3e-3,
    "pretraining.learning_rate": 1e-2,
    "transduction.threshold": 0.3,
}
WORDS = {
    "tea": "kettle cup leaf warm pot sugar milk steep",
    "sea": "wave salt boat storm fish sail harbour tide",
    "law": "court judge trial appeal crime jury bench verdict",
}


def texts(count: int = 120, **options) -> Texts:
    draw = torch.Generator().manual_seed(0)
    rows = []
    for number in range(count):
        label = list(WORDS)[number % 3]
        own, shared = WORDS[label].split(), ["the", "a", "of", "and", "in", "it", "was"]
        pool = own + shared
        picked = torch.randint(len(pool), (int(torch.randint(4, 9, (), generator=draw)),), generator=draw)
        rows.append(
            Row(f"{' '.join(pool[i] for i in picked.tolist())} n{number}", (label,), None, f"row {number}")
        )
    return build(rows, False, "made", **options)


@pytest.fixture(scope="module")
def data() -> Texts:
    return texts()


@pytest.fixture(scope="module")
def partly() -> Texts:
    return texts(labelled=30)


def fresh(data: Texts, seed: int = 1, dropout: float = 0.1):
    words = sorted({word for text in data.train.texts for word in text.split() if not word.startswith("n")})
    return fresh_disentangled(
        words, width=16, heads=2, layers=2, reach=4, limit=16, seed=seed, dropout=dropout
    )


def fit(folder, data, steps=12, run_class=Run, options=None, model=None, **settings):
    model = fresh(data) if model is None else model
    with run_class(folder, seed=1, budget=Budget(steps=steps), progress=False, **(options or {})) as run:
        return load("vega").settings(**{**SMALL, **settings}).fit(model, data, run)


def events(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def same(one, other) -> bool:
    return all(
        torch.equal(x, y) for x, y in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    )


class Killed(Exception):
    pass


def dying(at: int) -> type[Run]:
    class Dying(Run):
        def step(self, losses, **options):
            if self.cursor.spent["steps"] == at:
                raise Killed
            return super().step(losses, **options)

    return Dying


@pytest.mark.parametrize("inputs", ["test", "unlabelled"])
def test_an_interrupted_run_ends_with_the_same_bits(tmp_path, partly, inputs) -> None:
    given = {"steps": 18, "transduction.inputs": inputs}
    whole = fit(tmp_path / "whole", partly, options={"audit": True}, **given)
    for at in (4, 10, 16) if inputs == "test" else (1, 8, 13):  # together in every phase
        out = tmp_path / f"cut-{at}"
        with pytest.raises(Killed):
            fit(out, partly, run_class=dying(at), options={"checkpoint_steps": 1}, **given)
        assert same(whole, fit(out, partly, **given)), at


def test_micro_batches_change_nothing(tmp_path, partly) -> None:
    whole = fit(tmp_path / "whole", partly, model=fresh(partly, dropout=0.0), steps=6)
    parts = fit(
        tmp_path / "parts", partly, model=fresh(partly, dropout=0.0), steps=6, options={"micro_batch_size": 3}
    )
    for one, other in zip(events(tmp_path / "whole"), events(tmp_path / "parts"), strict=True):
        assert one.get("loss", 0) == pytest.approx(other.get("loss", 0), rel=1e-3)
    assert type(whole) is type(parts)


def test_it_learns_and_comes_back_from_its_folder(tmp_path, data) -> None:
    trained = fit(tmp_path / "run", data, steps=210)
    figures = TASK.evaluate(trained, data, "test")
    assert figures["accuracy"] > 0.8
    losses = [e["loss/generator"] for e in events(tmp_path / "run") if "loss/generator" in e]
    assert sum(losses[-10:]) < 0.95 * sum(losses[:10])
    TASK.save_model(trained, tmp_path / "model")
    again = TASK.load_model(str(tmp_path / "model"), data, 0)
    assert isinstance(again, TextClassifier)
    assert TASK.evaluate(again, data, "test") == pytest.approx(figures)
    assert (tmp_path / "model" / "model.safetensors").exists()
    assert json.loads((tmp_path / "model" / "config.json").read_text())["model_type"] == "deberta-v2"


@pytest.mark.parametrize("switch", [None, *SWITCHES])
def test_every_trick_can_be_had_alone(tmp_path, partly, switch) -> None:
    chosen = {**OFF, **({switch: True} if switch else {})}
    fit(tmp_path, partly, steps=6, **chosen)
    found = events(tmp_path)
    terms = {name for event in found for name in event if name.startswith("loss")}
    assert {
        None: {"loss"},
        "pretraining.replaced_tokens": {"loss", "loss/generator", "loss/detection", "loss/label"},
        "pretraining.sentence_contrast": {"loss", "loss/contrast", "loss/label"},
        "calibration.on": {"loss"},
        "adversarial.on": {"loss", "loss/label", "loss/adversarial"},
        "transduction.on": {"loss", "loss/label", "loss/own"},
    }[switch] >= terms - {"loss/label"}
    loops = list(dict.fromkeys(event["loop"].split("/")[1] for event in found if "loop" in event))
    before = {
        "pretraining.replaced_tokens": ["detection"],
        "pretraining.sentence_contrast": ["contrast"],
    }.get(switch, [])
    assert loops == [*before, "tune"]
    phases = len({event["loop"] for event in found if "loop" in event})
    assert phases == {None: 1, "calibration.on": 3, "adversarial.on": 1}.get(switch, 2)
    assert any("relabelled" in event for event in found) == (switch == "calibration.on")
    assert any("confident" in event for event in found) == (switch == "transduction.on")


def test_every_switch_is_in_the_ablation() -> None:
    found = variations(Vega())
    assert all(found[switch] == [False] for switch in (*SWITCHES, "fine_tuning"))
    assert found["calibration.mending"] == ["soft"]


def test_without_fine_tuning_the_encoder_comes_back_whole(tmp_path, data) -> None:
    model = fresh(data)
    before = model.net.get_input_embeddings().weight.detach().clone()
    encoder = fit(tmp_path, data, model=model, fine_tuning=False)
    assert encoder is model
    after = encoder.net.get_input_embeddings().weight
    assert (
        0 < float((after - before).detach().abs().max()) < 0.3
    )  # the two halves of the table were put together again
    assert TASK.evaluate(encoder, data, "test")["accuracy"] > 0.3


def test_sharing_is_disentangled(data) -> None:
    encoder = fresh(data, dropout=0.0)
    ids, mask = (lambda t: (t.ids, t.mask))(encoder.tokenize(data.train.texts[:6]))
    states = encoder(ids, mask, out="tokens").detach()
    detector = Detector(encoder, seed=0)
    assert float(encoder.net.get_input_embeddings().weight.detach().abs().max()) == 0
    torch.testing.assert_close(detector(ids, mask, "sentence"), encoder.pool(states, mask))
    detector(ids, mask, "find").square().sum().backward()
    table = detector.generator.net.get_input_embeddings().weight
    assert table.grad is None  # the encoder's loss does not reach the generator's table
    assert float(encoder.net.get_input_embeddings().weight.grad.abs().sum()) > 0
    assert detector.candidates(ids, mask).sum() == mask.sum() - 2 * len(ids) - (ids == 1).sum()
    detector.merge()
    torch.testing.assert_close(encoder(ids, mask, out="tokens"), states)


def batch_of(encoder, data, extra: int = 0, seed: int = 0):
    from counterpoint.models.text.encoder import coded

    train = coded(encoder, data.train.texts, data.train.targets, data.train.labelled)
    index = torch.arange(6)
    items = train[index]
    pad = lambda x: torch.nn.functional.pad(x, (0, extra))  # noqa: E731
    items = type(items)(pad(items.ids), pad(items.mask), items.targets, items.labelled)
    return Batch(items, index, 6, 0, ItemRandom(seed, 6, slice(0, 6), torch.device("cpu")), 0, 0)


def test_padding_never_changes_a_loss(tmp_path, data) -> None:
    found = []
    with Run(tmp_path, budget=Budget(steps=1), progress=False) as run:
        for extra in (0, 3):
            encoder = fresh(data, dropout=0.0)
            detector = Detector(encoder, seed=0)
            loss = total(replaced_tokens(run, detector, batch_of(encoder, data, extra), 0.15, 50.0))
            loss.backward()
            classifier = fit_head(fresh(data, dropout=0.0), data)
            batch = batch_of(classifier, data, extra)
            logits = classifier(batch.items.ids, batch.items.mask, out="logits")
            noisy = attacked(run, classifier, batch, logits, 1e-2, 1e-4)
            noisy.sum().backward()
            grads = [p.grad for p in [*detector.parameters(), *classifier.parameters()] if p.grad is not None]
            found.append([loss.detach(), logits.detach(), noisy.detach(), *grads])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def fit_head(encoder, data):
    from counterpoint.models.text.encoder import with_linear_head

    return with_linear_head(encoder, data.classes, False, 0, dropout=0.0)


def test_disturbed_embeddings_are_the_normalised_ones_plus_noise_to_the_model(data) -> None:
    encoder = fresh(data, dropout=0.0)
    torch.nn.init.normal_(encoder.net.embeddings.word_embeddings.weight)
    tokens = encoder.tokenize(data.train.texts[:4])
    embeddings = encoder.embed(tokens.ids)
    noise = 0.1 * torch.randn(embeddings.shape)
    ours = encoder(tokens.ids, tokens.mask, embedded=disturbed(embeddings, noise))
    theirs = encoder(tokens.ids, tokens.mask, embedded=normalised(embeddings) + noise)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    plain = encoder(tokens.ids, tokens.mask)
    torch.testing.assert_close(
        encoder(tokens.ids, tokens.mask, embedded=normalised(embeddings)), plain, rtol=1e-3, atol=1e-4
    )


def test_the_attack_changes_the_answer_more_than_its_start(tmp_path, data) -> None:
    from counterpoint.objectives.labels.adversarial import departure

    classifier = fit_head(fresh(data, dropout=0.0), data)
    batch = batch_of(classifier, data)
    logits = classifier(batch.items.ids, batch.items.mask, out="logits")
    with Run(tmp_path, budget=Budget(steps=1), progress=False) as run:
        weak, strong = (
            departure(attacked(run, classifier, batch_of(classifier, data), logits, 1e-2, step), logits, "kl")
            for step in (0.0, 0.5)
        )
    assert (strong > weak).all()


def test_folds_are_even_and_of_all_classes() -> None:
    targets = torch.nn.functional.one_hot(torch.arange(60) % 3).float()
    folds = stratified_folds(targets, 5, seed=0)
    assert folds.bincount().tolist() == [12] * 5
    for fold in range(5):
        assert targets[folds == fold].sum(0).tolist() == [4, 4, 4]
    assert not torch.equal(folds, stratified_folds(targets, 5, seed=1))


def test_wrong_labels_are_found_out_of_fold_and_only_there(tmp_path, monkeypatch) -> None:
    noisy = texts(240, mislabelled=0.25)
    flipped = (noisy.truth != noisy.train.targets).any(1)
    on = {**OFF, "calibration.on": True, "calibration.low": 0.3, "calibration.high": 0.6}
    counts = {}
    for folds in (1, 3):
        seen: list[torch.Tensor] = []

        def noting(run, rows, opinions, how, seen=seen):
            order = opinions.column("row").argsort()
            seen.append((opinions.column("probabilities")[order] * rows.targets).sum(1) < how.low)
            return calibrated(run, rows, opinions, how)

        monkeypatch.setattr("counterpoint.methods.vega.calibrated", noting)
        with Run(tmp_path / str(folds), seed=1, budget=Budget(steps=60 * (folds + 1)), progress=False) as run:
            Vega.settings(**{**SMALL, **on, "calibration.folds": folds}).fit(fresh(noisy), noisy, run)
        counts[folds] = float((seen[0] & flipped).sum()) / float(flipped.sum())
        assert float((seen[0] & flipped).sum()) / max(float(seen[0].sum()), 1) > 0.6
    assert counts[3] > 0.6
    logged = [event for event in events(tmp_path / "3") if "relabelled" in event]
    assert logged[0]["relabelled"] + logged[0]["dropped"] > 10


def test_every_label_is_judged_by_a_model_that_did_not_train_on_it(tmp_path, partly, monkeypatch) -> None:
    trained: list[set] = []
    judged: list[set] = []

    class Noting(Vega):
        def _tune(self, run, net, rows, own=None):
            trained.append({tuple(row) for row in rows.ids.tolist()})
            super()._tune(run, net, rows, own)

    def noting(run, net, texts):
        judged.append({tuple(row) for row in net.tokenize(texts).ids.tolist()})
        return logits_of(run, net, texts)

    monkeypatch.setattr("counterpoint.methods.vega.logits_of", noting)
    with Run(tmp_path, seed=1, budget=Budget(steps=4), progress=False) as run:
        Noting.settings(**{**SMALL, **OFF, "calibration.on": True, "calibration.folds": 3}).fit(
            fresh(partly), partly, run
        )
    strip = lambda rows: {tuple(i for i in row if i) for row in rows}  # noqa: E731
    assert len(judged) == 3
    # Two texts may read alike once unknown words are one: only those are allowed on both sides.
    for seen, asked in zip(trained, judged, strict=False):
        assert len(strip(seen) & strip(asked)) <= 2
    assert len(set.union(*map(strip, judged))) >= 28


def test_own_labels_come_from_the_inputs_that_were_asked_for(tmp_path, partly, monkeypatch) -> None:
    asked: list[tuple] = []

    def noting(run, net, texts):
        asked.append(tuple(texts))
        return logits_of(run, net, texts)

    monkeypatch.setattr("counterpoint.phases.own_labels.logits_of", noting)
    for inputs in ("test", "unlabelled"):
        with Run(tmp_path / inputs, seed=1, budget=Budget(steps=2), progress=False) as run:
            Vega.settings(**{**SMALL, **OFF, "transduction.on": True, "transduction.inputs": inputs}).fit(
                fresh(partly), partly, run
            )
    assert asked[0] == partly.test.texts
    hidden = [
        t for t, known in zip(partly.train.texts, partly.train.labelled.tolist(), strict=True) if not known
    ]
    assert asked[1] == tuple(hidden)


def test_an_unreachable_threshold_is_said(tmp_path, partly) -> None:
    fit(tmp_path, partly, steps=2, **{**OFF, "transduction.on": True, "transduction.threshold": 1.0})
    assert "no prediction reaches the threshold" in (tmp_path / "messages.log").read_text()


def test_texts_that_are_cut_are_said(tmp_path) -> None:
    rows = [Row(f"{'tea cup ' * 12}{i}", ("ab"[i % 2],), None, f"row {i}") for i in range(60)]
    long = build(rows, False, "long")
    fit(tmp_path, long, steps=1, model=fresh(texts()), **OFF)
    assert "training texts fill 16 tokens" in (tmp_path / "messages.log").read_text()


@pytest.mark.parametrize(
    ("settings", "lesson"),
    [
        ({**OFF, "fine_tuning": False}, "nothing is learnt"),
        ({"transduction.inputs": "unlabelled"}, "every training text has a label"),
        ({"pretraining.mask_rate": 0.0}, "pretraining.mask_rate"),
        ({"calibration.folds": 0}, "folds=0"),
        ({"calibration.folds": 500}, "do not fill 500 folds"),
    ],
)
def test_wrong_settings_teach(tmp_path, data, settings, lesson) -> None:
    with pytest.raises(CounterpointError, match=lesson):
        fit(tmp_path, data, steps=8, **settings)


def test_wrong_models_and_data_teach(tmp_path, data) -> None:
    with pytest.raises(CounterpointError, match="replaced_tokens=false"):
        fit(tmp_path / "a", data, model=TASK.load_model("words", data, 0))
    fit(tmp_path / "b", data, steps=2, model=TASK.load_model("words", data, 0), **OFF)
    rows = [Row(f"text {i}", ("x", "y") if i % 2 else ("x",), None, f"row {i}") for i in range(60)]
    several = build(rows, True, "several")
    with pytest.raises(CounterpointError, match="several labels a text"):
        fit(tmp_path / "c", several, model=fresh(data))
    bare = build([Row(f"text {i}", (), None, f"row {i}") for i in range(60)], False, "bare")
    with pytest.raises(CounterpointError, match="at least two"):
        fit(tmp_path / "d", bare, model=fresh(data))
    hidden = texts(labelled=0)
    with pytest.raises(CounterpointError, match="no labelled training texts"):
        fit(tmp_path / "f", hidden, model=fresh(data), **OFF)
    assert fit(tmp_path / "e", bare, steps=2, model=fresh(data), fine_tuning=False) is not None
    with pytest.raises(CounterpointError, match="did you mean 'adversarial"):
        load("vega").settings(adversarail=True)
