"""CLIP's contrast end to end: the loss, the temperature that it learns or keeps, towers that find each other, resuming."""

import csv

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from counterpoint.data.images.load import Images
from counterpoint.errors import CounterpointError
from counterpoint.methods.catalog import load
from counterpoint.models.images.paired import Paired, Temperature, paired
from counterpoint.pairs.caption_vectors import with_partners
from counterpoint.pairs.views import Augmentation
from counterpoint.tasks.images import TASK
from counterpoint.training import Budget, Run

SMALL = {"batch_size": 16, "dim": 8, "learning_rate": 3e-3, "augmentation": Augmentation(noise=0.05)}


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Images:
    """Digits with a partner each, a random projection of their own pixels."""
    from counterpoint.bundled.convert.data import path

    pixels = np.load(path("digits"))["images"]
    direction = np.random.default_rng(0).normal(size=(64, 12)) / 255
    place = tmp_path_factory.mktemp("pairs") / "partners.npy"
    np.save(place, pixels.reshape(len(pixels), 64) @ direction)
    return TASK.load_data("digits", limit=150, evaluation_limit=60, partners=str(place))


class Killed(Exception):
    pass


class Watched(Run):
    """Keeps what is logged and the last losses; may die."""

    die_at = None

    def log(self, **scalars):
        self.__dict__.setdefault("seen", []).append(scalars)
        super().log(**scalars)

    def step(self, losses, **options):
        if self.cursor.spent["steps"] == self.die_at:
            raise Killed
        self.__dict__.setdefault("losses", []).append(losses.detach().clone())
        return super().step(losses, **options)


class Dying(Watched):
    die_at = 8


def fit(folder, images, steps=10, run_class=Watched, model="conv-small", options=None, **settings):
    with run_class(folder, seed=1, budget=Budget(steps=steps), progress=False, **(options or {})) as run:
        method = load("clip").settings(**{**SMALL, **settings})
        return method.fit(TASK.load_model(model, images, 1), images, run), run


def test_the_loss_is_cross_entropy_both_ways(tmp_path, images):
    """Without augmentation and with all images in one batch, the order of rows apart."""
    _, run = fit(tmp_path, images, steps=1, batch_size=150, augmentation="none", temperature=0.2)
    towers = paired(TASK.load_model("conv-small", images, 1), 12, dim=8, seed=1)
    part = images.train
    z, t = (normalize(side, dim=1) for side in towers(part.pixels.float() / 255, part.partners))
    logits, own = z @ t.T / 0.2, torch.arange(150)
    expected = (
        cross_entropy(logits, own, reduction="none") + cross_entropy(logits.T, own, reduction="none")
    ) / 2
    torch.testing.assert_close(run.losses[0].sort()[0], expected.detach().sort()[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("learnable", [True, False])
def test_the_temperature_is_learned_or_kept(tmp_path, images, learnable):
    _, run = fit(tmp_path, images, learnable=learnable, temperature=0.5, warmup=0.0)
    seen = [scalars["temperature"] for scalars in run.seen if "temperature" in scalars]
    assert len(seen) == 10
    assert seen[0] == pytest.approx(0.5)
    assert (seen == pytest.approx([0.5] * 10)) is not learnable
    # Pairs that nobody has learnt yet leave softer comparisons cheaper, so that a sharp one warms up.
    if learnable:
        _, run = fit(tmp_path / "sharp", images, steps=3, temperature=0.02, warmup=0.0)
        seen = [scalars["temperature"] for scalars in run.seen if "temperature" in scalars]
        assert seen[2] > seen[1] > seen[0]


def test_a_learned_temperature_stays_in_bounds_and_can_come_back():
    tau = Temperature(0.05, lowest=0.02)
    with torch.no_grad():
        tau.log_scale.fill_(9.0)
    assert float(tau().detach()) == pytest.approx(0.02)
    tau().backward()
    assert float(tau.log_scale.grad) == pytest.approx(-0.02)


def test_images_find_their_partners_and_both_towers_come_back(tmp_path, images):
    before = TASK.evaluate(fit(tmp_path / "none", images, steps=1)[0], images, "test")
    trained = fit(tmp_path / "run", images, steps=120)[0]
    assert isinstance(trained, Paired)
    after = TASK.evaluate(trained, images, "test")
    for side in ("image", "partner"):
        assert after[f"{side}_recall@1"] > before[f"{side}_recall@1"] + 0.1, (before, after)
        assert after[f"{side}_recall@5"] > after[f"{side}_recall@1"]
    TASK.save_model(trained, tmp_path / "model")
    again = TASK.load_model(str(tmp_path / "model"), images, 0)
    assert TASK.evaluate(again, images, "test") == pytest.approx(after)


def test_an_interruption_changes_nothing(tmp_path, images):
    whole, _ = fit(tmp_path / "whole", images, run_class=Run, options={"audit": True})
    with pytest.raises(Killed):
        fit(tmp_path / "cut", images, run_class=Dying, options={"checkpoint_steps": 3})
    resumed, run = fit(tmp_path / "cut", images)
    assert 0 < len(run.losses) < 10
    for one, other in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_micro_batches_change_nothing(tmp_path, images):
    whole, _ = fit(tmp_path / "whole", images, steps=3, model="conv-small:group")
    parts, _ = fit(
        tmp_path / "parts", images, steps=3, model="conv-small:group", options={"micro_batch_size": 7}
    )
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_what_cannot_be_trained_teaches(tmp_path, images):
    with pytest.raises(CounterpointError, match="0 < lowest <= temperature"):
        fit(tmp_path / "cold", images, temperature=0.001)
    with pytest.raises(CounterpointError, match=r"captions\.csv with the columns file and caption"):
        fit(tmp_path / "none", TASK.load_data("digits", limit=50, evaluation_limit=20))


@pytest.fixture
def captioned(tmp_path, monkeypatch) -> Images:
    """Coloured squares with a caption each, whose vectors are made up of their letters."""
    image = pytest.importorskip("PIL.Image")
    from counterpoint.pairs import caption_vectors as captions

    def letters(texts, spec):
        return np.array([[text.count(letter) for letter in "abcdefgh"] for text in texts], dtype=np.float32)

    monkeypatch.setattr(captions, "cached_sentence_vectors", letters)
    rows = ["file,caption"]
    draws = np.random.default_rng(0)
    for number in range(60):
        counts = draws.integers(0, 4, 8)
        pixels = np.repeat(np.repeat(counts.reshape(2, 4), 4, 0), 2, 1).astype(np.uint8) * 60
        (tmp_path / "squares").mkdir(exist_ok=True)
        image.fromarray(pixels).save(tmp_path / "squares" / f"{number}.png")
        text = " ".join(letter * count for letter, count in zip("abcdefgh", counts, strict=True))
        rows.append(f'{number}.png,"{number}, {text}"')
    (tmp_path / "squares" / "captions.csv").write_text("\n".join(rows))
    return TASK.load_data(str(tmp_path / "squares"))


@pytest.mark.parametrize(
    ("key", "settings"), [("clip", {}), ("isogclr", {"bimodal": True, "optimizer": "adam"})]
)
def test_captions_are_partners(tmp_path, captioned, key, settings):
    with Run(tmp_path / "run", seed=1, budget=Budget(steps=3), progress=False) as run:
        method = load(key).settings(**{**SMALL, **settings})
        trained = method.fit(TASK.load_model("conv-small", captioned, 1), captioned, run)
    assert trained.partner.body[0].in_features == 8
    found = TASK.evaluate(trained, captioned, "test")
    given = TASK.evaluate(trained, with_partners(captioned), "test")
    assert found == given
    assert 0 <= found["image_recall@1"] <= found["image_recall@5"]
    TASK.save_model(trained, tmp_path / "model")
    if key == "isogclr":
        run.reported.write_tables(tmp_path / "model")
        with (tmp_path / "model" / "temperatures.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert [row["caption"] for row in rows] == [
            captioned.train.captions[int(row["row"])][0] for row in rows
        ]
        assert all(", " in row["caption"] for row in rows)
