"""The contrastive primer and its baselines: they resume, learn, ignore micro-batches, save folders, and are measured right."""

import copy

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score

from counterpoint.data.text.load import Texts, build
from counterpoint.data.text.rows import Row
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.text import classify, figures, outputs
from counterpoint.methods.catalog import load
from counterpoint.models.text.encoder import TextClassifier
from counterpoint.models.text.match_head import MatchHead
from counterpoint.objectives.contrast.noise_contrast import LOSSES
from counterpoint.objectives.contrast.view_contrast import VIEWED
from counterpoint.pairs.words_as_labels import log_frequency, uncommon, word_labels
from counterpoint.tasks.text import TASK
from counterpoint.training import Budget, Run
from texts_made_up import rows

SMALL = {"batch_size": 16, "hidden": 8, "pretraining_epochs": 1, "epochs": 1}
METHODS = [("contrastive-primer", SMALL), ("text-classifier", {"batch_size": 16}), ("tfidf", {})]


def made(count: int = 200, several: bool = False, **options) -> Texts:
    table = rows(count)
    labels = [(r["label"], "warm") if several and n % 3 else (r["label"],) for n, r in enumerate(table)]
    return build(
        [Row(r["text"], label, None, "row") for r, label in zip(table, labels, strict=True)],
        several, "made", **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def data() -> Texts:
    return made(labelled=0.5)


def fit(folder, data, key, settings, steps=8, model="words", run_class=Run, **options):
    budget = Budget(steps=steps) if steps else None
    with run_class(folder, seed=1, budget=budget, progress=False, **options) as run:
        return load(key).settings(**settings).fit(TASK.load_model(model, data, 1), data, run)


def same(one, other) -> bool:
    return all(
        torch.equal(x, y) for x, y in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    )


class Killed(Exception):
    pass


class Dying(Run):
    at = 3

    def step(self, losses, **options):
        if self.cursor.spent["steps"] == self.at:
            raise Killed
        return super().step(losses, **options)


class DyingLater(Dying):
    at = 6


@pytest.mark.parametrize("dying", [Dying, DyingLater], ids=["pretraining", "tuning"])
@pytest.mark.parametrize(
    ("key", "settings"),
    [METHODS[0], ("contrastive-primer", {**SMALL, "objective": "triplet_l2", "mix": 0.3}), METHODS[1]],
)
def test_an_interrupted_run_ends_with_the_same_bits(tmp_path, data, key, settings, dying):
    whole = fit(tmp_path / "whole", data, key, settings, audit=True)
    with pytest.raises(Killed):
        fit(tmp_path / "cut", data, key, settings, run_class=dying, checkpoint_steps=2)
    assert same(whole, fit(tmp_path / "cut", data, key, settings))


@pytest.mark.parametrize(("key", "settings"), METHODS[:2])
def test_micro_batches_change_nothing(tmp_path, data, key, settings):
    def plain(model):
        for part in model.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.0

    model = TASK.load_model("words", data, 1)
    plain(model)
    found = []
    for size in (None, 5):
        with Run(
            tmp_path / str(size), seed=1, budget=Budget(steps=6), progress=False, micro_batch_size=size
        ) as run:
            settings = {**settings, "dropout": 0.0} if key == "text-classifier" else settings
            found.append(load(key).settings(**settings).fit(copy.deepcopy(model), data, run))
    for one, other in zip(*(model.parameters() for model in found), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("objective", ["bce", *LOSSES, *VIEWED])
def test_every_objective_trains_both_phases(tmp_path, data, objective):
    settings = {**SMALL, "objective": objective, "hide": 0.1, "class_negatives": 2}
    trained = fit(tmp_path / "run", data, "contrastive-primer", settings)
    assert isinstance(trained.head, MatchHead)
    assert not trained.head.zero_shot
    first = TASK.load_model("words", data, 1)
    assert not torch.equal(trained.encoder.table.weight, first.table.weight)
    assert all(torch.isfinite(p).all() for p in trained.parameters())
    assert "zero_shot_macro_ap" not in TASK.evaluate(trained, data, "test")


def test_it_ranks_classes_by_their_names_alone(tmp_path):
    unlabelled = made(400, labelled=0.0)
    before = TASK.evaluate(TASK.load_model("words", unlabelled, 1), unlabelled, "test")
    settings = {**SMALL, "pretraining_epochs": 20, "hidden": 32}
    trained = fit(tmp_path / "run", unlabelled, "contrastive-primer", settings, steps=None)
    after = TASK.evaluate(trained, unlabelled, "test")
    assert after["macro_ap"] == after["zero_shot_macro_ap"] > 0.9 > before["zero_shot_macro_ap"] + 0.2
    assert trained.head.zero_shot
    TASK.save_model(trained, tmp_path / "model")
    # The names of other classes are texts, too: the saved model ranks them without any training.
    other = made(400, labelled=0.5)
    renamed = [Row(t, ("cup pot",) if label == 3 else ("storm cloud",), None, "row")
               for t, label in zip(other.train.texts, other.train.labels.tolist(), strict=True) if label in (2, 3)]  # fmt: skip
    two = build(renamed, False, "two")
    again = TASK.load_model(str(tmp_path / "model"), two, 0)
    assert TASK.evaluate(again, two, "test")["zero_shot_macro_ap"] > 0.9


@pytest.mark.parametrize(
    ("key", "settings"),
    [
        ("contrastive-primer", {**SMALL, "pretraining_epochs": 5, "epochs": 10}),
        ("text-classifier", {"batch_size": 16, "epochs": 20, "learning_rate": 5e-3}),
        ("tfidf", {}),
    ],
)
@pytest.mark.parametrize("several", [False, True], ids=["one label", "several"])
def test_they_learn_and_come_back_from_their_folder(tmp_path, key, settings, several):
    data = made(300, several)
    chance = float(data.test.targets.float().mean(0).mean())
    trained = fit(tmp_path / "run", data, key, settings, steps=None)
    after = TASK.evaluate(trained, data, "test")
    assert after["macro_ap"] > (0.6 if several else 0.8) > chance
    TASK.save_model(trained, tmp_path / "model")
    again = TASK.load_model(str(tmp_path / "model"), data, 0)
    assert TASK.evaluate(again, data, "test") == pytest.approx(after)
    said = classify(again, ["a cup of green tea, quite black tea leaf"])
    assert "tea" in said[0]
    with pytest.raises(CounterpointError) if key != "contrastive-primer" else _nothing():
        TASK.load_model(str(tmp_path / "model"), build(_others(), False, "others"), 0)


def _others() -> list[Row]:
    return [Row(f"{word} number {n}", (word,), None, "row") for n in range(30) for word in ("tree", "rock")]


class _nothing:
    def __enter__(self):
        return None

    def __exit__(self, *_):
        return False


def test_few_labels_go_further_after_pretraining(tmp_path):
    data = made(400, labelled=12)
    pretrained = {**SMALL, "pretraining_epochs": 15, "epochs": 10}
    scratch = {**pretrained, "pretraining_epochs": 0}
    found = {
        name: TASK.evaluate(fit(tmp_path / name, data, "contrastive-primer", s, steps=None), data, "test")[
            "macro_ap"
        ]
        for name, s in (("pretrained", pretrained), ("scratch", scratch))
    }
    assert found["pretrained"] > found["scratch"] + 0.1


def test_figures_are_what_they_say():
    draw = np.random.default_rng(0)
    scores = torch.from_numpy(draw.normal(size=(60, 4))).float()
    labels = torch.from_numpy(draw.integers(0, 3, 60))  # nobody is in the last class
    targets = torch.nn.functional.one_hot(labels, 4).bool()
    tail = torch.tensor([False, False, True, True])
    found = figures(scores, targets, False, tail)
    each = [average_precision_score(targets[:, c].numpy(), scores[:, c].numpy()) for c in range(3)]
    assert found["macro_ap"] == pytest.approx(np.mean(each))
    assert found["tail_ap"] == pytest.approx(each[2])
    said = scores.argmax(1)
    assert found["accuracy"] == pytest.approx(float((said == labels).float().mean()))
    assert found["macro_f1"] == pytest.approx(
        f1_score(labels.numpy(), said.numpy(), labels=[0, 1, 2], average="macro", zero_division=0)
    )
    both = figures(scores, targets, True, tail)
    assert both["accuracy"] == pytest.approx(float(((scores > 0) == targets).all(1).float().mean()))
    with pytest.raises(CounterpointError, match="diverged"):
        figures(scores * torch.nan, targets, False, tail)


def test_outputs_keep_the_order_and_the_mode(data):
    model = TASK.load_model("words", data, 0).train()
    texts = list(data.test.texts)[:20]
    together = outputs(model, texts, size=7)
    torch.testing.assert_close(together, torch.cat([outputs(model, [text]) for text in texts]))
    assert model.training


class Everyone:
    """What drawing asks of a run: gathers hand over whole batches that were seen before, or the rows themselves."""

    def __init__(self, seen: list[torch.Tensor] | None = None) -> None:
        self.kept: list[torch.Tensor] = []
        self.seen = seen

    def gather_constant(self, rows: torch.Tensor) -> torch.Tensor:
        self.kept.append(rows)
        return rows if self.seen is None else self.seen[len(self.kept) - 1]


IDS = torch.tensor([[3, 4, 5, 0], [6, 7, 0, 0], [3, 8, 9, 10], [0, 0, 0, 0]])
MASK, WORDS = (IDS > 0).long(), torch.arange(11) > 2


def draw(seed: int, run: Everyone, part: slice = slice(0, 4), **options):
    from counterpoint.training.batches import Batch, ItemRandom

    random = ItemRandom(seed, 4, part, torch.device("cpu"))
    batch = Batch(None, torch.arange(4)[part], 4, part.start, random, 0, 0)
    return word_labels(IDS[part], MASK[part], WORDS, batch, run, true=2, drawn=6, **options)


def test_pseudo_labels_are_of_the_text_and_of_others():
    counts = torch.zeros(11)
    for seed in range(200):
        found = draw(seed, Everyone())
        for row in range(3):
            own = set(IDS[row][MASK[row] > 0].tolist())
            assert set(found.ids[row, :2].tolist()) <= own
            said = zip(found.ids[row, 2:], found.targets[row, 2:], found.valid[row, 2:], strict=True)
            assert all(not valid or bool(target) == (int(word) in own) for word, target, valid in said)
        assert not found.valid[3].any()
        counts += torch.bincount(found.ids[0, :2], minlength=11)
        left = draw(seed, Everyone(), collisions="leave out")
        assert torch.equal(left.valid, found.valid & ((found.targets == 0) | (torch.arange(8) < 2)))
        ignored = draw(seed, Everyone(), collisions="ignore")
        assert not ignored.targets[:, 2:].any()
        assert torch.equal(ignored.valid, found.valid)
    assert (counts[3:6] / 400 - 1 / 3).abs().max() < 0.08


def test_two_processes_draw_what_one_draws():
    whole = Everyone()
    expected = draw(5, whole)
    parts = [draw(5, Everyone(whole.kept), part) for part in (slice(0, 1), slice(1, 4))]
    for name in ("ids", "targets", "valid"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(expected, name))


def test_the_noise_is_the_words_share_and_common_words_are_none():
    share = log_frequency(IDS, MASK, WORDS, smooth=0.0).exp()
    assert share[3].item() == pytest.approx(2 / 9)
    assert share[:3].tolist() == [0, 0, 0]
    assert torch.nonzero(WORDS & ~uncommon(IDS, MASK, WORDS, 0.2))[:, 0].tolist() == [3]
    with pytest.raises(CounterpointError, match="share from 0"):
        uncommon(IDS, MASK, WORDS, 1.0)
    with pytest.raises(CounterpointError, match="whole words"):
        uncommon(IDS, MASK, torch.zeros(11, dtype=torch.bool), 0.1)


@pytest.mark.parametrize(
    ("settings", "lesson"),
    [
        ({"pretraining_epochs": 0, "epochs": 0}, "nothing to train"),
        ({"positives": 0}, "at least one word"),
        ({"batch_size": 1}, "at least 2"),
        ({"batch_size": 1, "objective": "ntxent"}, "batch of 1"),
    ],
)
def test_wrong_settings_teach(tmp_path, data, settings, lesson):
    with pytest.raises(CounterpointError, match=lesson):
        fit(tmp_path, data, "contrastive-primer", {**SMALL, **settings}, steps=4)


def test_wrong_names_and_missing_labels_teach(tmp_path, data):
    with pytest.raises(CounterpointError, match="objective"):
        load("contrastive-primer").settings(objective="infonec")
    with pytest.raises(CounterpointError, match="did you mean 'words'"):
        TASK.load_model("wrods", data, 0)
    bare = made(labelled=0.0)
    for key in ("text-classifier", "tfidf"):
        with pytest.raises(CounterpointError, match="no labelled training texts"):
            fit(tmp_path / key, bare, key, {}, steps=1)
    with pytest.raises(CounterpointError, match="loss=bce"):
        fit(tmp_path / "several", made(several=True), "text-classifier", {"loss": "ce"}, steps=1)
    with pytest.raises(CounterpointError, match="above 0"):
        fit(tmp_path / "strength", data, "tfidf", {"strength": 0.0}, steps=1)


def test_classes_that_read_alike_are_refused(tmp_path):
    table = [
        Row(r["text"], (r["label"] if n % 2 else "old-stones",), None, "row") for n, r in enumerate(rows(120))
    ]
    with pytest.raises(
        CounterpointError, match="'old-stones' and 'old_stones' read alike: they have the same"
    ):
        fit(tmp_path, build(table, False, "made"), "contrastive-primer", SMALL)
    known = made(labelled=0.0)
    TASK.save_model(fit(tmp_path / "run", known, "contrastive-primer", SMALL), tmp_path / "model")
    foreign = build(_others(), False, "others")
    with pytest.raises(CounterpointError, match="no word of theirs is known"):
        fit(tmp_path / "other", foreign, "contrastive-primer", SMALL, model=str(tmp_path / "model"))


def test_views_without_labels_give_an_encoder(tmp_path):
    bare = made(labelled=0.0)
    found = fit(tmp_path, bare, "contrastive-primer", {**SMALL, "objective": "ntxent"})
    assert not isinstance(found, TextClassifier)
    assert "zero_shot_macro_ap" in TASK.evaluate(found, bare, "test")


@pytest.mark.slow
def test_a_pretrained_transformer_is_pretrained_further_and_tuned(tmp_path):
    data = TASK.load_data("bbc-news", labelled=0.05, words=40)
    settings = {"batch_size": 16, "learning_rate": 5e-4, "tuning_rate": 1e-3, "common": 0.01}
    before = TASK.evaluate(TASK.load_model("bert-tiny", data, 1), data, "test")
    trained = fit(tmp_path / "run", data, "contrastive-primer", settings, steps=300, model="bert-tiny")
    after = TASK.evaluate(trained, data, "test")
    assert after["macro_ap"] > 0.7 > before["zero_shot_macro_ap"]
    TASK.save_model(trained, tmp_path / "model")
    assert TASK.evaluate(TASK.load_model(str(tmp_path / "model"), data, 0), data, "test") == pytest.approx(
        after
    )


def test_a_texts_negatives_are_never_drawn_from_itself():
    """With words that no two texts share, a text's own word among the drawn ones can only come from the text itself."""
    from counterpoint.training.batches import Batch, ItemRandom

    ids = torch.arange(1, 13).view(4, 3)
    words = torch.arange(13) > 0
    seen = torch.zeros(4, 13)
    for seed in range(100):
        random = ItemRandom(seed, 4, slice(0, 4), torch.device("cpu"))
        batch = Batch(None, torch.arange(4), 4, 0, random, 0, 0)
        found = word_labels(ids, torch.ones_like(ids), words, batch, Everyone(), true=2, drawn=6)
        for row in range(4):
            assert not set(found.ids[row, 2:].tolist()) & set(ids[row].tolist())
            seen[row] += torch.bincount(found.ids[row, 2:], minlength=13)
    for row in range(4):  # every other text's words do come up
        others = [int(word) for word in ids.flatten() if int(word) not in ids[row].tolist()]
        assert (seen[row, others] > 0).all()
