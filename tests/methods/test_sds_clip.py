"""sds-clip: a whole step equals a loop over pairs, its phases and controls, folders of transformers and our own, wrong settings."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

import counterpoint
from counterpoint.cli.main import app
from counterpoint.data.captioned.digit_pairs import digit_pairs
from counterpoint.data.captioned.items import Captioned
from counterpoint.errors import CounterpointError
from counterpoint.methods.catalog import load
from counterpoint.methods.sds_clip import SDSCLIP, fresh_map, tuned
from counterpoint.models.captioned.denoiser import small_denoiser
from counterpoint.models.captioned.paired import PairedTowers
from counterpoint.models.images.encoders import load_encoder
from counterpoint.models.images.paired import paired
from counterpoint.models.pictures.loading import load_denoiser
from counterpoint.tasks.captioned import TASK
from counterpoint.training import Budget, Run

SMALL: dict[str, Any] = {
    "batch_size": 8, "learning_rate": 1e-3, "tune": "all", "mapper.steps": 2, "teacher.steps": 2, "teacher.batch_size": 8,
}  # fmt: skip


@pytest.fixture(scope="module")
def data() -> Captioned:
    return digit_pairs(pairs=40, items=6)


def towers(data: Captioned, seed: int = 1) -> Any:
    return TASK.load_model("clip-small", data, seed)


def fit(folder: Path, data: Captioned, steps: int = 7, model: Any = None, options: dict[str, Any] = {}, **settings: Any) -> Any:  # fmt: skip
    net = towers(data) if model is None else model
    with Run(folder, seed=1, budget=Budget(steps=steps), progress=False, **options) as run:
        return SDSCLIP.settings(**{**SMALL, **settings}).fit(net, data, run)


class Watched(Run):
    """Keeps the first step's draws, rows and gradients."""

    def watch(self, net: nn.Module) -> Watched:
        self.net, self.seen = net, {}
        return self

    def batches(self, *given: Any, **options: Any) -> Any:
        for batch in super().batches(*given, **options):
            self.batch = batch
            yield batch

    def step(self, losses: Any, **options: Any) -> float:
        if "optimizer" not in options and not self.seen:
            whole = sum(each.weight * each.values.mean() for each in losses.values())
            trained = [value for value in self.net.parameters() if value.requires_grad]
            slopes = torch.autograd.grad(whole, trained, retain_graph=True, allow_unused=True)
            self.seen |= {
                "loss": whole.detach(),
                "slopes": slopes,
                "rows": self.batch.index,
                "trained": trained,
            }
        return super().step(losses, **options)


@pytest.mark.parametrize("gradient", ["full", "sds"])
def test_a_step_is_the_papers_pair_by_pair(
    tmp_path: Path, data: Captioned, monkeypatch: pytest.MonkeyPatch, gradient: str
) -> None:
    """Values and whole-step gradients against a loop that takes each pair by itself, with the draws of the step."""
    from counterpoint.training.batches import ItemRandom

    draws: list[Tensor] = []
    for name in ("uniform", "normal"):
        draw = getattr(ItemRandom, name)

        def watched(own: Any, *shape: int, draw: Any = draw) -> Tensor:
            draws.append(draw(own, *shape))
            return draws[-1]

        monkeypatch.setattr(ItemRandom, name, watched)
    texts = [row[0] for row in data.train.captions]
    denoiser = small_denoiser(data.shape, texts, width=16, depth=1, seed=3).double()
    g = torch.Generator().manual_seed(0)
    for value in denoiser.parameters():  # fresh, its output is 0
        value.data += 0.1 * torch.randn(value.shape, generator=g, dtype=torch.double)
    net = towers(data).double()
    before = copy.deepcopy(net)
    settings = {
        "teacher.model": "the one above", "mapper.steps": 0, "distillation.gradient": gradient, "distillation.weight": 0.7,
        "distillation.earliest": 0.2, "distillation.latest": 0.9, "distillation.per_element": False,
    }  # fmt: skip
    monkeypatch.setattr("counterpoint.methods.sds_clip.open_denoiser", lambda spec: denoiser.double())
    monkeypatch.setattr("counterpoint.methods.sds_clip.denoiser_accuracy", lambda *given: 1.0)
    monkeypatch.setattr("counterpoint.methods.sds_clip.fresh_map", lambda *given: fresh_map(*given).double())
    with Watched(tmp_path / "run", seed=1, budget=Budget(steps=1), progress=False).watch(net) as run:
        SDSCLIP.settings(**{**SMALL, **settings}).fit(net, data, run)
    _, time, noise = draws
    net.load_state_dict(before.state_dict())
    rows, layer = run.seen["rows"].tolist(), fresh_map(64, 256, 1).double()
    unit = torch.nn.functional.normalize
    images = [net.images(data.train.pixels[row : row + 1])[0] for row in rows]
    words = [net.texts(net.read([texts[row]]))[0] for row in rows]
    total: Any = 0.0
    for i in range(8):
        score = [[float("nan")] * 8 for _ in range(2)]
        scores: list[list[Any]] = score  # type: ignore[assignment]
        for j in range(8):
            scores[0][j] = unit(images[i], dim=0) @ unit(words[j], dim=0) * net.net.logit_scale.detach().exp()
            scores[1][j] = unit(images[j], dim=0) @ unit(words[i], dim=0) * net.net.logit_scale.detach().exp()
        counted = [j for j in range(8) if j == i or texts[rows[j]] != texts[rows[i]]]
        for side in scores:
            total = total - (side[i] - torch.stack([side[j] for j in counted]).logsumexp(0)) / 16
        t = 200 + min(int(float(time[i]) * 700), 699)
        a = denoiser.alpha_bar[t]
        z = a.sqrt() * layer(images[i]).view(1, 1, 16, 16) + (1 - a).sqrt() * noise[i : i + 1].double()
        z_in = z if gradient == "full" else z.detach()
        answer = denoiser(z_in, torch.tensor([t]), denoiser.read([texts[rows[i]]]))
        error = answer - noise[i : i + 1].double()
        if gradient == "full":
            total = total + 0.7 * error.square().sum() / 8
        else:
            pull = (2 * error.detach() * z).sum()
            total = total + 0.7 * (error.square().sum().detach() + pull - pull.detach()) / 8
    torch.testing.assert_close(run.seen["loss"], total.detach(), rtol=1e-8, atol=0)
    slopes = torch.autograd.grad(total, run.seen["trained"], allow_unused=True)
    compared = 0
    for one, other in zip(run.seen["slopes"], slopes, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-10)
            compared += bool(one.abs().max() > 1e-9)
    assert compared > 30


def test_only_the_chosen_weights_move(tmp_path: Path, data: Captioned) -> None:
    fresh = towers(data)
    for what in ("layer-norms", "layer-norms and projections", "all"):
        trained = fit(tmp_path / what, data, tune=what)
        moved = {
            name for (name, one), other in zip(trained.named_parameters(), fresh.parameters())
            if not torch.equal(one, other)
        }  # fmt: skip
        norms = {
            f"{n}.{w}"
            for n, m in fresh.named_modules()
            if isinstance(m, nn.LayerNorm)
            for w in ("weight", "bias")
        }
        assert any("pre_layrnorm" in name for name in norms)
        assert any("final_layer_norm" in name for name in norms)
        ends = {"net.visual_projection.weight", "net.text_projection.weight"}
        if what == "layer-norms":
            assert moved == norms
        elif what == "layer-norms and projections":
            assert moved == norms | ends
        else:
            assert moved > norms | ends
        assert not any("logit_scale" in name for name in moved)
        assert all(value.requires_grad for value in trained.parameters())


def test_the_map_learns_alone_and_the_towers_only_after_it(tmp_path: Path, data: Captioned) -> None:
    seen: list[tuple[str, bool]] = []
    start = towers(data)
    before = copy.deepcopy(start.state_dict())

    class Ordered(Run):
        def step(self, losses: Any, *, optimizer: str = "optimizer", **options: Any) -> float:
            still = all(torch.equal(value, before[name]) for name, value in start.state_dict().items())
            seen.append((optimizer, still))
            return super().step(losses, optimizer=optimizer, **options)

    with Ordered(tmp_path, seed=1, budget=Budget(steps=7), progress=False) as run:
        SDSCLIP.settings(**SMALL).fit(start, data, run)
    assert [name for name, _ in seen] == ["denoising"] * 2 + ["map"] * 2 + ["optimizer"] * 3
    assert [still for _, still in seen] == [True] * 5 + [False] * 2
    assert "latent_deviation" in (tmp_path / "events.jsonl").read_text()
    fit(tmp_path / "audited", data, options={"audit": True})


def test_without_a_weight_it_is_clips_contrast_and_no_denoiser(tmp_path: Path, data: Captioned) -> None:
    one = fit(tmp_path / "a", data, steps=3, **{"distillation.weight": 0.0, "teacher.model": "nowhere"})
    other = fit(tmp_path / "b", data, steps=3, **{"distillation.weight": 0.0})
    for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(CounterpointError, match="there is no denoiser at nowhere"):
        fit(tmp_path / "c", data, **{"teacher.model": "nowhere"})


def test_micro_batches_and_shuffled_captions(tmp_path: Path, data: Captioned) -> None:
    denoiser = small_denoiser(data.shape, data.texts(), width=16, depth=1, seed=3)
    g = torch.Generator().manual_seed(0)
    for value in denoiser.parameters():
        value.data += 0.1 * torch.randn(value.shape, generator=g)
    denoiser.save_pretrained(tmp_path / "denoiser")
    given = {**SMALL, "teacher.model": str(tmp_path / "denoiser"), "mapper.steps": 0}
    slopes = []
    for number, (size, captions) in enumerate(((None, "own"), (3, "own"), (None, "shuffled"))):
        net = towers(data)
        where = tmp_path / str(number)
        with Watched(where, seed=1, budget=Budget(steps=1), progress=False, micro_batch_size=size).watch(
            net
        ) as run:
            SDSCLIP.settings(**given, **{"distillation.captions": captions}).fit(net, data, run)
        slopes.append([each for each in run.seen["slopes"] if each is not None])
    for one, other in zip(slopes[0], slopes[1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
    assert any(
        not torch.allclose(one, other, atol=1e-4) for one, other in zip(slopes[0], slopes[2], strict=True)
    )


def test_a_flow_of_pictures_teaches_too(tmp_path: Path, data: Captioned) -> None:
    names = tuple(
        sorted(
            {row[0] for row in (*data.train.captions, *data.validation.captions)}
            | {row[0] for row in data.validation.negatives}
        )
    )
    load_denoiser("dit-small:8", (1, 16, 16), names=names).save_pretrained(tmp_path / "flow")
    fit(tmp_path / "run", data, steps=4, **{"teacher.model": str(tmp_path / "flow")})


def test_towers_of_the_kind_images(tmp_path: Path, data: Captioned, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``clip`` made of images goes in and comes out as its own folder; it has no layer normalisation."""

    def vectors(texts: list[str], spec: str) -> np.ndarray:
        rows = np.array([[len(text), text.count("e"), text.find("o"), 1.0] for text in texts], np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    monkeypatch.setattr("counterpoint.models.text.embedding.cached_sentence_vectors", vectors)
    encoder = load_encoder("conv-small", (1, 16, 16), statistics=([0.5], [0.5]), norm="group")
    start = paired(encoder, 4, dim=16)
    start.save_pretrained(tmp_path / "clip")
    model = TASK.load_model(str(tmp_path / "clip"), data, 0)
    assert isinstance(model, PairedTowers)
    assert model.width == 16
    with pytest.raises(CounterpointError, match="no layer normalisation; give tune=all"):
        tuned(nn.Linear(2, 2), "layer-norms")
    trained = fit(tmp_path / "run", data, model=model)
    TASK.save_model(trained, tmp_path / "out")
    again = TASK.load_model(str(tmp_path / "out"), data, 0)
    figures = TASK.evaluate(again, data, "test")
    assert figures == TASK.evaluate(trained.eval(), data, "test")
    assert {"group_score", "negative_accuracy", "image_recall@1"} <= set(figures)


def test_from_the_command_line_to_a_folder_of_transformers(tmp_path: Path) -> None:
    """Pictures, captions, wrong captions and both benchmarks' files of one's own."""
    image = pytest.importorskip("PIL.Image")
    g, rows = np.random.default_rng(0), []
    for n in range(40):
        image.fromarray(g.integers(0, 256, (20 + n % 3, 18, 3), dtype=np.uint8)).save(tmp_path / f"{n}.png")
        rows.append({"image": f"{n}.png", "caption": f"a {n} left of b", "negatives": f"b left of a {n}"})
    wino = [{"image_0": "1.png", "image_1": "2.png", "caption_0": "a b", "caption_1": "b a"}]
    aro = [{"image_path": "1.png", "true_caption": "a b", "false_caption": "b a", "relation_name": "left"}]
    for name, table in (("rows", rows), ("wino", wino), ("aro", aro)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    out = tmp_path / "run"
    given = [
        "run", "sds-clip", "--data", str(tmp_path / "rows.jsonl"), "--data-option", "size=16", "--data-option", f"winoground={tmp_path / 'wino.jsonl'}",
        "--data-option", f"aro={tmp_path / 'aro.jsonl'}", "--out", str(out), "--steps", "5", "--batch-size", "8", "--mapper.steps", "1",
        "--teacher.steps", "2", "--teacher.batch_size", "8",
    ]  # fmt: skip
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, (done.output, done.exception)
    from transformers import CLIPModel

    assert CLIPModel.from_pretrained(out / "model").config.projection_dim == 64
    result = json.loads((out / "result.json").read_text())
    text = json.dumps(result)
    assert all(
        name in text for name in ("text_score", "group_score", "aro_macro_accuracy", "negative_accuracy")
    )
    answers = counterpoint.load(out / "model").predict([str(tmp_path / "1.png")])
    assert math.isclose(float(np.linalg.norm(answers[0]["embedding"])), 1.0, rel_tol=1e-4)
    again = TASK.load_model(str(out / "model"), TASK.load_data(str(tmp_path / "rows.jsonl"), size="16"), 0)
    fit(tmp_path / "more", TASK.load_data(str(tmp_path / "rows.jsonl"), size="16"), model=again)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"distillation.earliest": 0.9, "distillation.latest": 0.5}, "expected 0 <= earliest < latest <= 1"),
        ({"mapper.latest": 1.5}, "expected 0 <= earliest < latest <= 1"),
        ({"distillation.gradient": "half"}, "distillation.gradient"),
        ({"distillation.captions": "none"}, "distillation.captions"),
        ({"tune": "some"}, "tune"),
        ({"temperature": 0.0}, "above 0"),
        ({"batch_size": 0}, "above 0"),
        ({"teacher.steps": -1}, "from 0 on"),
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(CounterpointError, match=message):
        load("sds-clip").settings(**wrong)


def test_what_cannot_be_trained_is_refused(tmp_path: Path, data: Captioned) -> None:
    with pytest.raises(CounterpointError, match="4 go to the denoiser and the map before"):
        fit(tmp_path / "a", data, steps=4)
    with pytest.raises(CounterpointError, match="expected two towers"):
        fit(tmp_path / "b", data, model=nn.Linear(2, 2))
    longer = copy.deepcopy(data)
    object.__setattr__(longer.train, "captions", (("one " * 50,), *longer.train.captions[1:]))
    with pytest.raises(CounterpointError, match="shorten it"):
        TASK.load_model("clip-small", longer, 0)
