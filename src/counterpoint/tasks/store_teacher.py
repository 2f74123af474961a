"""Writes a teacher's answers to a data set down, for students that are trained elsewhere: ``counterpoint store-teacher``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

from counterpoint.data.language.problems import ProblemData
from counterpoint.errors import CounterpointError
from counterpoint.generation.sampler import Sampler
from counterpoint.models.language.language import Language, load, same_vocabulary
from counterpoint.pairs import demonstrations as shown
from counterpoint.tasks.task import fitted, open_data, open_model, task
from counterpoint.teachers.answering import Answering
from counterpoint.teachers.frozen import Frozen
from counterpoint.teachers.hinted import Hinted
from counterpoint.teachers.problem_store import store_problems

Completions = Literal["references", "sampled"]


def store_teacher(
    data: str,
    out: str | Path,
    *,
    model: str | None = None,
    teacher: str = "",
    completions: Completions = "references",
    template: str = shown.SHOWN,
    draws: int = 50,
    temperature: float = 1.0,
    max_new_tokens: int = 256,
    at_once: int = 16,
    seed: int = 0,
    data_options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write a store; the same call goes on with one that was interrupted.

    Args:
        data: name or path of problems, whose training split is answered.
        out: the store's folder.
        model: the student, whose tokens everything is in; None takes the task's own.
        teacher: a model with the student's vocabulary; empty is the student, shown the reference of each problem.
        completions: what is answered: the data's references, or what the student writes.
        template: the prompt of a teacher that is shown the reference.
        draws: entries drawn a position. temperature: of the teacher's distribution, and of the student's sampling.
        max_new_tokens: longest completion that the student writes.
        at_once: rows in memory at a time. seed: of all that is drawn.
        data_options: those of the data's loader.

    Returns:
        ``folder``, ``rows``, ``tokens``, ``bytes_per_token``, ``teacher``, ``completions``.

    Raises:
        CounterpointError: problems without references where these are wanted, other vocabularies, another store in the folder.
    """
    if completions not in ("references", "sampled"):
        raise CounterpointError(f"completions={completions!r}; expected 'references' or 'sampled'")
    if at_once < 1:
        raise CounterpointError(f"at_once={at_once}; expected at least 1")
    problems = task("problems")
    rows = open_data(problems, data, dict(data_options or {}))
    student = cast(Language, open_model(problems, model or problems.default_model, rows, seed, {}))
    rows = cast(ProblemData, fitted(problems, student, rows))
    if completions == "references" or not teacher:
        shown.require_references(rows.train.rows, "store-teacher")
    if teacher:
        other = load(teacher)
        same_vocabulary(student, other)
        answers = Hinted(Answering(other.eval(), at_once=at_once), lambda row: row.prompt)
    else:
        shown.check_template(template, "prompt", "demonstration")
        itself = Answering(Frozen(student), at_once=at_once)
        answers = Hinted(itself, lambda row: shown.with_demonstration(row, row.reference, template))
    how = Sampler(max_new_tokens=max_new_tokens, temperature=temperature)
    stored = store_problems(
        out,
        answers,
        student,
        rows.train.rows,
        sampler=how if completions == "sampled" else None,
        draws=draws,
        temperature=temperature,
        seed=seed,
        by=teacher or "the student, shown the references",
    )
    size = sum(path.stat().st_size for path in Path(out).glob("shard-*"))
    count = len(stored.distinct)
    return {
        "folder": str(out),
        "rows": len(stored.rows),
        "tokens": count,
        "bytes_per_token": size / max(count, 1),
        "teacher": stored.meta["by"],
        "completions": completions,
    }
