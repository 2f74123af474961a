"""Conversations and rewrites in every form that is read, CAsT's topics, and forms that are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import conversation_folder
from counterpoint.data.retrieval import Retrieval, load_retrieval
from counterpoint.data.retrieval.sets import load
from counterpoint.errors import CounterpointError
from counterpoint.tasks.recognise import kind_of


def rewritten(folder: Path, change: Any) -> Retrieval:
    """The folder with every row of its queries changed."""
    lines = [json.loads(line) for line in (folder / "queries.jsonl").read_text().splitlines()]
    for line in lines:
        change(line)
    (folder / "queries.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return load_retrieval(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return conversation_folder.write(tmp_path / "dishes")


def test_history_and_rewrites(folder: Path) -> None:
    data = load_retrieval(folder)
    assert data.conversation(0) == [
        "where is it found?",
        "a dish as well",
        "and apple?",
        "it is a dish",
        "tell me of dates",
    ]
    assert data.rewrites["person"][7] == "where is honey found?"
    assert list(data.rewrites) == ["noisy", "person"]
    assert "4 earlier utterances in the middle" in " ".join(data.describe())
    assert kind_of(str(folder)) == "retrieval"


def test_messages_are_the_same_conversation(folder: Path) -> None:
    plain = load_retrieval(folder)

    def change(row: dict[str, Any]) -> None:
        texts = [*row.pop("history"), row.pop("text")]
        row["messages"] = [
            {"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)
        ]

    data = rewritten(folder, change)
    assert data.fingerprint() == plain.fingerprint()


def test_rewrites_in_files_and_in_a_column(folder: Path) -> None:
    plain = load_retrieval(folder)
    (folder / "rewrites").mkdir()
    for name in ("person", "noisy"):
        lines = [f"{key}\t{text}" for key, text in zip(plain.query_ids, plain.rewrites[name])]
        (folder / "rewrites" / f"{name}.tsv").write_text("\n".join(["query-id\ttext", *lines]) + "\n")
    data = rewritten(folder, lambda row: row.pop("rewrites"))
    assert data.fingerprint() == plain.fingerprint()
    one = rewritten(folder, lambda row: row.update(rewrite=f"one {row['_id']}"))
    assert one.rewrites["rewrite"][3] == "one q3"
    listed = rewritten(folder, lambda row: row.update(rewrites=["a", "b"]))
    assert listed.rewrites["2"][0] == "b"


def test_any_change_of_a_conversation_is_other_data(folder: Path) -> None:
    before = load_retrieval(folder).fingerprint()
    assert rewritten(folder, lambda row: row["history"].append("more")).fingerprint() != before
    assert rewritten(folder, lambda row: row["history"].pop()).fingerprint() == before
    assert rewritten(folder, lambda row: row["rewrites"].update(noisy="x")).fingerprint() != before


WRONG = {
    "history": ({"history": "one text"}, "expected a list of texts"),
    "blank": ({"history": ["a", " "]}, "expected a list of texts"),
    "numbers": ({"history": [1, 2]}, "expected a list of texts"),
    "rewrites": ({"rewrites": "one"}, "expected texts by name"),
    "rewrite": ({"rewrite": 3}, "expected a text"),
    "both": ({"messages": [{"content": "a"}]}, "keep the one that holds the conversations"),
}


@pytest.mark.parametrize("name", WRONG)
def test_other_forms_are_refused_with_their_row(folder: Path, name: str) -> None:
    cell, match = WRONG[name]
    with pytest.raises(CounterpointError, match=match):
        rewritten(folder, lambda row: row.update(cell))


@pytest.mark.parametrize(
    ("row", "match"), [("q99\tx", "which is not in the data"), ("q1\tx\nq1\ty", "once more")]
)
def test_rewrites_of_other_queries_are_refused(folder: Path, row: str, match: str) -> None:
    (folder / "rewrites").mkdir()
    (folder / "rewrites" / "person.tsv").write_text(f"query-id\ttext\n{row}\n")
    with pytest.raises(CounterpointError, match=match):
        load_retrieval(folder)


def test_topics_and_judgements_of_trec_are_a_folder(folder: Path) -> None:
    (folder / "queries.jsonl").unlink()
    for path in (folder / "qrels").iterdir():
        path.unlink()
    turns = [
        {"number": n, "raw_utterance": f"turn {n}", "manual_rewritten_utterance": f"whole {n}"}
        for n in range(1, 7)
    ]
    (folder / "topics.json").write_text(json.dumps([{"number": 31, "turn": turns}]))
    (folder / "qrels" / "test.qrels").write_text("".join(f"31_{n} 0 d{n} 1\n" for n in range(1, 7)))
    data = load_retrieval(folder)
    assert data.conversation(2) == ["turn 3", "turn 2", "turn 1"]
    assert data.rewrites["manual"][0] == "whole 1"
    assert kind_of(str(folder)) == "retrieval"
    (folder / "qrels" / "test.qrels").write_text("31_1 d1 1\n")
    with pytest.raises(CounterpointError, match="TREC's four"):
        load_retrieval(folder)


@pytest.mark.slow
def test_the_bundled_conversations_hold_whole_topics_out() -> None:
    data = load("wiki-conversations", documents=300, words=20)
    unseen = {query for query in range(len(data.queries)) if data.query_ids[query].startswith("unseen-")}
    assert unseen
    assert unseen <= set(data.test.queries)
    assert set(data.test.queries) - unseen
    assert load("wiki-conversations", documents=300, words=20).fingerprint() == data.fingerprint()
    for query in data.train.queries[:20]:
        assert len(data.history[query]) == 6
        assert data.rewrites["person"][query] != data.queries[query]
