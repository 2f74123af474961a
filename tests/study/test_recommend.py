"""Suggestions fit the catalog and the data's size; kinds are told apart by names and first lines."""

import json
import shlex

import numpy as np
import pytest
import torch

from counterpoint.data.images.load import Images, ImageSet
from counterpoint.errors import CounterpointError
from counterpoint.methods.catalog import load, rows
from counterpoint.study import recommend as recommending
from counterpoint.study.recommend import RULES, Facts, cautions, facts_of, recommend, suggestions
from counterpoint.tasks.recognise import kind_of
from counterpoint.tasks.task import task


def test_every_rule_names_a_method_of_its_kind():
    wrong = [r.key for r in RULES if r.kind not in (rows()[r.key].kind, *load(r.key).also)]
    assert wrong == []


def test_size_and_shape_of_the_data_change_the_order():
    ready = set(rows())
    tailed = suggestions(Facts("images", 10_000, labelled=10_000, classes=10, imbalance=50.0), ready)
    even = suggestions(Facts("images", 10_000, labelled=10_000, classes=10, imbalance=1.1), ready)
    assert tailed[0].key == "isogclr"
    assert even[0].key == "multiview"
    assert suggestions(Facts("problems", 20), ready)[0].key == "sft"
    assert suggestions(Facts("problems", 2_000), ready)[0].key == "unisd"


def test_images_with_captions_suggest_contrast_with_them():
    ready = set(rows())
    assert suggestions(Facts("images", 1_000, captioned=True), ready)[0].key == "clip"
    assert "clip" not in {s.key for s in suggestions(Facts("images", 1_000), ready)}


def test_questions_about_images_suggest_contrast_of_images():
    ready = set(rows())
    assert "vc-star" in {s.key for s in suggestions(Facts("problems", 1_000, pictured=True), ready)}
    assert "vc-star" not in {s.key for s in suggestions(Facts("problems", 1_000), ready)}
    shown = task("problems").load_data("digit-questions?size=12&validation=4&test=4")
    assert facts_of("problems", shown) == Facts("problems", 12, pictured=True, worked=True)
    assert not facts_of("problems", task("problems").load_data("worked-sums?size=9")).pictured


@pytest.mark.parametrize("beside", ["captions", "partners", None])
def test_what_lies_beside_images_is_a_fact(beside):
    labels = torch.arange(6) % 2
    given = {"captions": tuple(("a",) for _ in range(6)), "partners": torch.zeros(6, 2), None: None}[beside]
    part = ImageSet(torch.zeros(6, 1, 2, 2), labels, **({beside: given} if beside else {}))
    assert facts_of("images", Images(part, part, part, classes=("a", "b"))).captioned is (beside is not None)


def test_planned_methods_come_last_and_each_key_once():
    found = suggestions(Facts("images", 10_000, imbalance=50.0), {"dcl", "simclr"})
    assert [s.key for s in found][:2] == ["dcl", "simclr"]
    assert all(not s.ready for s in found[2:])
    assert len({s.key for s in found}) == len(found)


def test_half_labelled_texts_suggest_vega_with_a_model_it_can_pretrain():
    ready = set(rows())
    found = {s.key: s for s in suggestions(Facts("text", 500, labelled=100, classes=3), ready)}
    assert found["vega"].model == "deberta"
    assert "without a label" in found["vega"].why
    assert "vega" not in {s.key for s in suggestions(Facts("text", 500, labelled=500, classes=3), ready)}


def test_few_rows_are_compared_on_as_many_seeds_as_the_warning_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for count, seeds in ((60, 10), (400, 5)):
        lines = [f"u{n % 20}\ti{n}\t5" for n in range(count)]
        (tmp_path / "ratings.tsv").write_text("\n".join(["user\titem\trating", *lines]) + "\n")
        found = recommend("ratings.tsv")
        assert f"--seeds {seeds} " in found.command
        assert [f"at least {seeds} seeds" in line for line in found.cautions] == [True] * (count == 60)


def test_little_data_comes_with_a_warning():
    assert "few" in cautions(Facts("images", 30))[0]
    assert cautions(Facts("images", 5_000, labelled=5_000, classes=10)) == []


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.jsonl", json.dumps({"prompt": "p", "chosen": "c", "rejected": "r"}), "preferences"),
        ("b.jsonl", json.dumps({"question": "1+1", "answer": "2"}), "problems"),
        ("c.inter", "user_id:token\titem_id:token\n1\t2\n", "interactions"),
        ("d.txt", "1\t2\t5.0\n1\t3\t4.0\n", "interactions"),
        ("e.dat", "1::2::5::978300760\n", "interactions"),
        ("f.csv", "prompt,chosen,rejected\np,c,r\n", "preferences"),
    ],
)
def test_kinds_are_told_apart(tmp_path, name, content, kind):
    (tmp_path / name).write_text(content)
    assert kind_of(str(tmp_path / name)) == kind


def test_pictures_arrays_and_bundled_names(tmp_path):
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "1.png").write_bytes(b"")
    assert kind_of(str(tmp_path)) == "images"
    np.savez(tmp_path / "x.npz", images=np.zeros((2, 4, 4)), labels=np.zeros(2))
    assert kind_of(str(tmp_path / "x.npz")) == "images"
    assert kind_of("digits") == "images"
    assert kind_of("movielens-100k") == "interactions"
    assert kind_of("reasoning-gym:leg_counting?size=10") == "problems"


def test_what_cannot_be_told_is_said(tmp_path):
    (tmp_path / "poem.xyz").write_text("shall I compare thee")
    with pytest.raises(CounterpointError, match="--kind"):
        kind_of(str(tmp_path / "poem.xyz"))
    with pytest.raises(CounterpointError, match="counterpoint data list"):
        kind_of("no-such-thing")


def test_the_command_runs_as_it_stands(tmp_path):

    folder = tmp_path / "my data; rm"
    folder.mkdir()
    lines = [json.dumps({"text": f"word {i} of it", "label": "ab"[i % 2]}) for i in range(60)]
    (folder / "it's.jsonl").write_text("\n".join(lines), encoding="utf-8")
    found = recommend(str(folder / "it's.jsonl"), data_options={"validation": 0.2, "seed": 3})
    words = shlex.split(found.command)
    assert words[:2] == ["counterpoint", "compare"]
    assert words[words.index("--data") + 1] == str(folder / "it's.jsonl")
    assert [words[i + 1] for i, word in enumerate(words) if word == "--data-option"] == [
        "validation=0.2",
        "seed=3",
    ]
    assert (found.facts.rows, found.facts.classes, found.facts.imbalance) == (
        found.facts.labelled,
        2,
        pytest.approx(1.0, abs=0.3),
    )


def test_what_data_are_refused_by_is_not_in_the_command_and_says_why(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [{"question": f"{n}+{n}", "answer": str(2 * n)} for n in range(80)]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = recommend("sums.jsonl")
    by_key = {each.key: each for each in found.suggestions}
    assert "privileged_context" in by_key["pi-distill"].refused
    assert "no worked solutions" in by_key["unisd"].why
    compared = shlex.split(found.command)[2:5]
    assert compared[0] == "unisd"
    assert not [key for key in compared if by_key[key].refused]
    refused = [bool(each.refused) for each in found.suggestions]
    assert refused == sorted(refused)
    with monkeypatch.context() as alone:
        alone.setattr(recommending, "_refusal", lambda each, data: "" if each.key == "sft" else "not these")
        assert shlex.split(recommend("sums.jsonl").command)[2:4] == ["sft", "--data"]
    solved = [row | {"solution": f"{n} twice is {2 * n}"} for n, row in enumerate(rows)]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in solved))
    assert "worked solutions at hand" in recommend("sums.jsonl").suggestions[0].why
