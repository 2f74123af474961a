"""SLA in all its modes: it resumes, learns, saves an ordinary folder and answers from one pass or from all copies."""

import pytest
import torch

from counterpoint.data.images.load import Images, ImageSet
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.classification import class_accuracy, class_logits
from counterpoint.methods.catalog import load
from counterpoint.models.images.classifier import Classified, Heads
from counterpoint.pairs.transformations import transformations
from counterpoint.tasks.images import TASK
from counterpoint.training import Budget, Run

MODES = ["baseline", "da", "mt", "sla", "sla+sd"]


@pytest.fixture(scope="module")
def images() -> Images:
    return TASK.load_data("digits", limit=120, evaluation_limit=80)


def fit(folder, images, steps=6, model="conv-small", run_class=Run, options=None, **settings):
    with run_class(folder, seed=1, budget=Budget(steps=steps), progress=False, **(options or {})) as run:
        return (
            load("sla")
            .settings(batch_size=16, **settings)
            .fit(TASK.load_model(model, images, 1), images, run)
        )


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


@pytest.mark.parametrize("mode", ["mt", "sla+sd"])
def test_an_interrupted_run_ends_with_the_same_bits(tmp_path, images, mode):
    whole = fit(tmp_path / "whole", images, mode=mode, options={"audit": True})
    with pytest.raises(Killed):
        fit(tmp_path / "cut", images, mode=mode, run_class=Dying, options={"checkpoint_steps": 3})
    assert same(whole, fit(tmp_path / "cut", images, mode=mode))


@pytest.mark.parametrize("mode", ["da", "sla+sd"])
def test_micro_batches_change_nothing(tmp_path, images, mode):
    given = {"steps": 3, "model": "conv-small:group", "mode": mode}
    whole = fit(tmp_path / "whole", images, **given)
    parts = fit(tmp_path / "parts", images, options={"micro_batch_size": 7}, **given)
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_learns_and_comes_back_from_its_folder(tmp_path, images, mode):
    trained = fit(tmp_path / "run", images, steps=40, mode=mode)
    figures = TASK.evaluate(trained, images, "test")
    assert figures["accuracy"] > 0.4
    assert figures["aggregated_accuracy"] > 0.4
    TASK.save_model(trained, tmp_path / "model")
    again = TASK.load_model(str(tmp_path / "model"), images, 0)
    assert isinstance(again, Classified)
    assert again.heads.classes == images.classes
    for aggregated in (False, True):
        pixels = images.test.pixels[:5]
        assert torch.equal(class_logits(trained, pixels, aggregated), class_logits(again, pixels, aggregated))


def test_the_gradient_of_the_plain_head_comes_from_untransformed_rows_only(images):
    heads = Heads(4, ["a", "b"], "rotation", 4, ["joint", "plain"])
    logits = torch.randn(8, 10, requires_grad=True)
    terms = load("sla").settings(mode="sla+sd")._losses(heads.split(logits), torch.tensor([0, 1]), 4)
    (terms["ensemble"].mean() + terms["label"].mean()).backward()
    rows = torch.arange(8) % 4 == 0
    assert (logits.grad[rows, 8:] != 0).all()
    assert (logits.grad[~rows] == 0).all()
    assert (logits.grad[:, :8] == 0).all()


def test_aggregation_is_the_mean_over_turned_copies():
    class Brightness(torch.nn.Module):
        num_features = 4

        def forward(self, pixels):
            return pixels.mean(1).flatten(1)

    heads = Heads(4, ["a", "b", "c"], "rotation", 4, ["joint"])
    model, pixels = Classified(Brightness(), heads), torch.rand(3, 1, 2, 2)
    copies = transformations("rotation")(pixels).view(3, 4, 1, 2, 2)
    expected = torch.stack([heads(Brightness()(copies[:, j]))[:, j::4] for j in range(4)]).mean(0)
    torch.testing.assert_close(class_logits(model, pixels, aggregated=True, size=5), expected)
    torch.testing.assert_close(class_logits(model, pixels), heads(Brightness()(pixels))[:, 0::4])
    labels = torch.tensor([-1, int(expected[1].argmax()), (int(expected[2].argmax()) + 1) % 3])
    assert class_accuracy(model, pixels, labels)["aggregated_accuracy"] == 0.5


def test_wrong_input_teaches(tmp_path, images):
    none = ImageSet(images.train.pixels, torch.full_like(images.train.labels, -1))
    bare = Images(none, none, none, classes=())
    with pytest.raises(CounterpointError, match="learns from labels"):
        fit(tmp_path / "a", bare)
    with pytest.raises(CounterpointError, match="did you mean 'rotation'"):
        fit(tmp_path / "b", images, transformations="rotatoin")
    with pytest.raises(CounterpointError, match="need 3 channels"):
        fit(tmp_path / "c", images, transformations="color_perm")
    with pytest.raises(CounterpointError, match="mode"):
        load("sla").settings(mode="slaa")


def test_a_contrastive_method_goes_on_from_a_classifiers_encoder(tmp_path, images):
    trained = fit(tmp_path / "sla", images, steps=1)
    with Run(tmp_path / "dcl", budget=Budget(steps=1), progress=False) as run:
        found = load("dcl").settings(batch_size=16, dim=8).fit(trained, images, run)
    TASK.save_model(found, tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").exists()


def test_it_trains_whatever_mode_the_model_came_in(tmp_path, images):
    model = TASK.load_model("conv-small", images, 0).eval()
    before = model.body[1].running_mean.clone()
    with Run(tmp_path, budget=Budget(steps=1), progress=False) as run:
        trained = load("sla").settings(batch_size=16).fit(model, images, run)
    assert not torch.equal(trained.encoder.body[1].running_mean, before)
