"""SupReMix and plain regression: they resume, learn, ignore micro-batches, save ordinary folders, and are measured right."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from counterpoint.data.regression.load import build
from counterpoint.data.regression.splits import Regression
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.regression import predict, ridge_probe, with_head
from counterpoint.methods.catalog import load
from counterpoint.models.regression.tabular import Predictor
from counterpoint.pairs.views import Augmentation
from counterpoint.tasks.regression import TASK
from counterpoint.training import Budget, Run

SMALL = {"batch_size": 16, "dim": 8, "bin_width": 1.0, "window": 3.0}
METHODS = [
    ("supremix", SMALL),
    ("supremix", {**SMALL, "mix_negatives": False, "mix_positives": False, "weighted": False}),
    ("regression", {"batch_size": 16}),
]


@pytest.fixture(scope="module")
def data() -> Regression:
    draw = np.random.default_rng(0)
    inputs = draw.normal(size=(240, 6)).astype(np.float32)
    targets = 3 * inputs[:, 0] + 2 * np.sin(2 * inputs[:, 1]) + 10
    return build(inputs, targets, np.full(240, "train"), tuple("abcdef"), "made", [])


def fit(folder, data, key, settings, steps=6, model="mlp", run_class=Run, **options):
    with run_class(folder, seed=1, budget=Budget(steps=steps), progress=False, **options) as run:
        return load(key).settings(**settings).fit(TASK.load_model(model, data, 1), data, run)


def same(one, other) -> bool:
    return all(
        torch.equal(x, y) for x, y in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    )


class Killed(Exception):
    pass


class Dying(Run):
    def step(self, losses, **options):
        if self.cursor.spent["steps"] == 4:
            raise Killed
        return super().step(losses, **options)


@pytest.mark.parametrize(("key", "settings"), [METHODS[0], METHODS[2]])
def test_an_interrupted_run_ends_with_the_same_bits(tmp_path, data, key, settings):
    whole = fit(tmp_path / "whole", data, key, settings, audit=True)
    with pytest.raises(Killed):
        fit(tmp_path / "cut", data, key, settings, run_class=Dying, checkpoint_steps=3)
    assert same(whole, fit(tmp_path / "cut", data, key, settings))


@pytest.mark.parametrize(("key", "settings"), [METHODS[0], METHODS[2]])
def test_micro_batches_change_nothing(tmp_path, data, key, settings):
    whole = fit(tmp_path / "whole", data, key, settings, steps=3, model="mlp:layer")
    parts = fit(tmp_path / "parts", data, key, settings, steps=3, model="mlp:layer", micro_batch_size=7)
    for one, other in zip(whole.encoder.parameters(), parts.encoder.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("key", "settings"), METHODS)
def test_they_learn_and_come_back_from_their_folder(tmp_path, data, key, settings):
    before = TASK.evaluate(TASK.load_model("mlp", data, 1), data, "test")
    trained = fit(tmp_path / "run", data, key, {**settings, "dropout": 0.1}, steps=150)
    after = TASK.evaluate(trained, data, "test")
    assert after["order"] > before["order"] + 0.1
    assert after["r2"] > 0.5
    TASK.save_model(trained, tmp_path / "model")
    again = TASK.load_model(str(tmp_path / "model"), data, 0)
    assert isinstance(again, Predictor)
    assert TASK.evaluate(again, data, "test") == pytest.approx(after)
    goes_on = fit(
        tmp_path / "more", data, "regression", {"batch_size": 16}, steps=1, model=str(tmp_path / "model")
    )
    assert isinstance(goes_on, Predictor)


@pytest.mark.parametrize("key", ["supremix", "regression"])
def test_the_augmentation_of_images_can_be_chosen(tmp_path, key):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 1, 14, 14), dtype=np.uint8)
    images = build(pixels, pixels.mean((1, 2, 3)), np.full(40, "train"), (), "made", [])
    chosen = {"batch_size": 16, "bin_width": 1.0} if key == "supremix" else {"batch_size": 16}
    kept, other, own = (
        fit(tmp_path / str(n), images, key, {**chosen, "augmentation": given}, steps=2, model="default")
        for n, given in enumerate(("none", "light", Augmentation()))
    )
    assert same(kept, own)
    assert not same(kept, other)
    with pytest.raises(CounterpointError, match="did you mean 'natural'"):
        fit(tmp_path / "wrong", images, key, {**chosen, "augmentation": "naturel"}, model="default")


def test_images_with_targets(tmp_path):
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (60, 1, 8, 8), dtype=np.uint8)
    images = build(pixels, pixels.mean((1, 2, 3)), np.full(60, "train"), (), "made", [])
    trained = fit(tmp_path / "run", images, "supremix", SMALL, steps=2, model="default")
    assert predict(trained, images.test.inputs).shape == (len(images.test),)
    TASK.save_model(trained, tmp_path / "model")
    assert isinstance(TASK.load_model(str(tmp_path / "model"), images, 0), Predictor)


def test_figures_are_what_they_say(data):
    class Linear(torch.nn.Module):
        num_features = 6

        def forward(self, rows):
            return rows

    part = data.test
    figures = TASK.evaluate(Linear(), data, "test")
    x, y = data.train.inputs.double().numpy(), data.train.targets.double().numpy()
    weight = np.linalg.lstsq(np.c_[x, np.ones(len(x))], y, rcond=None)[0]
    said = np.c_[part.inputs.double().numpy(), np.ones(len(part))] @ weight
    wanted = part.targets.double().numpy()
    assert figures["mae"] == pytest.approx(np.abs(said - wanted).mean(), rel=0.05)
    assert figures["rank_correlation"] == pytest.approx(spearmanr(said, wanted).statistic, abs=0.02)
    assert figures["probe_mae"] == figures["mae"]
    assert figures["rmse"] >= figures["mae"]
    assert figures["r2"] == pytest.approx(1 - figures["rmse"] ** 2 / wanted.var())
    rows = part.inputs.double().numpy()
    pairs = [(i, j) for i in range(len(rows)) for j in range(i)]
    apart = (
        [np.linalg.norm(rows[i] - rows[j]) for i, j in pairs],
        [abs(wanted[i] - wanted[j]) for i, j in pairs],
    )
    assert figures["order"] == pytest.approx(spearmanr(*apart).statistic)


def test_the_head_is_the_probe(data):
    encoder = TASK.load_model("mlp", data, 0)
    head, probe = with_head(encoder, data), ridge_probe(encoder, data)
    encoder.eval()
    expected = probe(encoder(data.test.inputs).detach().double().numpy())
    np.testing.assert_allclose(predict(head, data.test.inputs).numpy(), expected, rtol=1e-4, atol=1e-4)


def test_shares_are_beta_distributed():
    from counterpoint.training.batches import ItemRandom

    random = ItemRandom(0, 100, slice(None), torch.device("cpu"))
    shares = load("supremix").settings()._shares(random, 200)
    assert shares.shape == (200, 200)
    assert float(shares.mean()) == pytest.approx(0.2, abs=0.01)
    assert float(shares.var()) == pytest.approx(2 * 8 / (10**2 * 11), rel=0.05)


@pytest.mark.parametrize(
    ("settings", "lesson"),
    [
        ({"window": 0.0}, "window above 0"),
        ({"beta": (0, 8)}, "at least 1"),
        ({"dropout": 1.0}, "share of the columns"),
    ],
)
def test_wrong_settings_teach(tmp_path, data, settings, lesson):
    with pytest.raises(CounterpointError, match=lesson):
        fit(tmp_path, data, "supremix", {**SMALL, **settings}, steps=1)


def test_other_columns_teach(tmp_path, data):
    TASK.save_model(TASK.load_model("mlp", data, 0), tmp_path / "model")
    other = Regression(data.train, data.validation, data.test, tuple("abcdex"))
    with pytest.raises(CounterpointError, match="learnt from other columns than this data has"):
        TASK.load_model(str(tmp_path / "model"), other, 0)
    with pytest.raises(CounterpointError, match="expected mlp"):
        TASK.load_model("mpl", data, 0)


@pytest.mark.parametrize("key", ["supremix", "regression"])
def test_it_trains_whatever_mode_the_model_came_in(tmp_path, data, key):
    model = TASK.load_model("mlp", data, 0).eval()
    before = model.body[1].running_mean.clone()
    with Run(tmp_path, budget=Budget(steps=1), progress=False) as run:
        trained = load(key).settings(batch_size=16).fit(model, data, run)
    assert not torch.equal(trained.encoder.body[1].running_mean, before)
