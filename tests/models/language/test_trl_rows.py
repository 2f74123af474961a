"""Ids and masks of every row of every template family are TRL 1.16's, read from what ``references/trl_rows.py`` wrote."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from counterpoint.data.language import preferences, problems
from counterpoint.models.language import rendering, templates
from counterpoint.models.language.row_batches import batch

REFERENCES = Path(__file__).parents[2] / "references"
sys.path.insert(0, str(REFERENCES))

import families  # noqa: E402

TRL = json.loads((REFERENCES / "trl_rows.json").read_text())


def cases(kind: str) -> list[tuple[str, str]]:
    return [(name, shape) for name in families.FAMILIES for shape in families.rows(name, kind)]


def loaded(tmp_path: Path, family: str, kind: str, shape: str) -> Any:
    """The row as our loader understands it; text stays text, as in TRL."""
    row = families.rows(family, kind)[shape]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join([json.dumps(row)] * 3))
    load = preferences.load if kind in ("dpo", "kto") else problems.load
    how = "text" if shape.startswith("text") else "auto"
    return load(file, validation=0, test=0, format=how).train[0]


def masked(rows: list[rendering.Rendered]) -> list[tuple[list[int], list[int]]]:
    """Ids and loss masks of whole rows, by way of a batch."""
    prompts, completions = batch(rows, answers=len(rows), cut=None, fill=0)
    found = []
    for at in range(len(rows)):
        before, after = prompts.rows()[at], completions.rows()[at]
        own = completions.authored[at][completions.mask[at].bool()].long().tolist()
        found.append((before + after, [0] * len(before) + own))
    return found


def test_every_case_has_a_reference() -> None:
    assert TRL["trl"] == "1.16.0"
    for kind in ("sft", "dpo", "kto", "prompts"):
        assert {(name, shape) for name in TRL[kind] for shape in TRL[kind][name]} == set(cases(kind))


@pytest.mark.parametrize("marked", [True, False], ids=["marks", "differences"])
@pytest.mark.parametrize(("family", "shape"), cases("sft"))
def test_supervised_rows(family: str, shape: str, marked: bool, tmp_path: Path) -> None:
    """By generation marks and by differences alike, where TRL needs the marks."""
    problem = loaded(tmp_path, family, "sft", shape)
    names = families.tokenizer(family, marked=marked)
    [(ids, mask)] = masked(rendering.render(names, [problem.example("all")]))
    wanted = TRL["sft"][family][shape]
    assert ids == wanted["ids"], names.decode(ids)
    # TRL counts a label on the first token, which its shifted loss never reads.
    assert mask[1:] == wanted["mask"][1:], [names.decode(one) for one, own in zip(ids, mask) if own]


@pytest.mark.parametrize(("family", "shape"), cases("dpo"))
def test_pairs(family: str, shape: str, tmp_path: Path) -> None:
    pair = loaded(tmp_path, family, "dpo", shape)
    names = families.tokenizer(family)
    made = masked(rendering.render(names, [(pair.prompt, pair.chosen), (pair.prompt, pair.rejected)]))
    wanted = TRL["dpo"][family][shape]
    for side, (ids, mask) in zip(("chosen", "rejected"), made):
        assert ids == wanted["prompt"] + wanted[side], names.decode(ids)
        assert mask == [0] * len(wanted["prompt"]) + [1] * len(wanted[side])


@pytest.mark.parametrize(("family", "shape"), cases("kto"))
def test_unpaired(family: str, shape: str, tmp_path: Path) -> None:
    row = loaded(tmp_path, family, "kto", shape)
    names = families.tokenizer(family)
    [(ids, mask)] = masked(rendering.render(names, [(row.prompt, row.chosen or row.rejected)]))
    wanted = TRL["kto"][family][shape]
    assert (ids, mask) == (
        wanted["prompt"] + wanted["completion"],
        [0] * len(wanted["prompt"]) + [1] * len(wanted["completion"]),
    )


@pytest.mark.parametrize(("family", "shape"), cases("prompts"))
def test_prompts(family: str, shape: str, tmp_path: Path) -> None:
    row = loaded(tmp_path, family, "prompts", shape)
    names = families.tokenizer(family)
    wanted = TRL["prompts"][family][shape]["ids"]
    assert rendering.prompt_ids(names, [row.prompt]) == [wanted], names.decode(wanted)


@pytest.mark.parametrize("family", [name for name in families.FAMILIES if name != "none"])
def test_text_in_a_turn_is_the_conversation_of_two(family: str) -> None:
    """Our default for text: what TRL makes of the same words as messages."""
    names = families.tokenizer(family)
    asked, answered = families.ASKED["content"], families.ANSWERED["content"]
    [row] = rendering.render(names, [(asked, answered)])
    assert row.ids == TRL["sft"][family]["prompt-completion"]["ids"]
    prompt = names.decode(row.ids[: row.start])
    completion = names.decode(row.ids).removeprefix(prompt)
    [again] = rendering.render(names, [(prompt, completion)])
    assert again.ids == row.ids, (
        "a prompt that carries its template is not templated again, nor its end written twice"
    )
    end = templates.turn_end(names)
    assert completion.endswith(end)
    [again] = rendering.render(names, [(prompt, completion.removesuffix(end))])
    assert again.ids == row.ids, "the end of the turn is what the template writes"
