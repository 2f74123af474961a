"""Benchmarks beside test: a BEIR folder by our own code, other programs' tasks by theirs, refused before anything is trained."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import pytest
import torch

import beir_folder
import counterpoint
from counterpoint.data.retrieval.load import load_retrieval
from counterpoint.errors import CounterpointError, MissingExtra
from counterpoint.evaluation.benchmarks import lm_eval_tasks, measure, mteb_tasks
from counterpoint.evaluation.benchmarks.measure import benchmark_figures, require
from counterpoint.evaluation.benchmarks.names import benchmarks_of, less_is_better
from counterpoint.evaluation.retrieval import retrieval_metrics
from counterpoint.evaluation.text import outputs
from counterpoint.models.language.characters import tiny
from counterpoint.models.retrieval import sparse
from counterpoint.models.retrieval.embedder import Embedder, Shown
from counterpoint.models.text.folder import fresh_words
from counterpoint.study.recipe import Recipe
from counterpoint.tasks.task import task
from texts_made_up import rows, write_csv

WORDS = ["food", "is", "good", "what", "begins", "with", *beir_folder.WORDS, *"abcdefghijkl"]


@pytest.fixture
def food(tmp_path: Path) -> Path:
    return beir_folder.write(tmp_path / "food")


def test_a_folder_is_ranked_by_cosine_of_the_test_queries_alone(food: Path) -> None:
    model = fresh_words(WORDS, 0, seed=3)
    found = benchmark_figures([f"beir:{food}"], model)
    data = load_retrieval(food)
    queries, documents = (
        torch.nn.functional.normalize(outputs(model, texts), dim=1)
        for texts in (data.queries, data.documents)
    )
    expected = retrieval_metrics(queries, documents, data.test)
    assert found == pytest.approx({f"beir:food {name}": value for name, value in expected.items()})
    assert 0 < found["beir:food mrr@10"] < 1


def test_a_folder_with_a_test_split_alone_is_enough(tmp_path: Path) -> None:
    folder = beir_folder.write(tmp_path / "only", splits=("test",))
    whole = benchmark_figures([f"beir:{folder}"], fresh_words(WORDS, 0, seed=3))
    assert len(whole) == 4


def test_dense_and_sparse_retrievers_are_measured_as_on_their_own_data(food: Path) -> None:
    data = load_retrieval(food)
    for model in (Embedder(tiny(seed=0), Shown(template="{text}")), sparse.fresh(WORDS, seed=0)):
        own = task("retrieval").evaluate(model, data, "test")
        for name, value in benchmark_figures([f"beir:{food}"], model).items():
            assert value == pytest.approx(own[name.split()[1]]), name


def test_names_that_cannot_be_read_are_told_the_right_ones(tmp_path: Path) -> None:
    for given, words in {
        "ber:food": "did you mean 'beir'",
        "beir:": "name the task after the colon",
        "food": "expected mteb:TASK",
    }.items():
        with pytest.raises(CounterpointError, match=words):
            counterpoint.run("text-classifier", data="x.csv", out=tmp_path / "out", benchmarks=(given,))
    with pytest.raises(CounterpointError, match="beir:food is given twice"):
        benchmarks_of(["beir:a/food", "beir:b/food"])
    assert less_is_better("lm-eval:wikitext word_perplexity")
    assert not less_is_better("word perplexity")


@pytest.mark.parametrize("damage", ["folder", "corpus", "qrels", "unknown", "none"])
def test_a_folder_that_cannot_be_measured_is_refused(food: Path, damage: str) -> None:
    judged = food / "qrels" / "test.tsv"
    if damage == "folder":
        with pytest.raises(CounterpointError, match="is no folder"):
            require([f"beir:{food}s"])
        return
    if damage == "corpus":
        (food / "corpus.jsonl").unlink()
    elif damage == "qrels":
        judged.unlink()
    elif damage == "unknown":
        judged.write_text("query-id\tcorpus-id\tscore\nq0\tnowhere\t1\n")
    else:
        judged.write_text("query-id\tcorpus-id\tscore\nq0\td0\t0\n")
    said = {
        "corpus": "0 files named corpus",
        "qrels": "no qrels/test",
        "unknown": "'nowhere'",
        "none": "no relevant",
    }
    with pytest.raises(CounterpointError, match=said[damage]):
        require([f"beir:{food}"])


def test_models_of_another_sort_are_refused(food: Path) -> None:
    with pytest.raises(CounterpointError, match="is of text encoders, and this model is a Linear"):
        measure.OF["beir"].require_model(torch.nn.Linear(1, 1), "beir:food")
    with pytest.raises(CounterpointError, match="is of language models, and this model is a WordEncoder"):
        measure.OF["lm-eval"].require_model(fresh_words(["a"], 0, seed=0), "lm-eval:arc")


def test_a_run_keeps_the_figures_before_and_after(tmp_path: Path, food: Path) -> None:
    data = write_csv(tmp_path / "mails.csv", rows(80))
    made = counterpoint.run(
        "text-classifier", data=data, model="words", out=tmp_path / "run", steps=3, benchmarks=(f"beir:{food}",),
        progress=False,
    )  # fmt: skip
    name = "beir:food ndcg@10"
    assert name in made.metrics["test"]
    assert name in made.before["test"]
    assert made.primary == "macro_ap"
    stored = json.loads((tmp_path / "run" / "result.json").read_text())
    assert stored["metrics"]["test"][name] == made.metrics["test"][name]
    assert name in (tmp_path / "run" / "model" / "README.md").read_text()
    page = counterpoint.report(tmp_path / "run").read_text()
    assert name in page
    with pytest.raises(CounterpointError, match="leave --no-evaluate or --benchmark out"):
        counterpoint.run(
            "text-classifier", data=data, model="words", out=tmp_path / "blind", steps=3, evaluate=False,
            benchmarks=(f"beir:{food}",),
        )  # fmt: skip
    with pytest.raises(CounterpointError, match="is no folder"):
        counterpoint.run(
            "text-classifier",
            data=data,
            model="words",
            out=tmp_path / "none",
            steps=3,
            benchmarks=("beir:nowhere",),
        )
    assert not (tmp_path / "none").exists()


def test_a_folder_counts_by_its_content_and_is_found_from_elsewhere(
    food: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(food.parent)
    recipe = Recipe(
        key="text-classifier", settings={}, kind="text", data="x", model="words", cwd=str(food.parent),
        benchmarks=("beir:food", "mteb:Banking77Classification"),
    )  # fmt: skip
    before = recipe.identity("")["benchmarks"]
    assert before[0].startswith("beir:sha256:")
    assert before[1] == "mteb:Banking77Classification"
    monkeypatch.chdir(food)
    assert recipe.from_here().benchmarks == (f"beir:{food}", "mteb:Banking77Classification")
    assert recipe.from_here().identity("")["benchmarks"] == before
    (food / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td0\t1\n")
    assert recipe.from_here().identity("")["benchmarks"] != before
    plain = Recipe(key="text-classifier", settings={}, kind="text", data="x", model="words")
    assert "benchmarks" not in plain.identity("")


def test_a_comparison_shows_a_benchmark_with_its_differences(tmp_path: Path, food: Path) -> None:
    from io import StringIO

    from rich.console import Console

    from counterpoint.cli.tables import study_table

    data = write_csv(tmp_path / "mails.csv", rows(80))
    summary = counterpoint.compare(
        {"one": "text-classifier", "two": "text-classifier"}, data=data, model="words", out=tmp_path / "duel",
        settings={"two": {"learning_rate": 0.2}}, seeds=2, steps=3, baseline="one", benchmarks=(f"beir:{food}",), keep="none",
    )  # fmt: skip
    name = "beir:food mrr@10"
    assert name in summary["metrics"]
    assert set(summary["differences"][name]) == {"two"}
    screen = StringIO()
    study_table(Console(file=screen, width=120), summary, tmp_path / "duel")
    assert name in screen.getvalue()
    assert name in counterpoint.report(tmp_path / "duel").read_text()


def test_without_the_program_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in {"mteb": "mteb:STS12", "lm_eval": "lm-eval:arc_easy"}.items():
        monkeypatch.setitem(sys.modules, module, None)
        monkeypatch.setitem(sys.modules, "lm_eval.tasks", None)
        with pytest.raises(MissingExtra, match=rf"pip install 'counterpoint\[{name.split(':')[0]}\]'"):
            require([name])


def fake_mteb(monkeypatch: pytest.MonkeyPatch, taken: list[object]) -> None:
    """What is called of mteb, with a task that scores how many of its texts have vectors of length one."""
    program, meta = types.ModuleType("mteb"), types.ModuleType("mteb.models.model_meta")

    class Meta:
        @staticmethod
        def create_empty(given: dict[str, str]) -> dict[str, str]:
            return given

    def evaluate(model: object, chosen: object, **rest: object) -> object:
        taken.append(rest)
        vectors = model.encode([{"text": ["a b", "c"]}, {"text": ["d"]}], task_metadata=None, hf_split="test")  # type: ignore[attr-defined]
        share = float((abs((vectors**2).sum(1) - 1) < 1e-5).mean()) * len(vectors)
        return types.SimpleNamespace(task_results=[types.SimpleNamespace(get_score=lambda: share)])

    metadata = types.SimpleNamespace(name="Lengths", main_score="ones")
    chosen = types.SimpleNamespace(metadata=metadata)
    program.evaluate = evaluate  # type: ignore[attr-defined]
    program.get_task = lambda name: chosen  # type: ignore[attr-defined]
    program.get_tasks = types.FunctionType((lambda: None).__code__, {"TASK_LIST": [chosen]})  # type: ignore[attr-defined]
    meta.ModelMeta = Meta  # type: ignore[attr-defined]
    for name, module in {
        "mteb": program, "mteb.models": types.ModuleType("mteb.models"), "mteb.models.model_meta": meta,
    }.items():  # fmt: skip
        monkeypatch.setitem(sys.modules, name, module)


def test_mtebs_score_goes_by_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[object] = []
    fake_mteb(monkeypatch, taken)
    model = fresh_words(["a", "b", "c", "d"], 0, seed=0)
    require(["mteb:Lengths"], model)
    assert benchmark_figures(["mteb:Lengths"], model) == {"mteb:Lengths ones": 3.0}
    assert taken[0]["cache"] is None  # type: ignore[index]
    with pytest.raises(CounterpointError, match="did you mean 'Lengths'"):
        require(["mteb:Length"])


def test_a_task_of_ones_own_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_mteb(monkeypatch, [])
    (tmp_path / "own.py").write_text("numbers = [1]\n")
    with pytest.raises(CounterpointError, match="own.py:numbers is a list|numbers is a list"):
        require([f"mteb:{tmp_path}/own.py:numbers"])
    with pytest.raises(CounterpointError, match="cannot be imported as a task of mteb"):
        require([f"mteb:{tmp_path}/own.py:letters"])
    assert mteb_tasks._hint("zzz", {"Lengths"}).startswith("mteb.get_tasks")


def test_standard_errors_are_no_figures_and_a_group_stands_for_its_tasks() -> None:
    row = {"alias": "sums", "acc,none": 0.5, "acc_stderr,none": 0.1, "em,strict": 0.25}
    assert lm_eval_tasks._read({"sums": row, "sums_long": {"acc,none": 0.0}}, "sums") == {
        "acc": 0.5,
        "em (strict)": 0.25,
    }
    assert lm_eval_tasks._read({"a": {"acc,none": 1.0}, "b": {"acc,none": 0.0}}, "tag") == {
        "a/acc": 1.0,
        "b/acc": 0.0,
    }
