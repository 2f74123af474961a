"""self-e: a whole step equals a loop over pictures, what is judged and by whom, captions and classes, folders of one's own."""

from __future__ import annotations

import base64
import copy
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

import counterpoint
from counterpoint.cli.main import app
from counterpoint.data.pictures.load import Pictures, load_pictures
from counterpoint.errors import CounterpointError
from counterpoint.generation.pictures import pictures
from counterpoint.methods.catalog import load
from counterpoint.models.folders import load as open_folder
from counterpoint.models.pictures.dit import DiT
from counterpoint.models.pictures.prompts import no_prompt
from counterpoint.pairs import caption_vectors
from counterpoint.pairs.picture_prompts import prompted
from counterpoint.tasks.pictures import TASK
from counterpoint.training import Budget, Run

GROUPS = "even=0,2,4,6,8; odd=1,3,5,7,9"
SMALL: dict[str, Any] = {
    "batch_size": 16, "learning_rate": 1e-3, "ema": 0.9, "warmup": 0.0, "sampling.steps": (1, 2),
}  # fmt: skip


@pytest.fixture(scope="module")
def data() -> Pictures:
    return load_pictures("digits", prompts=GROUPS, limit=80, evaluation_limit=40, samples=40)


def fit(folder: Path, data: Pictures, key: str = "self-e", steps: int = 4, model: Any = None, options: dict[str, Any] = {}, **settings: Any) -> DiT:  # fmt: skip
    net = TASK.load_model("dit-small:4", data, 1) if model is None else model
    with Run(folder, seed=1, budget=Budget(steps=steps), progress=False, **options) as run:
        return load(key).settings(**{**SMALL, **settings}).fit(net, data, run)


def awake(model: DiT, seed: int = 0) -> DiT:
    """A network whose output is not 0, as a fresh one's is."""
    g = torch.Generator().manual_seed(seed)
    for value in model.double().parameters():
        value.data += 0.05 * torch.randn(value.shape, generator=g, dtype=torch.double)
    return model


class Draws:
    """The numbers a step draws, kept for a loop to use again."""

    def __init__(self) -> None:
        self.all: list[Tensor] = []

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from counterpoint.training.batches import ItemRandom

        for name in ("uniform", "normal"):
            draw = getattr(ItemRandom, name)

            def watched(own: Any, *shape: int, draw: Any = draw) -> Tensor:
                self.all.append(draw(own, *shape).double())
                return self.all[-1]

            monkeypatch.setattr(ItemRandom, name, watched)


@pytest.mark.parametrize("fakes", [False, True])
@pytest.mark.parametrize("target", ["renormalised", "mixed"])
def test_a_step_is_the_papers_picture_by_picture(
    tmp_path: Path, data: Pictures, monkeypatch: pytest.MonkeyPatch, fakes: bool, target: str
) -> None:
    """Whole-step gradients against a loop that takes each picture by itself, with the draws of the step."""
    draws, seen = Draws(), {}
    draws.watch(monkeypatch)
    net = awake(TASK.load_model("dit-small:4", data, 1))
    before = copy.deepcopy(net)

    class Watched(Run):
        def step(self, losses: Any, **options: Any) -> float:
            if not seen:
                terms = {name: each.values.mean() for name, each in losses.items()}
                seen["loss"] = sum(terms.values())
                seen["slopes"] = torch.autograd.grad(
                    seen["loss"], list(net.parameters()), retain_graph=True, allow_unused=True
                )
                seen["rows"] = self.items
            return super().step(losses, **options)

        def batches(self, *given: Any, **options: Any) -> Any:
            for batch in super().batches(*given, **options):
                self.items = batch.items
                yield batch

    settings = {
        "evaluation.plain_share": 0.2, "evaluation.widening": 0.0, "evaluation.fake_start": 0.0 if fakes else 1.0,
        "evaluation.target": target, "evaluation.fake_k": 0.7, "prompt_dropout": 0.2, "times.shift": 0.4,
    }  # fmt: skip
    with Watched(tmp_path, seed=1, budget=Budget(steps=1), progress=False) as run:
        load("self-e").settings(**{**SMALL, **settings}).fit(net, data, run)
    noise, t_raw, drop, plain, down, noise_again = draws.all
    net.load_state_dict(before.state_dict())
    total, own, judged = 0.0, [], 0
    items = seen["rows"]
    for row in range(16):
        x0 = (items.pixels[row : row + 1].float() / 127.5 - 1).double()
        t = torch.sigmoid(t_raw[row : row + 1])
        t = (np.exp(0.4) / (np.exp(0.4) + 1 / t - 1)).clamp(0.02, 0.995)
        s = t if plain[row] < 0.2 else t * (1 - down[row])
        prompt = torch.full((1,), -1) if drop[row] < 0.2 else items.prompts[row : row + 1]
        x_t = (1 - t) * x0 + t * noise[row : row + 1]
        x = x_t - t * net(x_t, t, s, prompt)
        goal, weight = x0, 0.0
        if bool(s < t) and int(prompt) >= 0:
            judged += 1
            x_s = (1 - s) * x.detach() + s * noise_again[row : row + 1]

            def G(c: Tensor, x_s: Tensor = x_s, s: Tensor = s) -> Tensor:
                return x_s - s * net(x_s, s, s, c)

            cond, null, fake = G(prompt).detach(), G(no_prompt(prompt)).detach(), G(prompt + 2)
            delta = null - cond
            if fakes:
                delta = 0.7 * (null - cond) + 0.3 * (fake.detach() - cond)
                own.append((fake - x.detach()).square().sum() / 64)
            weight = float(t / (1 - t) - s / (1 - s))
            goal = x.detach() - delta
        if target == "mixed":
            error = (x - x0).square().sum() + weight * (x - goal).square().sum()
        else:
            u = x0 + weight * goal
            error = (x - u * x0.norm() / u.norm()).square().sum()
        total = total + error / t**2 / 64 / 16
    assert 2 <= judged <= 14
    if fakes:
        total = total + torch.stack(own).mean()
    torch.testing.assert_close(seen["loss"], total.squeeze(), rtol=1e-9, atol=0)
    slopes = torch.autograd.grad(total.squeeze(), list(net.parameters()), allow_unused=True)
    for one, other in zip(seen["slopes"], slopes, strict=True):
        if one is not None or other is not None:
            torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-12)


def test_the_average_judges_with_the_prompt_and_the_live_network_without(
    tmp_path: Path, data: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[bool, bool, bool]] = []
    forward = DiT.forward

    def watched(self: DiT, x: Tensor, t: Tensor, s: Tensor, prompts: Tensor) -> Tensor:
        if bool((t == s).all()) and len(x):
            averaged = not next(self.parameters()).requires_grad
            asked.append((averaged, bool((prompts >= 0).all()), torch.is_grad_enabled()))
        return forward(self, x, t, s, prompts)

    monkeypatch.setattr(DiT, "forward", watched)
    monkeypatch.setattr("counterpoint.methods.self_e.averaged_result", lambda *given: given[0].model)
    fit(tmp_path, data, steps=2, **{"evaluation.plain_share": 0.0, "evaluation.widening": 0.0})
    assert asked == [(True, True, False), (False, False, False)] * 2


def test_with_equal_times_alone_it_is_flow_matching(tmp_path: Path, data: Pictures) -> None:
    mine = fit(tmp_path / "a", data, **{"evaluation.plain_share": 1.0, "sampling.landing": 1.0})
    plain = fit(tmp_path / "b", data, "flow-matching")
    for one, other in zip(mine.state_dict().values(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_micro_batches_and_the_audit(tmp_path: Path, data: Pictures) -> None:
    whole = fit(tmp_path / "a", data, options={"audit": True}, **{"evaluation.fake_start": 0.0})
    parts = fit(tmp_path / "b", data, options={"micro_batch_size": 5}, **{"evaluation.fake_start": 0.0})
    for one, other in zip(whole.state_dict().values(), parts.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_captions_are_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = pytest.importorskip("PIL.Image")
    texts: list[str] = []

    def vectors(given: list[str], spec: str) -> np.ndarray:
        texts.extend(given)
        rows = np.array([[len(text) % 7, "red" in text, "fake" in text, 1.0] for text in given], np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    monkeypatch.setattr(caption_vectors, "cached_sentence_vectors", vectors)
    monkeypatch.setattr(
        "counterpoint.models.text.embedding.sentences", lambda given, spec: vectors(list(given), spec)
    )
    rows, draw = ["file,caption"], np.random.default_rng(0)
    for number in range(40):
        colour = ("red", "blue")[number % 2]
        pixels = draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        (tmp_path / "photos").mkdir(exist_ok=True)
        image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
        rows.append(f"{number}.png,a {colour} thing no {number}")
    (tmp_path / "photos" / "captions.csv").write_text("\n".join(rows))
    data = load_pictures(tmp_path / "photos", samples=20)
    assert data.by == "captions"
    assert "prompts are captions" in " ".join(data.describe())
    model = fit(tmp_path / "run", data, **{"evaluation.fake_start": 0.0})
    assert any(text.endswith(", fake image") for text in texts)
    assert model.text_dim == 4
    model.save_pretrained(tmp_path / "model")
    opened = open_folder(tmp_path / "model")
    drawn = pictures(opened, ["a red thing", None], steps=1)
    assert drawn.shape == (2, 3, 8, 8)
    figures = TASK.evaluate(opened, data, "test", 0)
    assert "frechet@2" in figures
    assert "agreement" not in figures
    ready = prompted(data, fakes=True)
    assert prompted(ready, fakes=True) is ready


def test_pictures_of_ones_own_of_all_sorts(tmp_path: Path) -> None:
    """Odd sizes, transparency, gray, a turned photograph: from the command line to a folder that draws."""
    image = pytest.importorskip("PIL.Image")
    g = np.random.default_rng(0)
    for number in range(40):
        folder = tmp_path / "own" / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        shape, mode = ((23, 31, 4), "RGBA") if number % 3 == 0 else ((17, 40, 3), "RGB")
        if number % 5 == 0:
            shape, mode = (29, 18), "L"
        picture = image.fromarray(g.integers(0, 256, shape, dtype=np.uint8), mode)
        if mode == "RGB":
            exif = image.Exif()
            exif[0x0112] = 6
            picture.save(folder / f"{number}.jpg", exif=exif)
        else:
            picture.save(folder / f"{number}.png")
    out = tmp_path / "run"
    given = [
        "run", "self-e", "--data", str(tmp_path / "own"), "--data-option", "size=12", "--data-option", "samples=12", "--out", str(out),
        "--steps", "3", "--batch-size", "8", "--sampling.steps", "1,2",
    ]  # fmt: skip
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, (done.output, done.exception)
    grids = sorted(path.parent.name for path in (out / "model").glob("*/gallery.png"))
    assert grids == [f"samples_00{n}_steps{how}" for n in (1, 2) for how in ("", "_without_guidance")]
    with image.open(out / "model" / grids[0] / "gallery.png") as grid:
        assert grid.size[0] > 3 * grid.size[1]  # a row a prompt, each of eight pictures
    model = open_folder(out / "model")
    assert model.names == ("cat", "dog")
    assert model.sampling["guidance"] == 5.0
    same = [pictures(model, ["cat", "dog"], steps=2, seed=3) for _ in range(2)]
    assert torch.equal(*same)
    assert not torch.equal(same[0], pictures(model, ["cat", "dog"], steps=2, seed=4))
    wishes = [{"prompt": "dog", "id": "a"}, {"prompt": "", "id": "b"}]
    answers = counterpoint.load(out / "model").predict(wishes, seed=5, steps=2)
    assert [row["prompt"] for row in answers] == ["dog", ""]
    with image.open(io.BytesIO(base64.b64decode(answers[0]["png"]))) as made:
        assert (made.size, made.mode) == ((12, 12), "RGB")
    again, other = (counterpoint.load(out / "model").predict(wishes, seed=seed, steps=2) for seed in (5, 6))
    assert again == answers
    assert other != answers
    with pytest.raises(CounterpointError, match="did you mean 'cat'"):
        counterpoint.load(out / "model").predict(["cats"])
    page = CliRunner().invoke(app, ["report", str(out), "--to", str(tmp_path / "report.html")])
    assert page.exit_code == 0, page.output
    text = (tmp_path / "report.html").read_text()
    assert text.count("data:image/png;base64,") == 4
    assert text.index("Samples of 1 step") < text.index("Samples of 2 steps without guidance")


def test_what_cannot_be_learnt_is_refused(tmp_path: Path, data: Pictures) -> None:
    unprompted = load_pictures("digits", prompts="none", limit=60, evaluation_limit=40, samples=20)
    untrained = TASK.evaluate(TASK.load_model("dit-small:4", unprompted, 0), unprompted, "test", 0)
    assert set(untrained) == {"frechet@1", "precision@1", "recall@1", "precision", "judge_accuracy"}
    with pytest.raises(CounterpointError, match="flow-matching"):
        fit(tmp_path / "a", unprompted)
    model = fit(tmp_path / "b", unprompted, "flow-matching", steps=1)
    assert "precision" in TASK.evaluate(model, unprompted, "validation", 0)
    model.save_pretrained(tmp_path / "model")
    with pytest.raises(CounterpointError, match="other prompts"):
        TASK.load_model(str(tmp_path / "model"), data, 0)
    larger = load_pictures("digits", size=12, prompts="none", limit=60, evaluation_limit=40)
    with pytest.raises(CounterpointError, match="size=8"):
        TASK.load_model(str(tmp_path / "model"), larger, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompt_dropout": 1.2}, {"ema": 2.0}, {"evaluation.plain_share": 1.5}, {"evaluation.fake_k": 3.0},
        {"times.earliest": 0.0}, {"times.latest": 1.5}, {"sampling.steps": (0, 1)}, {"batch_size": 0}, {"evaluation.target": "other"},
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(CounterpointError):
        load("self-e").settings(**wrong)


def test_half_precision_stays_near_and_finite(tmp_path: Path, data: Pictures) -> None:
    exact = fit(tmp_path / "a", data, **{"evaluation.fake_start": 0.5})
    half = fit(tmp_path / "b", data, options={"precision": "bf16"}, **{"evaluation.fake_start": 0.5})
    for one, other in zip(exact.state_dict().values(), half.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=0.05, atol=0.02)


def test_a_trained_model_trains_on(tmp_path: Path, data: Pictures) -> None:
    first = fit(tmp_path / "a", data, steps=2)
    assert isinstance(first, nn.Module)
    assert all(value.requires_grad for value in first.parameters())
    TASK.save_model(first, tmp_path / "model")
    again = TASK.load_model(str(tmp_path / "model"), data, 0)
    second = fit(tmp_path / "b", data, model=again)
    assert not torch.equal(first.head.weight, second.head.weight)
