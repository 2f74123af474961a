"""ddae and edm: a whole step equals a loop over pictures, who is steered by what, three kinds of network, both paths, pictures of one's own."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from typer.testing import CliRunner

import counterpoint
from counterpoint.cli.main import app
from counterpoint.data.pictures.load import Pictures, load_pictures
from counterpoint.errors import CounterpointError
from counterpoint.generation.pictures import pictures
from counterpoint.methods.catalog import load
from counterpoint.models.folders import load as open_folder
from counterpoint.models.pictures.denoiser import Denoiser
from counterpoint.models.pictures.read import Read
from counterpoint.tasks.pictures import TASK
from counterpoint.training import Budget, Run

SMALL: dict[str, Any] = {
    "batch_size": 8, "learning_rate": 1e-3, "ema": 0.9, "warmup": 0.0, "diffusion.steps": (2,),
}  # fmt: skip
HEADS: dict[str, Any] = {"contrast.hidden": 12, "contrast.dim": 6}
NETWORKS = ("dit-narrow:4", "uvit-small:4", "unet-small")


@pytest.fixture(scope="module")
def data() -> Pictures:
    return load_pictures("digits", limit=80, evaluation_limit=40, samples=20)


def fit(folder: Path, data: Pictures, key: str = "ddae", steps: int = 3, model: Any = None, spec: str = "dit-narrow:4", options: dict[str, Any] = {}, **settings: Any) -> Denoiser:  # fmt: skip
    net = TASK.load_model(spec, data, 1) if model is None else model
    given = {**SMALL, **(HEADS if key == "ddae" else {}), **settings}
    with Run(folder, seed=1, budget=Budget(steps=steps), progress=False, **options) as run:
        return load(key).settings(**given).fit(net, data, run)


def awake(model: Any, seed: int = 0) -> Any:
    """A network whose zeros are none."""
    g = torch.Generator().manual_seed(seed)
    for value in model.double().parameters():
        value.data += 0.1 * torch.randn(value.shape, generator=g, dtype=torch.double)
    return model


@pytest.mark.parametrize("path", ["edm", "flow"])
@pytest.mark.parametrize("conditioning", ["gated", "none"])
def test_a_step_is_the_papers_picture_by_picture(
    tmp_path: Path, data: Pictures, monkeypatch: pytest.MonkeyPatch, path: str, conditioning: str
) -> None:
    """Whole-step gradients against a loop that takes each picture by itself, with the draws of the step and the card's equations."""
    from counterpoint.training.batches import ItemRandom

    draws: list[Tensor] = []
    for name in ("uniform", "normal"):
        draw = getattr(ItemRandom, name)

        def watched(own: Any, *shape: int, draw: Any = draw) -> Tensor:
            draws.append(draw(own, *shape).double())
            return draws[-1]

        monkeypatch.setattr(ItemRandom, name, watched)
    net = awake(TASK.load_model("dit-narrow:4", data, 1))
    net.read_at(3, conditioning, 1)
    awake(net, 2)
    seen: dict[str, Any] = {}

    class Watched(Run):
        def state(self, **objects: Any) -> Any:
            for each in objects.values():
                if isinstance(each, Read):
                    seen["read"] = awake(each, 3)
                    seen["before"] = copy.deepcopy(each)
            return super().state(**objects)

        def step(self, losses: Any, **options: Any) -> float:
            total = sum(each.values.mean() for each in losses.values())
            seen["loss"] = total
            weights = list(seen["read"].parameters())
            seen["slopes"] = torch.autograd.grad(total, weights, retain_graph=True, allow_unused=True)
            return super().step(losses, **options)

        def batches(self, *given: Any, **options: Any) -> Any:
            for batch in super().batches(*given, **options):
                seen["items"] = batch.items
                yield batch

    settings = {
        **SMALL, **HEADS, "batch_size": 5, "tap": 3, "conditioning": conditioning, "diffusion.path": path, "contrast.norm": "none",
        "contrast.weight": 0.3, "contrast.temperature": 0.4, "contrast.level": 0.1, "contrast.augmentation": "light", "prompt_dropout": 0.3,
    }  # fmt: skip
    with Watched(tmp_path, seed=1, budget=Budget(steps=1), progress=False) as run:
        load("ddae").settings(**settings).fit(net, data, run)
    noise, raw, drop, warp, noise2, noise_t = draws[:6]
    read, items = seen["before"], seen["items"]
    body = read.denoiser

    def through(x: Tensor, level: Tensor, prompt: Tensor) -> tuple[Tensor, Tensor]:
        """(the clean picture, z) of one picture by the equations, block by block."""
        s = 0.5
        given, time = (x, level) if path == "flow" else (x / (level**2 + s**2).sqrt(), level.log() / 4)
        e, h, z = body.embedding(time, time, prompt), body.begin(given), None
        c = functional.silu(e)
        for number, block in enumerate(body.blocks, 1):
            h = block(h, c)
            if number == 3:
                mean = h.mean(1)
                z = (mean - mean.mean(-1)) / (mean.var(-1, unbiased=False) + 1e-6).sqrt()
                if conditioning == "gated":
                    own = body.semantic
                    c = functional.silu(e + own.out(functional.silu(z)) * (1 + own.gate(e)))
        out = body.end(h, c)
        assert z is not None
        if path == "flow":
            return x - level * out, z
        return s**2 / (level**2 + s**2) * x + level * s / (level**2 + s**2).sqrt() * out, z

    from counterpoint.pairs.views import augmentation

    class Same:
        def uniform(self, *shape: int) -> Tensor:
            return warp

        normal = uniform

    second = (2 * augmentation("light", (1, 8, 8)).views(items.pixels, Same(), 1) - 1).double()
    total, queries, keys = torch.zeros((), dtype=torch.double), [], []
    for row in range(5):
        views = ((items.pixels[row : row + 1].float() / 127.5 - 1).double(), second[row : row + 1])
        level = (-1.2 + 1.2 * raw[row : row + 1]).exp() if path == "edm" else raw[row : row + 1].sigmoid()
        prompt = torch.full((1,), -1) if drop[row] < 0.3 else items.prompts[row : row + 1]
        low = torch.full((1,), 0.1 if path == "edm" else 0.1 / 1.1, dtype=torch.double)
        for number, (view, e) in enumerate(zip(views, (noise, noise2), strict=True)):

            def at(level: Tensor, e: Tensor, view: Tensor = view) -> Tensor:
                return view + level * e if path == "edm" else (1 - level) * view + level * e

            clean, z = through(at(level, e[row : row + 1]), level, prompt)
            queries.append(read.predictor(read.projector(z)))
            with torch.no_grad():
                keys.append(
                    read.projector(through(at(low, noise_t[row, number][None]), low, torch.full((1,), -1))[1])
                )
            if number == 0:
                weight = (level**2 + 0.25) / (level * 0.5) ** 2 if path == "edm" else 1 / level**2
                total = total + (weight * (clean - view).square().mean()).squeeze() / 5
    q, k = (functional.normalize(torch.cat(each), dim=-1).view(5, 2, -1) for each in (queries, keys))
    for own, other in ((0, 1), (1, 0)):
        for row in range(5):
            against = torch.stack([(q[row, own] * k[each, other]).sum() / 0.4 for each in range(5)])
            total = total + 0.3 * 2 * 0.4 * (against.logsumexp(0) - against[row]) / 5
    torch.testing.assert_close(seen["loss"], total, rtol=1e-6, atol=0)
    slopes = torch.autograd.grad(total, list(read.parameters()), allow_unused=True)
    for one, other_slope in zip(seen["slopes"], slopes, strict=True):
        if one is not None or other_slope is not None:
            torch.testing.assert_close(one, other_slope, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("spec", NETWORKS)
def test_only_layers_behind_the_tap_are_steered(data: Pictures, spec: str) -> None:
    """With W at 0 the network is the plain one; with any W the layers up to the tap stay what they were."""
    plain = awake(TASK.load_model(spec, data, 1))
    steered = copy.deepcopy(plain)
    tap = steered.usual_tap()
    steered.read_at(tap, "gated", 0)
    steered.double()
    x, t = torch.randn(4, 1, 8, 8, dtype=torch.double), torch.full((4,), 0.3, dtype=torch.double)
    prompts = torch.tensor([0, 3, -1, 2])
    base = plain.traced(x, t, prompts)
    assert torch.equal(base.output, steered.traced(x, t, prompts).output)
    awake(steered.semantic, 5)
    after = steered.traced(x, t, prompts)
    for number, (one, other) in enumerate(zip(base.pooled, after.pooled, strict=True), 1):
        assert torch.equal(one, other) == (number <= tap), number
    assert after.z is not None
    assert after.z.shape == (4, steered.state_width(tap))
    swapped = steered.traced(x, t, prompts, torch.tensor([1, 0, 3, 2]))
    assert not torch.allclose(swapped.output, after.output)
    assert torch.equal(steered(x, t, t, prompts), after.output)
    grown = torch.autograd.grad(after.output.square().sum(), steered.semantic.out.weight)[0]
    assert float(grown.abs().sum()) > 0


@pytest.mark.parametrize("path", ["edm", "flow"])
@pytest.mark.parametrize("spec", NETWORKS)
def test_every_network_trains_on_both_paths_and_is_opened_again(
    tmp_path: Path, data: Pictures, spec: str, path: str
) -> None:
    model = fit(
        tmp_path / "run", data, spec=spec, steps=2, **{"diffusion.path": path, "diffusion.guidance": 1.5}
    )
    model.save_pretrained(tmp_path / "model")
    opened = open_folder(tmp_path / "model")
    assert (opened.tap, opened.conditioning) == (model.usual_tap(), "gated")
    for one, other in zip(model.state_dict().values(), opened.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    drawn = pictures(opened, ["3", None, "5"], steps=2, seed=0)
    assert torch.equal(drawn, pictures(model, ["3", None, "5"], steps=2, seed=0))
    figures = TASK.evaluate(opened, data, "test", 0)
    assert {"probe", "probe_layer", "denoising", "denoising_permuted", "reliance", "frechet@2"} <= set(
        figures
    )
    assert len([name for name in figures if name.startswith("probe_layer_")]) == 2 * model.depth


def test_without_both_parts_it_is_edm(tmp_path: Path, data: Pictures) -> None:
    mine = fit(tmp_path / "a", data, **{"conditioning": "none", "contrast.weight": 0.0})
    plain = fit(tmp_path / "b", data, "edm")
    for one, other in zip(mine.state_dict().values(), plain.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_micro_batches_and_the_audit(tmp_path: Path, data: Pictures) -> None:
    whole = fit(tmp_path / "a", data, options={"audit": True}, **{"contrast.norm": "none"})
    parts = fit(tmp_path / "b", data, options={"micro_batch_size": 3}, **{"contrast.norm": "none"})
    for one, other in zip(whole.state_dict().values(), parts.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    with pytest.raises(CounterpointError, match="micro_batch_size=3 has a part .*; give contrast.norm=none"):
        fit(tmp_path / "c", data, options={"micro_batch_size": 3})


def test_half_precision_stays_near_and_finite(tmp_path: Path, data: Pictures) -> None:
    exact = fit(tmp_path / "a", data)
    half = fit(tmp_path / "b", data, options={"precision": "bf16"})
    for one, other in zip(exact.state_dict().values(), half.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=0.05, atol=0.02)


def test_pictures_of_ones_own_without_prompts_from_the_command_line(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    g = np.random.default_rng(0)
    (tmp_path / "own").mkdir()
    for number in range(40):
        shape, mode = ((23, 31, 4), "RGBA") if number % 3 == 0 else ((17, 40, 3), "RGB")
        image.fromarray(g.integers(0, 256, shape, dtype=np.uint8), mode).save(
            tmp_path / "own" / f"{number}.png"
        )
    out = tmp_path / "run"
    given = [
        "run", "ddae", "--data", str(tmp_path / "own"), "--data-option", "size=8", "--data-option", "samples=12", "--out", str(out),
        "--model", "unet-small", "--steps", "2", "--batch-size", "8", "--diffusion.steps", "2", "--contrast.hidden", "8", "--contrast.dim", "4",
    ]  # fmt: skip
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, (done.output, done.exception)
    assert (out / "model" / "samples_002_steps" / "gallery.png").exists()
    answers = counterpoint.load(out / "model").predict([{"prompt": ""}], seed=5, steps=2)
    assert answers[0]["png"]
    again = TASK.load_model(str(out / "model"), load_pictures(tmp_path / "own", size=8, samples=12), 0)
    assert again.conditioning == "gated"
    assert "probe" not in TASK.evaluate(again, load_pictures(tmp_path / "own", size=8, samples=12), "test", 0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"ema": 2.0}, "ema=2.0"), ({"prompt_dropout": 1.5}, "prompt_dropout"), ({"contrast.temperature": 0.0}, "contrast.temperature"),
        ({"diffusion.lowest": 90.0}, "lowest"), ({"diffusion.steps": (0,)}, "steps"), ({"diffusion.path": "line"}, "path"),
        ({"diffusion.bend": 0.0}, "bend"), ({"conditioning": "other"}, "conditioning"), ({"batch_size": 0}, "batch_size"),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(CounterpointError, match=message):
        load("ddae").settings(**wrong)


def test_a_layer_that_is_not_there_and_a_batch_of_one_are_refused(tmp_path: Path, data: Pictures) -> None:
    with pytest.raises(CounterpointError, match="a layer from 1 to 4"):
        fit(tmp_path / "a", data, tap=5)
    with pytest.raises(CounterpointError, match="batch_size=1"):
        fit(tmp_path / "b", data, batch_size=1)
    with pytest.raises(CounterpointError, match="cannot be halved"):
        TASK.load_model(
            "unet-small", load_pictures("digits", size=9, limit=40, evaluation_limit=20, samples=10), 0
        )
    with pytest.raises(CounterpointError, match="has no patches"):
        TASK.load_model("unet-small:2", data, 0)
