"""Preference degrees: nothing changes at weight 0, a step is its terms row by row, controls and wrong input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from counterpoint.data.language.preferences import Preference, PreferenceData, Preferences
from counterpoint.errors import CounterpointError
from counterpoint.methods.baselines.dpo import DPO
from counterpoint.methods.preference_degree import PreferenceDegree
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import Language
from counterpoint.models.language.likelihood import completion_log_probs
from counterpoint.training import Budget, Run

PLAIN = {"name": "sgd", "schedule": "constant", "warmup": 0.0, "max_grad_norm": None, "momentum": 0.0}


def data(count: int = 6) -> PreferenceData:
    rows = [
        Preference(f"{n}?", f"it is a red fox and it has {n} nuts", f"this is a dog, with {n} ears")
        for n in range(count)
    ]
    return PreferenceData("made up", *(Preferences(rows) for _ in range(3)))


def fitted(out: Path, method: Any, rows: PreferenceData | None = None, steps: int = 4) -> Language:
    with Run(out, seed=0, budget=Budget(steps=steps), progress=False, audit=True) as run:
        model: Language = method.fit(tiny(seed=0), rows or data(), run)
    return model


@pytest.mark.parametrize("loss", ["sigmoid", "ipo", "hinge", "kto", "bco", "rpo"])
def test_without_weight_it_is_dpo_to_the_last_bit(tmp_path: Path, loss: str) -> None:
    given: dict[str, Any] = {"loss": loss, "learning_rate": 1e-3, "batch_size": 4}
    one = fitted(tmp_path / "one", DPO.settings(**given))
    other = fitted(tmp_path / "other", PreferenceDegree.settings(**given, **{"degree.weight": 0.0}))
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("pooling", "ordinal", "answers"), [("last", False, "both"), ("mean", True, "chosen")]
)
def test_two_whole_steps_are_loops(tmp_path: Path, pooling: str, ordinal: bool, answers: str) -> None:
    """Plain descent by hand, answer by answer, variant by variant: the first step moves the module alone, the second both."""
    rows = data(3)
    method = PreferenceDegree.settings(
        learning_rate=0.5, batch_size=3, optimizer=PLAIN, beta=0.3, epochs=2.0,
        degree={"weight": 0.7, "pooling": pooling, "ordinal": ordinal, "answers": answers, "degrees": 3, "head_speed": 2.0},
    )  # fmt: skip
    moved = fitted(tmp_path / "run", method, rows, steps=2)
    loop, fixed = tiny(seed=0).eval(), tiny(seed=0).eval()
    outputs = 2 if ordinal else 3
    weight = torch.zeros(outputs, loop.head.weight.shape[1], requires_grad=True)
    bias = torch.zeros(outputs, requires_grad=True)
    shortened = {
        "chosen": [
            "it is a red fox and it has {n} nuts",
            "it is a and it has {n} nuts",
            "it is a and it has",
        ],
        "rejected": ["this is a dog, with {n} ears", "this is a dog, with", "this is a, with"],
    }
    sides = ("chosen", "rejected") if answers == "both" else ("chosen",)
    for _ in range(2):
        align, graded = [], []
        for n, row in enumerate(rows.train):
            u = []
            for answer in (row.chosen, row.rejected):
                tokens = loop.rows([row.prompt], [answer])
                u.append(
                    completion_log_probs(loop, *tokens).sum()
                    - completion_log_probs(fixed, *tokens).sum().detach()
                )
            align.append(torch.log1p(torch.exp(-0.3 * (u[0] - u[1]))))
            for side in sides:
                for label, text in enumerate(shortened[side]):
                    before, after = loop.rows([row.prompt], [text.format(n=n)])
                    ids = torch.cat([before.ids, after.ids], 1)
                    states = loop(ids, torch.ones_like(ids))[0]
                    state = states[-1] if pooling == "last" else states[before.width :].mean(0)
                    logits = 2.0 * (weight @ state + bias)
                    if ordinal:
                        chance = torch.sigmoid(logits)
                        terms = [
                            -torch.log(c if label >= at else 1 - c) for at, c in enumerate(chance, start=1)
                        ]
                        graded.append(torch.stack(terms).sum())
                    else:
                        graded.append(logits.logsumexp(0) - logits[label])
        loss = torch.stack(align).mean() + 0.7 * torch.stack(graded).mean()
        leaves = [*loop.parameters(), weight, bias]
        grads = torch.autograd.grad(loss, leaves, allow_unused=True)
        with torch.no_grad():
            for leaf, grad in zip(leaves, grads, strict=True):
                leaf -= 0.5 * (torch.zeros_like(leaf) if grad is None else grad)
    for (name, a), b in zip(moved.named_parameters(), loop.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-3, msg=name)


@pytest.mark.parametrize(
    "chosen",
    [
        {"extractor": "tfidf", "sampled": 1}, {"extractor": "likelihood"}, {"extractor": "random"},
        {"shuffled": True, "decoys": True}, {"ordinal": True, "pooling": "mean", "degrees": 2},
    ],
)  # fmt: skip
def test_every_way_trains_and_reports(tmp_path: Path, chosen: dict[str, Any]) -> None:
    method = PreferenceDegree.settings(learning_rate=1e-3, batch_size=4, degree=chosen)
    fitted(tmp_path / "run", method)
    events = [json.loads(line) for line in (tmp_path / "run/events.jsonl").read_text().splitlines()]
    assert all(0 <= event["degree/accuracy"] <= 1 for event in events if "loss" in event)


def test_degrees_are_learnt_unless_they_are_shuffled(tmp_path: Path) -> None:
    accuracy = {}
    for shuffled in (False, True):
        with Run(tmp_path / str(shuffled), seed=0, budget=Budget(steps=60), progress=False) as run:
            method = PreferenceDegree.settings(
                learning_rate=3e-3, batch_size=6, degree={"weight": 1.0, "shuffled": shuffled, "degrees": 3}
            )
            method.fit(tiny(seed=0), data(12), run)
            accuracy[shuffled] = run.reported.figures["degree_accuracy"]
    assert accuracy[False] > 0.9


def test_messages_and_marked_answers(tmp_path: Path) -> None:
    talk = [
        {"role": "assistant", "content": "a red fox"},
        {"role": "user", "content": "and?"},
        {"role": "assistant", "content": "it has two nuts and a dog"},
    ]
    rows = Preferences([Preference(f"{n}?", talk, "no fox") for n in range(4)])
    fitted(
        tmp_path / "talk",
        PreferenceDegree.settings(learning_rate=1e-3, batch_size=4),
        PreferenceData("t", rows, rows, rows),
    )
    single = Preferences(
        [
            Preference(f"{n}?", **({"chosen": "a red fox"} if n % 2 else {"rejected": "dogs"}))
            for n in range(8)
        ]
    )
    method = PreferenceDegree.settings(learning_rate=1e-3, batch_size=4, loss="kto")
    fitted(tmp_path / "kto", method, PreferenceData("m", single, single, single))


def test_wrong_input(tmp_path: Path) -> None:
    with pytest.raises(CounterpointError, match="at least 2, whole and stripped"):
        PreferenceDegree.settings(**{"degree.degrees": 1})
    with pytest.raises(CounterpointError, match=r"degree\.extractor"):
        PreferenceDegree.settings(**{"degree.extractor": "rak"})
    with pytest.raises(CounterpointError, match="one a line"):
        fitted(tmp_path / "a", PreferenceDegree.settings(**{"degree.stop_words": "none.txt"}))
    single = Preferences([Preference("1?", chosen="yes")] * 4)
    with pytest.raises(CounterpointError, match="use loss=kto"):
        fitted(tmp_path / "b", PreferenceDegree.settings(), PreferenceData("m", single, single, single))
