"""Search on disk: the index and the run against whole products, figures against our own, kill and resume, what cannot work."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import conversation_folder
from counterpoint.cli.main import app
from counterpoint.data.retrieval import load_retrieval
from counterpoint.data.retrieval.trec import read_judgements, read_run, write_run
from counterpoint.errors import CounterpointError
from counterpoint.models.language.characters import tiny
from counterpoint.models.retrieval.embedder import Embedder, Shown
from counterpoint.search.search import search
from counterpoint.tasks.task import task


@pytest.fixture
def here(tmp_path: Path) -> Path:
    conversation_folder.write(tmp_path / "dishes")
    data = load_retrieval(tmp_path / "dishes")
    task("retrieval").load_model("sparse-words", data, 0).save_pretrained(tmp_path / "model")
    return tmp_path


def run(here: Path, out: str = "out", **options: Any) -> Any:
    given = {"corpus": here / "dishes", "shard": 7, "count": 6, **options}
    return search(here / "model", here / "dishes", here / out, **given)


def test_a_run_is_the_product_of_all_with_all(here: Path) -> None:
    """Whatever the size of a shard: vectors by whole logits, scores by a dense product, ranks by sorting."""
    data = load_retrieval(here / "dishes")
    model = task("retrieval").load_model(str(here / "model"), data, 0)
    texts = [model.queries.joined(data.conversation(at)) for at in range(len(data.queries))]
    scores = model.encode_queries(texts).dense() @ model.encode_documents(data.documents).dense().T
    for shard in (1, 7, 100):
        done = run(here, f"out-{shard}", shard=shard)
        assert (done.documents, done.queries, done.unranked) == (20, 20, 0)
        found = read_run(done.run)
        for at, name in enumerate(data.query_ids):
            best = scores[at].sort(descending=True, stable=True)
            assert [document for document, _ in found[name]] == [
                data.document_ids[d] for d in best.indices[:6]
            ]
            np.testing.assert_allclose([s for _, s in found[name]], best.values[:6], rtol=1e-5)


def test_figures_are_those_of_training(here: Path) -> None:
    pytest.importorskip("ir_measures")
    data = load_retrieval(here / "dishes")
    ours = task("retrieval").evaluate(
        task("retrieval").load_model(str(here / "model"), data, 0), data, "test"
    )
    done = run(here, count=20, judgements=here / "dishes")
    for theirs, own in (
        ("nDCG@3", "ndcg@3"),
        ("nDCG@10", "ndcg@10"),
        ("RR@10", "mrr@10"),
        ("R@10", "recall@10"),
    ):
        assert done.figures[theirs] == pytest.approx(ours[own], abs=1e-6), theirs


def test_a_dense_model_is_searched_by_faiss(here: Path) -> None:
    pytest.importorskip("faiss")
    Embedder(tiny(seed=0), Shown(template="{text}")).save_pretrained(here / "dense")
    done = search(here / "dense", here / "dishes", here / "out", corpus=here / "dishes", shard=6, count=4)
    rows = read_run(done.run)
    from counterpoint.generation.rationales import embed
    from counterpoint.models.retrieval.embedder import load

    data = load_retrieval(here / "dishes")
    model = load(here / "dense")
    scores = embed(model, data.queries[:1])[0] @ embed(model, data.documents).T
    assert rows["q0"][0][1] == pytest.approx(float(scores.max()), rel=1e-5)
    assert len(rows["q0"]) == 4


def test_a_finished_index_serves_other_queries(here: Path) -> None:
    run(here, index=here / "index")
    (here / "more.tsv").write_text("1\twhere is honey found?\n2\tand the tea?\n")
    done = search(here / "model", here / "more.tsv", here / "other", index=here / "index", count=3)
    assert done.queries == 2
    assert set(read_run(done.run)) == {"1", "2"}
    with pytest.raises(CounterpointError, match="no finished index"):
        search(here / "model", here / "more.tsv", here / "third", index=here / "nowhere")


def test_topics_and_judgements_of_trec(here: Path) -> None:
    turns = [
        {"number": 1, "raw_utterance": "tell me of honey", "manual_rewritten_utterance": "honey"},
        {
            "number": 2,
            "raw_utterance": "where is it found?",
            "manual_rewritten_utterance": "where is honey found?",
        },
    ]
    (here / "topics.json").write_text(json.dumps([{"number": 31, "turn": turns}]))
    (here / "test.qrels").write_text("31_1 0 d7 1\n31_2 0 d7 2\n31_2 0 d1 0\n")
    assert read_judgements(here / "test.qrels")[1] == ("31_2", "d7", 2.0)
    done = search(
        here / "model",
        here / "topics.json",
        here / "out",
        corpus=here / "dishes",
        judgements=here / "test.qrels",
        metrics=["R@20"],
    )
    assert done.figures == {"R@20": 1.0}


def test_a_search_that_was_killed_goes_on(here: Path) -> None:
    """Killed at several moments, also between a shard and the next: the run and the index are the unbroken one's bits."""
    long = here / "long"
    long.mkdir()
    lines = [
        json.dumps({"_id": f"d{n}", "text": f"{name} number {n}"})
        for n in range(150)
        for name in ["honey tea"]
    ]
    (long / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    (long / "queries.tsv").write_text("".join(f"{n}\thoney {n}\n" for n in range(130)))

    def start(out: Path) -> int:
        child = os.fork()
        if child == 0:
            torch.set_num_threads(1)
            search(here / "model", long / "queries.tsv", out, corpus=long, shard=10, count=5)
            os._exit(0)
        return child

    began = time.monotonic()
    os.waitpid(start(here / "whole"), 0)
    seconds = time.monotonic() - began

    def bits(out: Path) -> dict[str, bytes]:
        return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}

    expected, met = bits(here / "whole"), 0
    assert "run.trec" in expected
    for trial, share in enumerate((0.3, 0.6)):
        child = start(here / f"killed-{trial}")
        time.sleep(share * seconds)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        met += os.waitstatus_to_exitcode(status) == -signal.SIGKILL
        os.waitpid(start(here / f"killed-{trial}"), 0)
        assert bits(here / f"killed-{trial}") == expected
    assert met >= 1


def test_another_search_or_model_in_the_folder_is_refused(here: Path) -> None:
    run(here)
    with pytest.raises(CounterpointError, match="another k"):
        run(here, count=3)
    data = load_retrieval(here / "dishes")
    task("retrieval").load_model("sparse-words", data, 1).save_pretrained(here / "model")
    with pytest.raises(CounterpointError, match="an index of another model"):
        run(here)


WRONG = {
    "line": ("corpus.jsonl", '{"_id": "d0"\n', "line 1"),
    "object": ("corpus.jsonl", "[1]\n", "holds no object"),
    "text": ("corpus.jsonl", '{"_id": "d0", "text": " "}\n', "no id or no text"),
    "twice": ("corpus.jsonl", '{"_id": "a", "text": "b"}\n{"_id": "a", "text": "c"}\n', "stands twice"),
    "empty": ("corpus.jsonl", "\n", "no documents"),
    "queries": ("queries.jsonl", '{"_id": "q"}\n', "text"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_files_are_said(here: Path, name: str) -> None:
    file, content, match = WRONG[name]
    (here / "dishes" / file).write_text(content)
    with pytest.raises(CounterpointError, match=match):
        run(here)
    assert not (here / "out" / "run.trec").exists()


def test_wrong_options_are_said(here: Path) -> None:
    pytest.importorskip("ir_measures")
    with pytest.raises(CounterpointError, match="expected names of ir-measures"):
        run(here, judgements=here / "dishes", metrics=["nonsense@3"])
    with pytest.raises(CounterpointError, match="at least 1"):
        run(here, count=0)
    with pytest.raises(CounterpointError, match=r"there is no .*nowhere"):
        run(here, corpus=here / "nowhere")


def test_the_command_prints_the_same_as_json(here: Path) -> None:
    pytest.importorskip("ir_measures")
    given = [
        "search",
        str(here / "model"),
        "--corpus",
        str(here / "dishes"),
        "--queries",
        str(here / "dishes"),
        "--qrels",
        str(here / "dishes"),
    ]
    shown = CliRunner().invoke(app, [*given, "--out", str(here / "out")])
    assert shown.exit_code == 0, shown.output
    assert "nDCG@10" in shown.output
    parsed = json.loads(CliRunner().invoke(app, [*given, "--out", str(here / "out"), "--json"]).output)
    assert parsed["documents"] == 20
    assert f"{parsed['figures']['nDCG@10']:.4f}" in shown.output
    missing = CliRunner().invoke(app, ["search", str(here / "model")])
    assert missing.exit_code == 2


def test_runs_are_written_whole_and_read_back(tmp_path: Path) -> None:
    ranking = {"q": [("b", 2.5), ("a", 1.25)], "p": [("a", 0.1)]}
    write_run(tmp_path / "x.run", ranking, "tag")
    assert (tmp_path / "x.run").read_text().splitlines()[0] == "q Q0 b 1 2.5 tag"
    assert read_run(tmp_path / "x.run") == ranking
    with pytest.raises(CounterpointError, match="separated by blanks"):
        write_run(tmp_path / "y.run", {"a query": [("a", 1.0)]}, "tag")
    assert not (tmp_path / "y.run").exists()
    for content, match in (
        ("q Q0 a 1\n", "TREC's six"),
        ("q Q0 a 1 nan t\n", "expected a number"),
        ("", "no lines"),
        ("q Q0 a 1 2 t\nq Q0 a 2 1 t\n", "stands twice"),
    ):
        (tmp_path / "z.run").write_text(content)
        with pytest.raises(CounterpointError, match=match):
            read_run(tmp_path / "z.run")


@pytest.mark.slow
def test_five_thousand_passages(tmp_path: Path) -> None:
    """End to end on a corpus folder, by the inverted index: every query finds the passage that it was cut from."""
    from counterpoint.data.retrieval import sets

    data = sets.load("wiki-descriptions", documents=5000, words=30)
    (tmp_path / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": k, "text": t}) + "\n" for k, t in zip(data.document_ids, data.documents))
    )
    some = range(0, 5000, 50)
    (tmp_path / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": f"q{n}", "text": data.documents[n]}) + "\n" for n in some)
    )
    done = search(
        "bert-tiny", tmp_path / "queries.jsonl", tmp_path / "out", corpus=tmp_path, shard=1000, count=10
    )
    assert done.documents == len(data.documents)
    rows = read_run(done.run)
    assert sum(rows[f"q{n}"][0][0] == data.document_ids[n] for n in some) >= 0.95 * len(some)
