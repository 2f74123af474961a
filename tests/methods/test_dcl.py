"""The image methods end to end: they learn, resume to the same bits, and neither micro-batches nor settings fool them."""

import numpy as np
import pytest
import torch

from counterpoint.data.images.load import Images, ImageSet
from counterpoint.errors import CounterpointError
from counterpoint.methods.catalog import load
from counterpoint.methods.dcl import Queue
from counterpoint.tasks.images import TASK
from counterpoint.tasks.task import ranked_by
from counterpoint.training import Budget, Run

METHODS = [
    ("simclr", {}),
    ("dcl", {}),
    ("dcl", {"variant": "dclw", "symmetric": False}),
    ("dcl", {"variant": "nnclr", "queue_size": 40}),
    ("dcl", {"variant": "nnclr-dcl", "queue_size": 40}),
    ("multiview", {"num_views": 3}),
    ("multiview", {"loss": "mv_infonce", "num_views": 2}),
    ("multiview", {"loss": "pvc_geometric", "num_views": 3}),
    ("multiview", {"loss": "pvc_arithmetic", "num_views": 3}),
    ("multiview-pairwise", {"num_views": 3}),
    ("multiview-pairwise", {"loss": "dhel_average", "num_views": 3}),
]
SMALL = {"batch_size": 16, "dim": 8, "learning_rate": 0.05, "temperature": 0.2}


@pytest.fixture(scope="module")
def images() -> Images:
    return TASK.load_data("digits", limit=200, evaluation_limit=100)


def fit(folder, key, settings, images, steps=6, model="conv-small", **run_options):
    with Run(folder, seed=1, budget=Budget(steps=steps), progress=False, **run_options) as run:
        trained = load(key).settings(**SMALL, **settings).fit(TASK.load_model(model, images, 1), images, run)
        trained.reported = run.reported.state_dict()
    return trained


def same(one, other) -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


@pytest.mark.parametrize(("key", "settings"), METHODS)
def test_state_is_registered_and_an_interrupted_run_ends_with_the_same_bits(tmp_path, key, settings, images):
    whole = fit(tmp_path / "whole", key, settings, images, audit=True)

    class Killed(Exception):
        pass

    class Dying(Run):
        def step(self, losses, **options):
            if self.cursor.spent["steps"] == 4:
                raise Killed
            return super().step(losses, **options)

    with (
        pytest.raises(Killed),
        Dying(tmp_path / "cut", seed=1, budget=Budget(steps=6), progress=False, checkpoint_steps=3) as run,
    ):
        load(key).settings(**SMALL, **settings).fit(TASK.load_model("conv-small", images, 1), images, run)
    resumed = fit(tmp_path / "cut", key, settings, images)
    assert same(whole, resumed)
    assert whole.reported == resumed.reported


@pytest.mark.parametrize(("key", "settings"), [METHODS[0], METHODS[1], METHODS[4], METHODS[5], METHODS[9]])
def test_micro_batches_change_nothing(tmp_path, key, settings, images):
    whole = fit(tmp_path / "whole", key, settings, images, model="conv-small:group", steps=3)
    parts = fit(
        tmp_path / "parts", key, settings, images, model="conv-small:group", steps=3, micro_batch_size=7
    )
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_micro_batches_with_batch_normalisation_are_refused(tmp_path, images):
    with pytest.raises(CounterpointError, match="norm='group'"):
        fit(tmp_path, "simclr", {}, images, micro_batch_size=4)


@pytest.mark.parametrize(("key", "settings"), [METHODS[0], METHODS[1], METHODS[5]])
def test_it_learns(tmp_path, key, settings, images):
    """After training, two views of an image find each other better than before."""
    figures = TASK.evaluate(TASK.load_model("conv-small", images, 1), images, "test")
    trained = TASK.evaluate(fit(tmp_path, key, settings, images, steps=80), images, "test")
    assert trained["alignment"] < figures["alignment"] - 0.02
    assert trained["probe_accuracy"] > 0.8


def test_a_model_that_was_measured_before_trains_like_a_fresh_one(tmp_path, images):
    fresh = fit(tmp_path / "a", "simclr", {}, images, steps=2)
    with Run(tmp_path / "b", seed=1, budget=Budget(steps=2), progress=False) as run:
        model = TASK.load_model("conv-small", images, 1).eval()
        measured = load("simclr").settings(**SMALL).fit(model, images, run)
    assert same(fresh, measured)


def test_dclw_differs_from_dcl_and_variants_are_checked(tmp_path, images):
    plain = fit(tmp_path / "a", "dcl", {}, images, steps=2)
    weighted = fit(tmp_path / "b", "dcl", {"variant": "dclw"}, images, steps=2)
    assert not same(plain, weighted)
    with pytest.raises(CounterpointError, match="variant"):
        load("dcl").settings(variant="dlc")
    with pytest.raises(CounterpointError, match="did you mean 'temperature'"):
        load("dcl").settings(temprature=0.2)


def test_more_images_in_a_batch_than_there_are(tmp_path, images):
    run = Run(tmp_path, budget=Budget(steps=1), progress=False)
    with run, pytest.raises(CounterpointError, match="smaller batch size"):
        load("dcl").settings().fit(TASK.load_model("conv-small", images, 0), images, run)


def test_queue_keeps_the_newest():
    queue = Queue(5, 2, seed=0)
    for number in range(4):
        angle = torch.tensor([float(2 * number), float(2 * number + 1)])
        queue.push(torch.stack([angle.cos(), angle.sin()], 1) * 3)
    expected = torch.tensor([5.0, 6.0, 7.0, 3.0, 4.0])
    torch.testing.assert_close(queue.rows, torch.stack([expected.cos(), expected.sin()], 1))
    queue.push(torch.eye(2).repeat(4, 1))
    assert queue.rows.shape == (5, 2)


def test_saved_folder_is_ordinary_and_comes_back(tmp_path, images):
    trained = fit(tmp_path / "run", "dcl", {}, images, steps=2)
    TASK.save_model(trained, tmp_path / "model")
    assert {"config.json", "model.safetensors", "projector"} <= {
        f.name for f in (tmp_path / "model").iterdir()
    }
    again = TASK.load_model(str(tmp_path / "model"), images, 0)
    pixels = torch.rand(3, 1, 8, 8)
    assert torch.equal(again.eval()(pixels), trained.eval()(pixels))
    assert torch.equal(again(pixels, project=True), trained(pixels, project=True))


class _Copies(torch.nn.Module):
    """Coarse pixels as features: two views of one image remain alike."""

    num_features = 16

    def forward(self, pixels):
        return torch.nn.functional.adaptive_avg_pool2d(pixels.float(), 4).flatten(1) - 0.5


class _Blind(torch.nn.Module):
    num_features = 2

    def forward(self, pixels):
        return torch.ones(len(pixels), 2)


def test_without_labels_there_is_geometry_only(tmp_path):
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8), dtype=np.uint8))
    none = torch.full((40,), -1)
    bare = Images(*(ImageSet(pixels, none) for _ in range(3)), classes=())
    figures = TASK.evaluate(fit(tmp_path, "simclr", {}, bare, steps=2), bare, "test")
    assert "probe_accuracy" not in figures
    assert 1 < figures["effective_rank"] <= 64
    assert ranked_by(TASK, figures) == "view_recall@1"
    one, two = TASK.evaluate(_Copies(), bare, "test"), TASK.evaluate(_Blind(), bare, "test")
    assert one["view_recall@1"] > 0.2 > two["view_recall@1"] == 0.0


def test_data_options_are_checked():
    with pytest.raises(CounterpointError, match="did you mean 'labels_per_class'"):
        TASK.load_data("digits", label_per_class=3)
    with pytest.raises(CounterpointError, match="limit='many'"):
        TASK.load_data("digits", limit="many")
    assert len(TASK.load_data("digits", limit="60").train) == 60
