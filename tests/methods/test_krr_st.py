"""krr-st: outer steps equal a loop, the pool lives and dies by its rule, runs resume, sets are saved and train other encoders."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from counterpoint.data.images.load import Images, load_images
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.features import features
from counterpoint.methods.catalog import load
from counterpoint.models.images.distilled import DistilledSet, FromDistilled, draw_gallery, open_distilled
from counterpoint.models.images.encoders import SmallConv
from counterpoint.objectives.reduction import total
from counterpoint.phases import distilled_pool
from counterpoint.phases.distilled_pool import Pool
from counterpoint.tasks.images import TASK
from counterpoint.training import Budget, Run

SMALL: dict[str, Any] = {
    "size": 6, "inner.widths": (4, 6), "inner.networks": 2, "inner.updates": 5, "outer.batch_size": 32,
    "outer.learning_rate": 0.01, "target.batch_size": 32, "pretrain.learning_rate": 0.03,
}  # fmt: skip


@pytest.fixture(scope="module")
def data() -> Images:
    return load_images("digits", limit=150, evaluation_limit=60)


def fit(folder: Path, data: Images, *, steps: int = 12, run_class: type[Run] = Run, model: Any = None, options: dict[str, Any] = {}, **settings: Any) -> Any:  # fmt: skip
    with run_class(folder, seed=1, budget=Budget(steps=steps), progress=False, **options) as run:
        net = TASK.load_model("conv-small:group", data, 1) if model is None else model
        return load("krr-st").settings(**{**SMALL, **settings}).fit(net, data, run)


def pool(**changes: Any) -> Pool:
    given: dict[str, Any] = {
        "networks": 2, "most": 4, "shape": (1, 8, 8), "widths": (3, 4), "statistics": ([0.5], [0.5]), "outputs": 5,
        "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 1e-3, "reset": "paper", "seed": 3, "device": torch.device("cpu"),
    }  # fmt: skip
    return Pool(**{**given, **changes})


def made_up(size: int = 4) -> DistilledSet:
    distilled = DistilledSet(size, (1, 8, 8), 5)
    g = torch.Generator().manual_seed(0)
    distilled.become(torch.rand(size, 1, 8, 8, generator=g), torch.randn(size, 5, generator=g))
    return distilled


def test_networks_are_updated_by_momentum_on_the_whole_set() -> None:
    mine, distilled = pool(), made_up()
    net = mine.nets[0]
    copied = distilled_pool.Pool._net(pool())  # a fresh one, for its shape
    copied.load_state_dict(net.state_dict())
    speed = {name: torch.zeros_like(p) for name, p in copied.named_parameters()}
    mine.counts[0] = 0
    for _ in range(3):
        mine.after(0, distilled)
        copied.train()
        error = ((copied(distilled.images) - distilled.targets) ** 2).mean()
        slopes = torch.autograd.grad(error, list(copied.parameters()))
        with torch.no_grad():
            for (name, p), slope in zip(copied.named_parameters(), slopes, strict=True):
                speed[name] = 0.9 * speed[name] + slope + 1e-3 * p
                p -= 0.1 * speed[name]
    assert mine.counts[0] == 3
    for one, other in zip(net.state_dict().values(), copied.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_network_whose_time_is_over_is_replaced_and_begins_anew() -> None:
    mine, distilled = pool(), made_up()
    mine.counts = [4, 1]
    before = mine.nets[0]
    mine.after(0, distilled)
    assert mine.nets[0] is not before
    assert mine.counts == [0, 1]
    assert not mine.rules[0].state
    code = pool(reset="code")
    code.counts = [4, 1]
    code.after(0, distilled)
    assert code.counts == [4, 1]
    first = [p.clone() for p in pool().nets[0].parameters()]
    assert not all(torch.equal(a, b) for a, b in zip(first, mine.nets[0].parameters(), strict=True))


def test_a_pool_begins_partly_trained_and_its_state_is_whole() -> None:
    mine, distilled = pool(networks=6, most=9), made_up()
    assert min(mine.counts) >= 1
    assert max(mine.counts) <= 8
    fresh = [next(net.parameters()).clone() for net in mine.nets]
    mine.begin(distilled)
    assert not any(torch.equal(a, next(net.parameters())) for a, net in zip(fresh, mine.nets, strict=True))
    again = pool(networks=6, most=9)
    again.load_state_dict(copy.deepcopy(mine.state_dict()))
    for each in (mine, again):
        each.after(2, distilled)
    for one, other in zip(
        mine.nets[2].state_dict().values(), again.nets[2].state_dict().values(), strict=True
    ):
        assert torch.equal(one, other)


def test_features_send_gradients_to_pixels_alone_and_leave_running_statistics() -> None:
    mine, pixels = pool(), torch.rand(3, 1, 8, 8, requires_grad=True)
    before = [b.clone() for b in mine.nets[1].buffers()]
    mine.features(1, pixels).sum().backward()
    assert all(p.grad is None for p in mine.nets[1].parameters())
    direction = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0)) * 1e-3
    with torch.no_grad():
        ahead, back = (float(mine.features(1, pixels + way * direction).sum()) for way in (1, -1))
    assert pixels.grad is not None
    assert float((pixels.grad * direction).sum()) == pytest.approx((ahead - back) / 2, rel=0.02, abs=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(before, mine.nets[1].buffers(), strict=True))


def test_an_outer_step_equals_a_loop(tmp_path: Path, data: Images) -> None:
    """The first outer step: its losses image by image, and the gradients of images and targets, from formulas written out."""
    seen: list[Any] = []

    class Watching(Run):
        def state(self, **named: Any) -> Any:
            found = super().state(**named)
            HERE.update(named)
            return found

        def step(self, losses: Any, **options: Any) -> float:
            if not isinstance(losses, dict) and HERE.get("outer") and not seen:
                both = [HERE["distilled"].images, HERE["distilled"].targets]
                if losses.requires_grad and len(losses) == 32:
                    try:
                        slopes = torch.autograd.grad(total({"a": losses}), both, retain_graph=True)
                    except RuntimeError:  # a step of another part
                        return super().step(losses, **options)
                    seen.append((losses.detach(), slopes, [b.detach().clone() for b in both]))
                    seen.append(
                        [{k: v.clone() for k, v in n.state_dict().items()} for n in HERE["pool"].nets]
                    )
            return super().step(losses, **options)

    HERE: dict[str, Any] = {"outer": True}
    views: list[torch.Tensor] = []

    class Seen:
        def __init__(self, draw: Any) -> None:
            self.draw = draw

        def views(self, pixels: torch.Tensor, random: Any, count: int) -> torch.Tensor:
            views.append(self.draw.views(pixels, random, count))
            return views[-1]

    import counterpoint.methods.krr_st as home

    usual = home.augmentation
    home.augmentation = lambda *given: Seen(usual(*given))  # type: ignore[assignment]
    try:
        with Watching(tmp_path / "run", seed=1, budget=Budget(steps=9), progress=False) as run:
            net = TASK.load_model("conv-small:group", data, 1)
            load("krr-st").settings(**{**SMALL, "inner.networks": 1, "target.epochs": 1.0}).fit(
                net, data, run
            )
    finally:
        home.augmentation = usual
    losses, slopes, (images, targets) = seen[0]
    network = HERE["pool"]._net()
    network.load_state_dict(seen[1][0])
    body = network[0].double().eval()
    target = HERE["target"].eval()
    scale = float(HERE["scale"].value)
    wanted = (target(views[0]) / scale).double().detach()
    x, y = images.double().requires_grad_(), targets.double().requires_grad_()
    f, real = body(x), body(views[0].double()).detach()
    ones, more = torch.ones(len(f), 1), torch.ones(len(real), 1)
    wide, real_wide = torch.cat([f, ones], 1), torch.cat([real, more], 1)
    gram = wide @ wide.T
    ridged = gram + 1e-6 * gram.detach().trace() * torch.eye(len(gram))
    predicted = real_wide @ wide.T @ torch.linalg.solve(ridged, y)
    expected = torch.stack([((predicted[i] - wanted[i]) ** 2).mean() for i in range(len(real))])
    torch.testing.assert_close(losses.double(), expected.detach(), rtol=1e-3, atol=1e-5)
    for found, value in zip(slopes, torch.autograd.grad(expected.mean(), [x, y]), strict=True):
        torch.testing.assert_close(found.double(), value, rtol=2e-2, atol=1e-4 * float(value.abs().max()))
    fresh = pool(networks=1, most=5, seed=1, widths=(4, 6), outputs=256)
    (count,) = fresh.counts
    for _ in range(3):  # nine steps, a third of them outer ones
        count = distilled_pool.next_count(count, 5)[1]
    assert HERE["pool"].counts == [count]
    # The set begins as real images with the target model's features.
    rows = [any(torch.equal(image, p.float() / 255) for p in data.train.pixels) for image in images]
    assert all(rows)
    torch.testing.assert_close(targets, features(target, images) / scale, rtol=1e-4, atol=1e-5)


def test_distilling_lowers_the_error_and_other_ways_choose_real_images(tmp_path: Path, data: Images) -> None:
    learnt = fit(tmp_path / "learn", data, steps=180)
    real = {tuple(p.flatten().tolist()) for p in data.train.pixels.float() / 255}

    def share(net: FromDistilled) -> float:
        rows = [tuple(image.flatten().tolist()) in real for image in net.distilled.images]
        return sum(rows) / len(rows)

    assert share(learnt) == 0
    for select in ("random", "kmeans", "all", "labels"):
        net = fit(tmp_path / select, data, steps=8, select=select)
        assert share(net) == 1
        assert len(net.distilled) == (len(data.train) if select == "all" else 6)
        assert net.distilled.targets.shape[1] == (10 if select == "labels" else 256)
    losses = [
        line for line in (tmp_path / "learn" / "events.jsonl").read_text().splitlines() if "round" in line
    ]
    import json

    outer = [json.loads(line)["loss"] for line in losses if "rounds-1/" in line]
    assert sum(outer[-10:]) < 0.8 * sum(outer[:10])


class Killed(Exception):
    pass


@pytest.mark.parametrize("at", [2, 6, 10])
def test_an_interrupted_run_ends_with_the_same_bits(tmp_path: Path, data: Images, at: int) -> None:
    class Dying(Run):
        def step(self, losses: Any, **options: Any) -> float:
            if self.cursor.spent["steps"] == at:
                raise Killed
            return super().step(losses, **options)

    whole = fit(tmp_path / "whole", data, options={"audit": True})
    with pytest.raises(Killed):
        fit(tmp_path / "cut", data, run_class=Dying, options={"checkpoint_steps": 1})
    again = fit(tmp_path / "cut", data)
    for one, other in zip(whole.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_a_saved_set_trains_another_encoder_and_any_encoder_may_be_the_target(
    tmp_path: Path, data: Images
) -> None:
    first = fit(tmp_path / "first", data)
    TASK.save_model(first, tmp_path / "model")
    again = TASK.load_model(str(tmp_path / "model"), data, 0)
    assert isinstance(again, FromDistilled)
    assert torch.equal(again.distilled.images, first.distilled.images)
    assert again.distilled.scale == first.distilled.scale != 1.0
    assert torch.equal(features(again, data.test.pixels), features(first, data.test.pixels))
    assert TASK.evaluate(again, data, "test")["probe_accuracy"] > 0.5
    other = SmallConv(1, widths=(4, 8, 8))
    before = {n: p.clone() for n, p in other.named_parameters()}
    second = fit(tmp_path / "second", data, model=other, distilled=str(tmp_path / "model"))
    assert second.encoder is other
    assert not torch.equal(before["body.0.weight"], other.body[0].weight)
    assert torch.equal(second.distilled.images, first.distilled.images)
    third = fit(tmp_path / "third", data, steps=4, **{"target.model": str(tmp_path / "model")})
    assert third.distilled.targets.shape == (6, 256)


def test_a_gallery_shows_every_image(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    images = torch.zeros(5, 1, 8, 8)
    images[1], images[4] = 1.5, torch.nan
    assert draw_gallery(images, tmp_path / "gallery.png")
    with image.open(tmp_path / "gallery.png") as picture:
        assert picture.size == (3 * 50 - 2, 2 * 50 - 2)
        assert picture.getpixel((60, 10)) == (255, 255, 255)
        assert picture.getpixel((10, 10)) == (0, 0, 0)
        assert picture.getpixel((60, 60)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"size": 0}, "above 0"),
        ({"inner.widths": ()}, "for each block"),
        ({"outer.ridge": 0.0}, "above 0"),
        ({"select": "lern"}, "learn"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(CounterpointError, match=words):
        load("krr-st").settings(**settings)


def test_what_does_not_fit_the_data_is_refused(tmp_path: Path, data: Images) -> None:
    with pytest.raises(CounterpointError, match="size=1000 of 150 training images"):
        fit(tmp_path / "a", data, size=1000)
    with pytest.raises(CounterpointError, match="halve to nothing"):
        fit(tmp_path / "b", data, **{"inner.widths": (2, 2, 2, 2)})
    with pytest.raises(CounterpointError, match="holds no distilled set"):
        fit(tmp_path / "c", data, distilled=str(tmp_path))
    with pytest.raises(CounterpointError, match="num_features"):
        fit(tmp_path / "d", data, model=nn.Flatten())
    bare = replace(data, train=replace(data.train, labels=torch.full_like(data.train.labels, -1)))
    with pytest.raises(CounterpointError, match="needs a label"):
        fit(tmp_path / "e", bare, select="labels")
    made_up().save_pretrained(tmp_path / "set")
    with pytest.raises(CounterpointError, match="size=8"):
        open_distilled(tmp_path / "set", (3, 32, 32))
