"""Columns that training was told to read inputs from are read by predicting, too, without being named again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import counterpoint
from counterpoint.errors import CounterpointError, UnusableRow


def trained(method: str, rows: list[dict[str, Any]], out: Path, **options: Any) -> Any:
    data = out / "rows.jsonl"
    out.mkdir()
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    names, given = options.pop("names"), options
    counterpoint.run(method, data=str(data), data_options=names, out=out / "run", progress=False, **given)
    return counterpoint.load(out / "run").predict, data


def test_a_text(tmp_path: Path) -> None:
    rows = [
        {"Nachricht": f"{word} {n}", "Art": word, "text": ""} for n in range(20) for word in ("tea", "sea")
    ]
    names = {"text": "Nachricht", "label": "Art"}
    predict, data = trained("text-classifier", rows, tmp_path / "a", names=names, model="words", steps=3)
    assert [one["label"] for one in predict(data)] == [
        one["label"] for one in predict(data, column="Nachricht")
    ]
    assert len(predict([{"text": "tea"}])) == 1  # where the column is not there, the usual names
    with pytest.raises(UnusableRow, match=r"row 1: an empty text.*--skip-unreadable"):
        predict(data, column="text")
    with pytest.raises(CounterpointError, match="no setting 'learnt'"):
        predict(data, learnt=("text",))


def test_a_user(tmp_path: Path) -> None:
    rows = [{"Kunde": f"k{u}", "Artikel": f"a{(u + i * i) % 11}"} for u in range(12) for i in range(1, 7)]
    names = {"user": "Kunde", "item": "Artikel"}
    predict, data = trained("lightgcn", rows, tmp_path / "a", names=names, steps=2)
    assert {one["user"] for one in predict(data)} == {row["Kunde"] for row in rows}


def test_a_prompt(tmp_path: Path) -> None:
    rows = [{"Aufgabe": f"{n}+1=", "completion": str(n + 1)} for n in range(40)]
    given = {"model": "characters", "settings": {"lora_rank": 0, "batch_size": 4}, "steps": 1}
    predict, data = trained("sft", rows, tmp_path / "a", names={"prompt": "Aufgabe"}, **given)
    assert predict(data, max_new_tokens=2) == predict(data, max_new_tokens=2, column="Aufgabe")


def test_two_sentences(tmp_path: Path) -> None:
    rows = [{"Frage": f"what is {n}", "Antwort": f"it is {n}"} for n in range(40)]
    names = {"columns": "Frage,Antwort"}
    given = {"model": "transformer", "settings": {"batch_size": 4}, "steps": 1}
    predict, data = trained("multiple-negatives", rows, tmp_path / "a", names=names, **given)
    assert set(predict(data)[0]) == {"row", "similarity"}
    assert set(predict([{"text": "alone"}])[0]) == {"row", "embedding"}
