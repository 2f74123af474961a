"""ADPA: whole steps are loops, every form trains and resumes, stored and live teachers agree, wrong input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from counterpoint.data.language.preferences import Preference, PreferenceData, Preferences
from counterpoint.errors import CounterpointError
from counterpoint.generation.sampler import Sampler
from counterpoint.methods.adpa import ADPA
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import Language
from counterpoint.training import Budget, Run

PLAIN = {"name": "sgd", "schedule": "constant", "warmup": 0.0, "max_grad_norm": None, "momentum": 0.0}


def data(count: int = 6) -> PreferenceData:
    rows = [Preference(f"{n}?", f"it is {n}", "no" * (1 + n % 2)) for n in range(count)]
    return PreferenceData("made up", *(Preferences(rows) for _ in range(3)))


@pytest.fixture
def teachers(tmp_path: Path) -> dict[str, str]:
    """Two models with the student's tokens: before and after."""
    return {
        f"teachers.{name}": str(tiny(seed=seed, width=48).save(tmp_path / name))
        for name, seed in (("before", 5), ("after", 6))
    }


def fitted(
    out: Path, steps: int | None = None, rows: PreferenceData | None = None, **settings: Any
) -> Language:
    given = {"max_new_tokens": 5, "batch_size": 4, "learning_rate": 1e-3, **settings}
    budget = None if steps is None else Budget(steps=steps)
    with Run(out, seed=0, budget=budget, progress=False, audit=True) as run:
        model: Language = ADPA.settings(**given).fit(tiny(seed=0), rows or data(), run)
    return model


def states_of(model: Language, prompt: str, answer: list[int]) -> torch.Tensor:
    """Log-probabilities [T, V] of the positions of an answer, by the whole sequence alone."""
    before = model.prompts([prompt])
    ids = torch.cat([before.ids, torch.tensor([answer])], 1)
    logits = model.logits(ids, torch.ones_like(ids))[0]
    return logits[before.width - 1 : -1].log_softmax(-1)


def written(model: Language, row: Preference, text: str) -> list[int]:
    return model.rows([row.prompt], [text])[1].rows()[0]


@pytest.mark.parametrize("reduction", ["token", "sequence"])
@pytest.mark.parametrize(("clip", "reference"), [(None, True), ("0,1", True), (None, False)])
def test_a_whole_step_of_adpa_is_a_loop(
    tmp_path: Path, teachers: dict[str, str], reduction: str, clip: str | None, reference: bool
) -> None:
    rows = data(3)
    chosen: dict[str, Any] = {} if clip is None else {"advantage_clip": (0.0, 1.0)}
    moved = fitted(
        tmp_path / "run", 1, rows, form="adpa", optimizer=PLAIN, learning_rate=1.0, gamma=0.7, reduction=reduction,
        with_reference=reference, **teachers, **chosen,
    )  # fmt: skip
    loop = tiny(seed=0).eval()
    after, before = tiny(seed=6, width=48).eval(), tiny(seed=5, width=48).eval()
    own = Sampler(max_new_tokens=5, temperature=0.0)(loop, loop.prompts([row.prompt for row in rows.train]))
    sft, tokens, advantages = [], 0, []
    for row, ids in zip(rows.train, own.rows()):
        answer = written(loop, row, str(row.chosen))
        logp = states_of(loop, str(row.prompt), answer)
        sft.append(-logp[range(len(answer)), answer].sum())
        tokens += len(answer)
        pi = states_of(loop, str(row.prompt), ids).exp()
        with torch.no_grad():
            a = states_of(after, str(row.prompt), ids)
            a = a - states_of(before, str(row.prompt), ids) if reference else a
            a = a if clip is None else a.clamp(0.0, 1.0)
        advantages.append(-(pi * a).sum(-1))
    every = (
        torch.cat(advantages).mean()
        if reduction == "token"
        else torch.stack([x.mean() for x in advantages]).mean()
    )
    (torch.stack(sft).sum() / tokens + 0.7 * every).backward()
    for (name, a), b in zip(moved.named_parameters(), loop.parameters(), strict=True):
        torch.testing.assert_close(b - a, b.grad, atol=3e-6, rtol=2e-3, msg=name)


def test_a_whole_step_of_dckd_is_a_loop(tmp_path: Path, teachers: dict[str, str]) -> None:
    rows = data(3)
    moved = fitted(
        tmp_path / "run", 1, rows, form="dckd", optimizer=PLAIN, learning_rate=1.0, alpha=0.4, **teachers
    )
    loop, after = tiny(seed=0).eval(), tiny(seed=6, width=48).eval()
    sft, kls = [], {"chosen": [], "rejected": []}  # type: ignore[var-annotated]
    for row in rows.train:
        for side in kls:
            answer = written(loop, row, str(getattr(row, side)))
            logp = states_of(loop, str(row.prompt), answer)
            with torch.no_grad():
                teacher = states_of(after, str(row.prompt), answer)
            kls[side].append((teacher.exp() * (teacher - logp)).sum(-1))
            if side == "chosen":
                sft.append(-logp[range(len(answer)), answer])
    loss = torch.cat(sft).mean() + 0.4 * sum(torch.cat(each).mean() for each in kls.values())
    loss.backward()
    for (name, a), b in zip(moved.named_parameters(), loop.parameters(), strict=True):
        torch.testing.assert_close(b - a, b.grad, atol=3e-6, rtol=2e-3, msg=name)


def test_stored_teachers_of_the_whole_vocabulary_are_live_ones(
    tmp_path: Path, teachers: dict[str, str]
) -> None:
    size = tiny(seed=0).head.weight.shape[0]
    models = [
        fitted(tmp_path / str(k), 4, optimizer=PLAIN, learning_rate=0.1, top_k=k, **teachers)
        for k in (0, size)
    ]
    for a, b in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("form", ["dckd", "adpa", "adpa+"])
@pytest.mark.parametrize("k", [0, 3])
def test_every_form_makes_its_teacher_and_trains(tmp_path: Path, form: str, k: int) -> None:
    """Without teachers the student is its own, and its preference training comes first."""
    fitted(tmp_path / "run", form=form, top_k=k, **{"teachers.learning_rate": 1e-3, "teachers.batch_size": 3})
    events = [json.loads(line) for line in (tmp_path / "run/events.jsonl").read_text().splitlines()]
    terms = [{name for name in event if name.startswith("loss")} for event in events if "loss" in event]
    assert {"loss", "loss/preference"} in terms
    assert ({"loss", "loss/sft", "loss/chosen", "loss/rejected"} in terms) == (form != "adpa")
    assert ({"loss", "loss/sft", "loss/advantage"} in terms) == (form != "dckd")


def test_the_teacher_before_stays_as_it_is_while_the_one_after_learns(
    tmp_path: Path, teachers: dict[str, str]
) -> None:
    """With a reference that had moved along, advantages would be 0 and nothing but imitation would be left."""
    given = {
        "teachers.before": teachers["teachers.before"],
        "teachers.learning_rate": 1e-2,
        "teachers.beta": 0.5,
    }
    how: dict[str, Any] = {"form": "adpa", "optimizer": PLAIN, "learning_rate": 0.5, **given}
    with_advantage = fitted(tmp_path / "a", gamma=50.0, **how)
    without = fitted(tmp_path / "b", gamma=0.0, **how)
    moved = max(
        float((a - b).detach().abs().max()) for a, b in zip(with_advantage.parameters(), without.parameters())
    )
    assert moved > 1e-3


def test_wrong_input(tmp_path: Path) -> None:
    single = Preferences([Preference("1?", chosen="yes")] * 4)
    with pytest.raises(CounterpointError, match="it learns from pairs"):
        fitted(tmp_path / "a", rows=PreferenceData("m", single, single, single))
    with pytest.raises(CounterpointError, match="a lower and a higher bound"):
        fitted(tmp_path / "b", advantage_clip=(1.0, 0.0))
    other = tiny(seed=1, alphabet="0123456789?").save(tmp_path / "other")
    with pytest.raises(CounterpointError, match="different vocabularies"):
        fitted(tmp_path / "c", **{"teachers.before": str(other)})
    with pytest.raises(CounterpointError, match="form"):
        ADPA.settings(form="adpa++")
