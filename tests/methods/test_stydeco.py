"""stydeco: every step equals a loop over pictures, which adapter learns what, priors, folders of one's own, both ways of predicting."""

from __future__ import annotations

import base64
import copy
import io
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
from counterpoint.data.styles.digits import load_restyled_digits
from counterpoint.data.styles.sets import Styles
from counterpoint.errors import CounterpointError
from counterpoint.generation.restyling import restyled
from counterpoint.methods.catalog import load
from counterpoint.models.folders import load as open_folder
from counterpoint.models.styles.discriminators import Discriminators
from counterpoint.models.styles.domains import DOMAINS, other
from counterpoint.models.styles.restyler import Restyler
from counterpoint.pairs.crops import cropped
from counterpoint.tasks.styles import TASK
from counterpoint.training import Budget, Run

SMALL: dict[str, Any] = {"batch_size": 5, "learning_rate": 2e-3, "text.rank": 2, "weights.cycle_perceptual": 0.0, "weights.identity_perceptual": 0.0}  # fmt: skip


@pytest.fixture(scope="module")
def data() -> Styles:
    return load_restyled_digits(limit=40, evaluation_limit=20)


def fit(folder: Path, data: Styles, steps: int = 3, model: Any = None, options: dict[str, Any] = {}, **settings: Any) -> Restyler:  # fmt: skip
    net = TASK.load_model("restyler-small", data, 1) if model is None else model
    with Run(folder, seed=1, budget=Budget(steps=steps), progress=False, **options) as run:
        return load("stydeco").settings(**{**SMALL, **settings}).fit(net, data, run)


def awake(model: Restyler) -> Restyler:
    """A generator that is no longer the identity."""
    g = torch.Generator().manual_seed(0)
    for value in model.parameters():
        value.data += 0.05 * torch.randn(value.shape, generator=g)
    return model


class Watched(Run):
    """A run that keeps, of each of a batch's steps, the weights before it and the slopes."""

    def step(self, losses: Any, *, optimizer: str = "optimizer", **options: Any) -> float:
        things = self._registry.things
        if not hasattr(self, "seen"):
            self.seen: list[dict[str, Any]] = []
        trained = things["model" if optimizer == "optimizer" else "judges"]
        named = {name: value for name, value in trained.named_parameters() if value.requires_grad}
        loss = sum(each.weight * each.values.mean() for each in losses.values())
        slopes = torch.autograd.grad(loss, list(named.values()), retain_graph=True, allow_unused=True)
        states = {name: copy.deepcopy(things[name].state_dict()) for name in ("model", "judges")}
        self.seen.append({"terms": set(losses), "slopes": dict(zip(named, slopes, strict=True)), **states})
        return super().step(losses, optimizer=optimizer, **options)


def test_every_step_is_a_loop_over_pictures(
    tmp_path: Path, data: Styles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slopes of all five steps of a batch, against losses written out picture by picture."""
    from counterpoint.training.batches import ItemRandom

    draws: list[Tensor] = []
    for name in ("uniform", "integers"):
        draw = getattr(ItemRandom, name)

        def watched(own: Any, *shape: int, draw: Any = draw) -> Tensor:
            draws.append(draw(own, *shape))
            return draws[-1]

        monkeypatch.setattr(ItemRandom, name, watched)
    items: list[Tensor] = []

    class Kept(Watched):
        def batches(self, *given: Any, **options: Any) -> Any:
            for batch in super().batches(*given, **options):
                items.append(batch.items)
                yield batch

    net = awake(TASK.load_model("restyler-small", data, 1))
    settings = {
        "weights.cycle": 3.0,
        "weights.identity": 2.0,
        "weights.gan": 0.7,
        "enlarge": 1.2,
        "weights.decoupling": 0.1,
    }
    with Kept(tmp_path, seed=1, budget=Budget(steps=1), progress=False) as run:
        trained = load("stydeco").settings(**{**SMALL, **settings}).fit(net, data, run)
    rows, cut_plain, cut_styled, *numbers = draws
    real = {
        "plain": cropped(data.train.plain[rows], cut_plain, 1.2, True),
        "styled": cropped(items[0], cut_styled, 1.2, True),
    }
    prompts = dict(zip(DOMAINS, numbers, strict=True))
    expected = [
        {"cycle_plain", "cycle_styled", "decoupling"}, {"gan_plain", "gan_styled"}, {"identity_plain", "identity_styled"},
        {"made_plain", "made_styled"}, {"real_plain", "real_styled"},
    ]  # fmt: skip
    assert [each["terms"] for each in run.seen] == expected
    fakes_by = run.seen[1]["model"]  # the discriminators see the fakes of the GAN step
    for number, seen in enumerate(run.seen):
        judges = Discriminators(1)
        judges.load_state_dict(seen["judges"])
        trained.load_state_dict(seen["model"] if number < 3 else fakes_by)
        total: Any = 0.0

        def made(picture: Tensor, row: int, towards: Any) -> Tensor:
            return trained(picture[None], prompts[towards][row : row + 1], towards)[0]

        def looks(picture: Tensor, domain: Any, wanted: float, judges: Any = judges) -> Tensor:
            levels = judges(picture[None], domain)
            return sum(
                functional.binary_cross_entropy_with_logits(each, torch.full_like(each, wanted))
                for each in levels
            )

        for row in range(5):
            for domain in DOMAINS:
                own, across = real[domain][row], real[other(domain)][row]
                if number == 0:
                    back = made(made(own, row, other(domain)), row, domain)
                    total = total + 3.0 * (back - own).abs().mean() / 5
                elif number == 1:
                    total = total + 0.7 * looks(made(across, row, domain), domain, 1.0) / 5
                elif number == 2:
                    total = total + 2.0 * (made(own, row, domain) - own).abs().mean() / 5
                elif number == 3:
                    total = total + 0.35 * looks(made(across, row, domain).detach(), domain, 0.0) / 5
                else:
                    total = total + 0.35 * looks(own, domain, 1.0) / 5
        if number == 0:
            z = [functional.normalize(each, dim=0) for domain in DOMAINS for each in trained.embed(domain)]
            for i in range(6):
                for j in range(6):
                    if j != i and j // 3 == i // 3:
                        below = torch.stack([(z[i] @ z[k] / 0.07).exp() for k in range(6) if k != i]).sum()
                        total = total - 0.1 * (z[i] @ z[j] / 0.07 - below.log()) / 12
        parameters = dict((trained if number < 3 else judges).named_parameters())
        slopes = torch.autograd.grad(total, [parameters[name] for name in seen["slopes"]], allow_unused=True)
        for (name, found), wanted in zip(seen["slopes"].items(), slopes, strict=True):
            assert (found is None) == (wanted is None), name
            if found is not None:
                torch.testing.assert_close(found, wanted, rtol=2e-4, atol=2e-6, msg=f"step {number}, {name}")


def test_cuts_are_those_of_a_loop() -> None:
    g = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (4, 3, 6, 8), generator=g, dtype=torch.uint8)
    draws = torch.tensor([[0.0, 0.0, 0.9], [0.99, 0.99, 0.1], [0.5, 0.2, 0.6], [0.3, 0.7, 0.2]])
    made = cropped(pixels, draws, 1.5, True)
    for row in range(4):
        large = functional.interpolate(
            pixels[row : row + 1].float() / 127.5 - 1, (9, 12), mode="bilinear", antialias=True
        )[0]
        top, left = int(draws[row, 0] * 4), int(draws[row, 1] * 5)
        wanted = large[:, top : top + 6, left : left + 8]
        torch.testing.assert_close(made[row], wanted.flip(2) if draws[row, 2] < 0.5 else wanted)


def test_each_direction_moves_its_own_adapter(data: Styles) -> None:
    net = TASK.load_model("restyler-small", data, 1)
    net.adapt("separate", 2, 0.5)
    awake(net)
    for domain in DOMAINS:
        net.zero_grad()
        net(torch.rand(3, 1, 16, 16), torch.tensor([0, 1, 2]), domain).sum().backward()
        moved = {
            name.rpartition(".")[2]
            for name, value in net.text.named_parameters()
            if value.grad is not None and value.grad.abs().sum() > 0
        }
        assert moved == {domain}
    assert not any(
        value.requires_grad
        for name, value in net.text.named_parameters()
        if ".a." not in name and ".b." not in name
    )


@pytest.mark.parametrize(
    ("mode", "names"), [("separate", set(DOMAINS)), ("shared", {"both"}), ("frozen", set())]
)
def test_what_learns_of_the_text_encoder(tmp_path: Path, data: Styles, mode: str, names: set[str]) -> None:
    before = TASK.load_model("restyler-small", data, 1)
    after = fit(tmp_path, data, **{"text.adapters": mode})
    moved = {name: value for name, value in after.text.named_parameters() if ".b." in name}
    assert {name.rpartition(".")[2] for name in moved} == names
    assert all(value.abs().sum() > 0 for value in moved.values())
    assert torch.equal(after.text.words.weight, before.text.words.weight)
    apart = not torch.equal(after.text(["a word"], "plain"), after.text(["a word"], "styled"))
    assert apart == (mode == "separate")


def test_adapters_are_saved_and_opened(tmp_path: Path, data: Styles) -> None:
    model = fit(tmp_path / "a", data)
    TASK.save_model(model, tmp_path / "model")
    opened = open_folder(tmp_path / "model")
    assert (opened.adapters, opened.prompts) == (model.adapters, model.prompts)
    for domain in DOMAINS:
        torch.testing.assert_close(opened.embed(domain), model.embed(domain), rtol=0, atol=0)
        assert torch.equal(
            restyled(opened, data.test.plain, domain), restyled(model, data.test.plain, domain)
        )
    again = fit(tmp_path / "b", data, model=TASK.load_model(str(tmp_path / "model"), data, 0))
    name = next(name for name, _ in model.named_parameters() if ".b.plain" in name)
    assert not torch.equal(dict(again.named_parameters())[name], dict(opened.named_parameters())[name])


def test_micro_batches_and_the_audit(tmp_path: Path, data: Styles) -> None:
    whole = fit(tmp_path / "a", data, options={"audit": True}, **{"weights.decoupling": 0.1})
    parts = fit(tmp_path / "b", data, options={"micro_batch_size": 2}, **{"weights.decoupling": 0.1})
    for one, two in zip(whole.state_dict().values(), parts.state_dict().values(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


def test_a_perceptual_distance_of_ones_own_counts(tmp_path: Path, data: Styles) -> None:
    (tmp_path / "seen.py").write_text(
        "def distance(x, y):\n    return (x - y).flatten(1).square().mean(1)\n\ndef wrong(x, y):\n    return x\n"
    )
    given = {"weights.perceptual": f"{tmp_path}/seen.py:distance", "weights.cycle_perceptual": 5.0}
    plain, seen = fit(tmp_path / "a", data), fit(tmp_path / "b", data, **given)
    assert not torch.equal(plain.leave.weight, seen.leave.weight)
    with pytest.raises(CounterpointError, match="expected one number each"):
        fit(tmp_path / "c", data, **{**given, "weights.perceptual": f"{tmp_path}/seen.py:wrong"})


def test_half_precision_stays_near_and_finite(tmp_path: Path, data: Styles) -> None:
    exact, half = fit(tmp_path / "a", data), fit(tmp_path / "b", data, options={"precision": "bf16"})
    for one, two in zip(exact.state_dict().values(), half.state_dict().values(), strict=True):
        torch.testing.assert_close(one, two, rtol=0.1, atol=0.02)


@pytest.mark.parametrize(
    "wrong",
    [
        {"enlarge": 0.5}, {"batch_size": 0}, {"text.adapters": "both"}, {"text.rank": 0}, {"prior.strength": 1.5}, {"prior.strength": 0.0},
        {"weights.temperature": 0.0}, {"weights.cycle": -1.0},
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(CounterpointError, match=next(iter(wrong))):
        load("stydeco").settings(**wrong)


def pictures_of_all_sorts(folder: Path, count: int, seed: int) -> None:
    """Odd sizes, transparency, gray, a turned photograph."""
    image = pytest.importorskip("PIL.Image")
    g = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for number in range(count):
        shape, mode = [((23, 31, 4), "RGBA"), ((17, 40, 3), "RGB"), ((29, 18), "L")][number % 3]
        picture = image.fromarray(g.integers(0, 256, shape, dtype=np.uint8), mode)
        exif = image.Exif()
        if mode == "RGB":
            exif[0x0112] = 6
        picture.save(folder / f"{number}.{'jpg' if mode == 'RGB' else 'png'}", exif=exif)


def test_folders_of_ones_own_from_the_command_line_to_restyled_pictures(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    pictures_of_all_sorts(tmp_path / "own" / "plain", 30, 0)
    pictures_of_all_sorts(tmp_path / "own" / "styled", 20, 1)
    out = tmp_path / "run"
    given = [
        "run", "stydeco", "--data", str(tmp_path / "own"), "--data-option", "size=12", "--data-option", "paired=none", "--out", str(out),
        "--data-option", "styled_prompts=noise in colours; a picture of noise", "--steps", "2", "--batch-size", "4",
    ]  # fmt: skip
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, (done.output, done.exception)
    grids = sorted(path.parent.name for path in (out / "model").glob("*/gallery.png"))
    assert grids == ["before_and_after_plain", "before_and_after_styled"]
    model = open_folder(out / "model")
    assert model.prompts["styled"] == ("noise in colours", "a picture of noise")
    for towards in DOMAINS:
        answers = counterpoint.load(out / "model").predict(tmp_path / "own" / "plain", towards=towards)
        assert len(answers) == 30
        forms = {}
        for row in answers:
            with image.open(io.BytesIO(base64.b64decode(row["png"]))) as made:
                forms[row["file"].rpartition(".")[2], made.size] = made.mode
        assert forms == {("png", (16, 12)): "RGB", ("png", (12, 19)): "RGB", ("jpg", (12, 28)): "RGB"}
        assert {row["towards"] for row in answers} == {towards}
    with pytest.raises(CounterpointError, match="did you mean 'styled'"):
        counterpoint.load(out / "model").predict(tmp_path / "own" / "plain", towards="style")
    done = CliRunner().invoke(
        app, ["predict", str(out), "--data", str(tmp_path / "own" / "plain" / "0.png"), "--towards", "plain", "--out", str(tmp_path / "x.jsonl")]
    )  # fmt: skip
    assert done.exit_code == 0, (done.output, done.exception)
    page = CliRunner().invoke(app, ["report", str(out), "--to", str(tmp_path / "report.html")])
    assert page.exit_code == 0, page.output
    assert (tmp_path / "report.html").read_text().count("Before and after, ") >= 2


def test_what_is_measured(data: Styles) -> None:
    net = TASK.load_model("restyler-small", data, 0)
    found = TASK.evaluate(net, data, "test", 0)
    assert found["structure@styled"] == found["structure@plain"] == pytest.approx(1.0)
    assert found["l1@styled"] == found["l1@plain"] == pytest.approx(found["l1_unchanged"], abs=1e-9)
    assert found["nearness"] == pytest.approx(1 - found["l1_unchanged"] / 2)
    assert found["style@styled"] == found["style@plain"] == 0.0
    assert found["balance"] == pytest.approx(0.5)
    assert found["style_judge_accuracy"] == 1.0
    assert {"agreement@styled", "agreement@plain", "cosine_within", "cosine_between"} <= set(found)
