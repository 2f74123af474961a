"""iSogCLR end to end: a temperature per image that moves, resumes, and comes out as a table beside the weights."""

import csv

import numpy as np
import pytest
import torch

from counterpoint.data.images.load import Images
from counterpoint.errors import CounterpointError
from counterpoint.methods.catalog import load
from counterpoint.models.images.projector import Projected
from counterpoint.pairs.views import Augmentation
from counterpoint.tasks.images import TASK
from counterpoint.training import Budget, Run

SMALL = {"batch_size": 16, "dim": 8, "learning_rate": 0.05, "temperature_rate": 0.1}


@pytest.fixture(scope="module")
def images() -> Images:
    return TASK.load_data("digits", limit=100, evaluation_limit=60)


class Killed(Exception):
    pass


class Dying(Run):
    def step(self, losses, **options):
        if self.cursor.spent["steps"] == 8:
            raise Killed
        return super().step(losses, **options)


def fit(folder, images, steps=10, model="conv-small", run_class=Run, options=None, **settings):
    with run_class(folder, seed=1, budget=Budget(steps=steps), progress=False, **(options or {})) as run:
        method = load("isogclr").settings(**{**SMALL, **settings})
        trained = method.fit(TASK.load_model(model, images, 1), images, run)
        trained.reported = run.reported
        return trained


def test_temperatures_survive_an_interruption(tmp_path, images):
    """Ten steps of six an epoch: every image's state has been read back at least once."""
    whole = fit(tmp_path / "whole", images, options={"audit": True})
    with pytest.raises(Killed):
        fit(tmp_path / "cut", images, run_class=Dying, options={"checkpoint_steps": 3})
    resumed = fit(tmp_path / "cut", images)
    assert whole.reported.tables == resumed.reported.tables != {}
    for one, other in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_the_table_is_saved_coldest_first(tmp_path, images):
    trained = fit(tmp_path / "run", images)
    trained.reported.write(tmp_path / "report")
    with (tmp_path / "report" / "temperatures.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sorted(int(row["row"]) for row in rows) == list(range(100))
    tau = [float(row["temperature"]) for row in rows]
    assert tau == sorted(tau)
    assert len(set(tau)) > 50
    assert all(int(row["label"]) == int(images.train.labels[int(row["row"])]) for row in rows)


def test_one_temperature_for_all_is_sogclr(tmp_path, images):
    trained = fit(tmp_path / "run", images, individual=False, temperature=0.3)
    assert set(trained.reported.column("temperatures", "temperature")) == {0.3}


def test_micro_batches_change_nothing(tmp_path, images):
    whole = fit(tmp_path / "whole", images, steps=3, model="conv-small:group")
    parts = fit(
        tmp_path / "parts", images, steps=3, model="conv-small:group", options={"micro_batch_size": 7}
    )
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Images:
    """Digits with a partner each: a random projection of their own pixels, so that who belongs to whom can be learnt."""
    from counterpoint.bundled.convert.data import path

    pixels = np.load(path("digits"))["images"]
    direction = np.random.default_rng(0).normal(size=(64, 12)) / 255
    place = tmp_path_factory.mktemp("pairs") / "partners.npy"
    np.save(place, pixels.reshape(len(pixels), 64) @ direction)
    return TASK.load_data("digits", limit=150, evaluation_limit=60, partners=str(place))


BIMODAL = {
    "bimodal": True,
    "optimizer": "adam",
    "learning_rate": 3e-3,
    "augmentation": Augmentation(noise=0.05),
}


def test_partners_stay_with_their_images(pairs):
    direction = np.random.default_rng(0).normal(size=(64, 12)) / 255
    for part in pairs.splits().values():
        expected = part.pixels.numpy().reshape(len(part), 64) @ direction
        np.testing.assert_allclose(part.partners.numpy(), expected, rtol=1e-4, atol=1e-4)
    assert any("vector of 12" in line for line in pairs.describe())
    assert pairs.fingerprint() != TASK.load_data("digits", limit=150, evaluation_limit=60).fingerprint()


def test_images_find_their_partners_and_both_towers_come_back(tmp_path, pairs):
    before = TASK.evaluate(fit(tmp_path / "none", pairs, steps=1, **BIMODAL), pairs, "test")
    trained = fit(tmp_path / "run", pairs, steps=120, **BIMODAL)
    after = TASK.evaluate(trained, pairs, "test")
    for name in ("image_recall@1", "partner_recall@1"):
        assert after[name] > before[name] + 0.1, (name, before, after)
    TASK.save_model(trained, tmp_path / "model")
    header = list(trained.reported.rows("temperatures")[0])
    assert header == ["row", "label", "temperature", "partner_temperature"]
    again = TASK.load_model(str(tmp_path / "model"), pairs, 0)
    assert TASK.evaluate(again, pairs, "test") == pytest.approx(after)
    assert isinstance(fit(tmp_path / "views", pairs, steps=1, model=str(tmp_path / "model")), Projected)


def test_both_sides_temperatures_survive_an_interruption(tmp_path, pairs):
    whole = fit(tmp_path / "whole", pairs, options={"audit": True}, **BIMODAL)
    with pytest.raises(Killed):
        fit(tmp_path / "cut", pairs, run_class=Dying, options={"checkpoint_steps": 3}, **BIMODAL)
    resumed = fit(tmp_path / "cut", pairs, **BIMODAL)
    assert whole.reported.tables == resumed.reported.tables != {}
    for one, other in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_wrong_partners_teach(tmp_path, images):
    with pytest.raises(CounterpointError, match="the data has neither"):
        fit(tmp_path / "run", images, bimodal=True)
    place = tmp_path / "partners.npy"
    for rows, lesson in (
        (np.zeros((5, 3)), r"expected \[1797, width\]"),
        (np.full((1797, 3), np.nan), "row 0 holds NaN"),
        (np.array(["a"] * 1797), r"expected \[1797, width\]"),
    ):
        np.save(place, rows)
        with pytest.raises(CounterpointError, match=lesson):
            TASK.load_data("digits", partners=str(place))
    with pytest.raises(CounterpointError, match=r"expected a \.npy file"):
        TASK.load_data("digits", partners=str(tmp_path / "none.csv"))


def test_a_start_outside_the_bounds_teaches(tmp_path, images):
    with pytest.raises(CounterpointError, match="start inside"):
        fit(tmp_path, images, temperature=2.0)


def test_a_long_tail_of_classes():
    whole, tail = (TASK.load_data("digits", **options) for options in ({}, {"long_tail": "0.5"}))
    sizes = sorted(torch.bincount(tail.train.labels).tolist(), reverse=True)
    first = int(torch.bincount(whole.train.labels).min())
    assert sizes == [max(1, round(first * 0.5**rank)) for rank in range(10)]
    assert torch.equal(whole.test.pixels, tail.test.pixels)
    assert any("long tail" in note for note in tail.notes)
    with pytest.raises(CounterpointError, match="such as 0.6"):
        TASK.load_data("digits", long_tail=1.5)
