"""Training sentence encoders: every method learns, pieces of a batch change nothing, wrong data and settings are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import counterpoint
from counterpoint.data.sentence_pairs.items import PairRows, SentencePairs
from counterpoint.errors import CounterpointError
from counterpoint.methods.catalog import load
from counterpoint.models.sentence_pairs.encoder import SentenceEncoder
from counterpoint.models.text.transformer import fresh_transformer
from counterpoint.models.text.words import WordEncoder
from counterpoint.study.arms import entries
from counterpoint.study.during.checks import check_rows, smaller_batch
from counterpoint.study.recommend import recommend
from counterpoint.tasks.sentence_pairs import TASK
from counterpoint.training import Budget, Run
from example_files import SEA, TEA, questions

WORDS = ["what", "is", "a", "for", "and", "by", "the", "coast", *TEA, *SEA]
GROUPED = ("dcl", "isogclr")
"""Methods of images that take sentences, too, by a group of settings."""
KEYS = ["multiple-negatives", "sentence-triplet", "cosent", *GROUPED]


def encoder(dropout: bool = True) -> SentenceEncoder:
    model = SentenceEncoder(fresh_transformer(WORDS, layers=1, width=32, seed=1))
    for part in model.modules():
        if isinstance(part, nn.Dropout) and not dropout:
            part.p = 0.0
    return model


def pairs(form: str = "triplets") -> SentencePairs:
    rows = questions()
    if form == "scores":
        second = tuple(row["positive" if n % 2 else "negative"] for n, row in enumerate(rows))
        part = PairRows(
            tuple(r["anchor"] for r in rows), second, ((),) * 40, torch.arange(40).remainder(2).float()
        )
        return SentencePairs(part, part, part, scored=True)
    negatives = tuple((row["negative"],) if form == "triplets" else () for row in rows)
    part = PairRows(tuple(r["anchor"] for r in rows), tuple(r["positive"] for r in rows), negatives)
    return SentencePairs(part, part, part, num_negatives=len(negatives[0]))


def settings_of(key: str, **given: Any) -> dict[str, Any]:
    given = {"batch_size": 10, "learning_rate": 3e-3, **given}
    return {f"sentences.{name}": value for name, value in given.items()} if key in GROUPED else given


def fit(
    folder: Path,
    key: str,
    data: SentencePairs,
    steps: int = 12,
    model: Any = None,
    options: Any = None,
    **given: Any,
) -> Any:
    with Run(folder, seed=1, budget=Budget(steps=steps), progress=False, **(options or {})) as run:
        return load(key).settings(**settings_of(key, **given)).fit(model or encoder(), data, run)


@pytest.mark.parametrize("key", KEYS)
def test_every_method_learns_what_its_data_say(key: str, tmp_path: Path) -> None:
    data = pairs("scores" if key == "cosent" else "triplets")
    figure = "spearman" if key == "cosent" else "triplet_accuracy"
    before = TASK.evaluate(encoder(), data, "test")[figure]
    after = TASK.evaluate(fit(tmp_path, key, data, steps=24), data, "test")[figure]
    assert after > before + 0.15, (before, after)


@pytest.mark.parametrize("key", ["multiple-negatives", "dcl"])
def test_fewer_rows_than_a_batch_are_no_other_contrast_in_silence(key: str) -> None:
    name = "sentences.batch_size" if key == "dcl" else "batch_size"
    with pytest.raises(
        CounterpointError,
        match=f"40 training rows are fewer than {name}=64; give --{name.replace('_', '-')} 16",
    ):
        check_rows(load(key)(), TASK, pairs("pairs"))
    check_rows(load(key).settings(**settings_of(key, batch_size=40)), TASK, pairs("pairs"))
    alone = settings_of(key, batch_size=1)
    with pytest.raises(CounterpointError, match=f"{name}=1; the other rows of a batch"):
        check_rows(load(key).settings(**alone), TASK, pairs("pairs"))
    check_rows(load(key).settings(**alone), TASK, pairs("triplets"))  # each has a negative of its own
    with pytest.raises(CounterpointError, match=f"{name}=1"):
        own_only = settings_of(key, batch_size=1, hard_negatives=False)
        check_rows(load(key).settings(**own_only), TASK, pairs("triplets"))


def test_the_order_of_one_score_is_nothing() -> None:
    with pytest.raises(CounterpointError, match="batch_size=1; the order"):
        check_rows(load("cosent")(batch_size=1), TASK, pairs("scores"))
    check_rows(load("cosent")(batch_size=1, loss="mse"), TASK, pairs("scores"))


@pytest.mark.parametrize("key", ["multiple-negatives", *GROUPED])
def test_a_batch_in_pieces_is_the_whole_batch(key: str, tmp_path: Path) -> None:
    whole, pieces = (
        fit(tmp_path / str(size), key, pairs(), 3, encoder(dropout=False), {"micro_batch_size": size})
        for size in (None, 4)
    )
    for (name, one), (_, two) in zip(whole.state_dict().items(), pieces.state_dict().items()):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=2e-5, msg=name)


def test_equal_texts_of_a_batch_are_masked_or_counted(tmp_path: Path) -> None:
    data = pairs("pairs")
    part = PairRows(data.train.anchors, data.train.positives[:2] * 20, ((),) * 40)
    doubled = SentencePairs(part, part, part)
    masked, counted, unlike = (
        fit(
            tmp_path / name, "multiple-negatives", rows, 3, encoder(dropout=False), mask_repeats=mask
        ).state_dict()
        for name, rows, mask in (("m", doubled, True), ("c", doubled, False), ("u", data, True))
    )
    plain = fit(
        tmp_path / "p", "multiple-negatives", data, 3, encoder(dropout=False), mask_repeats=False
    ).state_dict()
    name = "text.net.encoder.layer.0.output.dense.weight"
    assert not torch.equal(masked[name], counted[name])
    torch.testing.assert_close(unlike[name], plain[name])


def test_hard_negatives_can_be_left_out(tmp_path: Path) -> None:
    without = fit(
        tmp_path / "w", "multiple-negatives", pairs(), 2, encoder(False), hard_negatives=False
    ).state_dict()
    pairs_alone = fit(tmp_path / "p", "multiple-negatives", pairs("pairs"), 2, encoder(False)).state_dict()
    assert all(torch.equal(value, pairs_alone[name]) for name, value in without.items())


def test_the_form_of_the_encoding_is_trained_and_kept(tmp_path: Path) -> None:
    data = pairs()
    given = {"encoding.pooling": "cls", "encoding.max_length": 6, "encoding.query_prompt": "what is "}
    model = fit(tmp_path / "run", "multiple-negatives", data, 1, **given)
    model.save_pretrained(tmp_path / "model")
    again = counterpoint.load(tmp_path / "model")
    assert isinstance(again, SentenceEncoder)
    assert (again.form.pooling, again.form.max_length, dict(again.form.prompts)) == (
        "cls",
        6,
        {"query": "what is "},
    )


@pytest.mark.parametrize(
    ("key", "form", "given", "message"),
    [
        ("multiple-negatives", "scores", {}, "has scores; train with cosent.*positive_from=0.8"),
        ("dcl", "scores", {}, "has scores; train with cosent"),
        ("isogclr", "scores", {}, "has scores; train with cosent"),
        (
            "isogclr",
            "pairs",
            {"temperature": 0.001},
            r"sentences.temperature=0.001 lies outside \[sentences.lowest=0.01",
        ),
        ("isogclr", "triplets", {"batch_size": 1}, "sentences.batch_size=1; a positive is set against"),
        ("isogclr", "pairs", {"lowest": 0.0}, "sentences.lowest=0.0; expected a number above 0"),
        ("sentence-triplet", "pairs", {}, "has no negatives; give a column negative"),
        ("cosent", "triplets", {}, "has none; give a column score, or train with multiple-negatives"),
        ("multiple-negatives", "pairs", {"temperature": 0.0}, "temperature=0.0; expected a number above 0"),
        ("multiple-negatives", "pairs", {"encoding.max_length": 2}, "max_length=2 tokens leave no room"),
    ],
)
def test_wrong_data_and_settings_are_refused(
    key: str, form: str, given: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(CounterpointError, match=message):
        fit(tmp_path, key, pairs(form), **given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"batch_size": 8},
            "dcl: batch_size is of images, and these data are pairs of sentences; give sentences.batch_size",
        ),
        ({"dim": 8}, "dcl: dim is of images, and these data are pairs of sentences; leave it out"),
        ({"variant": "dclw"}, "variant=dclw is of images"),
    ],
)
def test_dcl_takes_no_setting_of_images_on_sentences(
    given: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with Run(tmp_path, seed=0, progress=False) as run, pytest.raises(CounterpointError, match=message):
        load("dcl").settings(**given).fit(encoder(), pairs(), run)


def test_dcl_takes_no_setting_of_sentences_on_images(tmp_path: Path) -> None:
    with pytest.raises(CounterpointError, match="dcl: sentences.epochs is of sentence pairs"):
        counterpoint.run(
            "dcl", data="digits", model="conv-small", settings={"sentences.epochs": 2}, out=tmp_path / "run"
        )


@pytest.mark.parametrize(
    ("key", "given", "message"),
    [
        (
            "isogclr",
            {"bimodal": True},
            "isogclr: bimodal is of images, and these data are pairs of sentences",
        ),
        (
            "isogclr",
            {"lowest": 0.02},
            "lowest is of images, and these data are pairs of sentences; give sentences.lowest",
        ),
        ("supremix", {}, "supremix learns from regression, and kind=sentence-pairs was given"),
    ],
)
def test_what_is_of_other_kinds_is_refused_before_anything_is_written(
    key: str, given: dict[str, Any], message: str, tmp_path: Path
) -> None:
    rows = [f"question {n},answer {n}" for n in range(40)]
    (tmp_path / "pairs.csv").write_text("\n".join(["anchor,positive", *rows]))
    with pytest.raises(CounterpointError, match=message):
        counterpoint.run(
            key,
            data=str(tmp_path / "pairs.csv"),
            model="transformer",
            settings=given,
            out=tmp_path / "run",
            kind="sentence-pairs",
        )
    assert not (tmp_path / "run").exists()


def test_temperatures_of_both_sides_move_and_come_out_as_a_table(tmp_path: Path) -> None:
    with Run(tmp_path, seed=1, budget=Budget(steps=12), progress=False) as run:
        method = load("isogclr").settings(**settings_of("isogclr"), temperature_rate=0.1)
        method.fit(encoder(), pairs(), run)
    rows = run.reported.rows("temperatures")
    assert list(rows[0]) == ["row", "anchor_temperature", "positive_temperature", "anchor", "positive"]
    tau = [row["anchor_temperature"] for row in rows]
    assert tau == sorted(tau)
    assert len({row["positive_temperature"] for row in rows}) > 20
    texts = pairs().train
    assert all(row["anchor"] == texts.anchors[row["row"]] for row in rows)


def test_one_temperature_for_all_stays(tmp_path: Path) -> None:
    with Run(tmp_path, seed=1, budget=Budget(steps=5), progress=False) as run:
        method = load("isogclr").settings(**settings_of("isogclr", temperature=0.07), individual=False)
        method.fit(encoder(), pairs(), run)
    assert set(run.reported.column("temperatures", "anchor_temperature")) == {0.07}


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CounterpointError, match="a WordEncoder was given; expected a SentenceEncoder"):
        fit(tmp_path, "multiple-negatives", pairs(), model=WordEncoder(["tea"]))


def test_a_study_of_both_kinds_is_of_sentences_with_their_ranges() -> None:
    arms = {entry.name: entry for entry in entries(["dcl", "multiple-negatives"], data="pairs.csv")}
    assert {entry.recipe.kind for entry in arms.values()} == {"sentence-pairs"}
    assert set(arms["dcl"].tune) == {"sentences.temperature", "sentences.learning_rate"}
    assert set(load("dcl").ranges()) == {"temperature", "learning_rate"}


def test_what_is_recommended_goes_by_the_form(tmp_path: Path) -> None:
    rows = [f"question {n},answer {n},{n % 2}" for n in range(40)]
    scored, alone = tmp_path / "scored.csv", tmp_path / "alone.csv"
    scored.write_text("\n".join(["anchor,positive,score", *rows]))
    alone.write_text("\n".join(["anchor,positive", *(row.rpartition(",")[0] for row in rows)]))
    assert [each.key for each in recommend(str(scored)).suggestions] == ["cosent"]
    found = recommend(str(alone))
    assert [each.key for each in found.suggestions] == ["multiple-negatives", "dcl"]
    size = smaller_batch(found.facts.rows)
    assert 2 * size <= found.facts.rows < 64
    words = found.command.split()
    assert {f"multiple-negatives.batch_size={size}", f"dcl.sentences.batch_size={size}"} <= set(words)
