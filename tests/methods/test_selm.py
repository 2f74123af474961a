"""SELM: a step equals its terms row by row, who is ranked and who becomes the pair, the rounds' reference, and what cannot work."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from counterpoint.data.language.preferences import Preference, PreferenceData, Preferences
from counterpoint.data.language.problem import Problem
from counterpoint.data.language.problems import ProblemData, Problems
from counterpoint.errors import CounterpointError
from counterpoint.methods.selm import SELM, Ranked
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import Language
from counterpoint.training import Run

ROWS = [Preference(f"{n}+1=", str(n + 1), "none") for n in range(12)]
DATA = PreferenceData("pairs", *(Preferences(ROWS) for _ in range(3)))
SUMS = ProblemData(
    "sums",
    *(Problems([Problem(f"{n}+1=", answer=str(n + 1)) for n in range(12)], "number") for _ in range(3)),
)
SMALL: dict[str, Any] = {
    "rounds": 2, "alpha": 0.5, "beta": 0.3, "answers": 2, "temperature": 1.0, "max_new_tokens": 4, "batch_size": 3, "lora_rank": 0,
    "learning_rate": 1e-3, "epochs": 2.0,
}  # fmt: skip


@pytest.fixture
def ranks(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(
        "def digits(completions, **_):\n    return [sum(c.isdigit() for c in x) for x in completions]\n"
    )
    return f"{tmp_path}/mine.py:digits"


def train(
    out: Path, data: Any = DATA, seed: int = 0, **settings: Any
) -> tuple[Language, list[dict[str, Any]]]:
    with Run(out, seed=seed, progress=False, audit=True) as run:
        model = SELM.settings(**{**SMALL, **settings}).fit(tiny(seed=0), data, run)
    return model, [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]


def logp(model: Language, prompt: Any, answer: list[int]) -> torch.Tensor:
    start = model.prompts([prompt]).ids[0].tolist()
    logits = model.causal(torch.tensor([start + answer])).logits[0, len(start) - 1 : -1]
    return logits.log_softmax(-1)[range(len(answer)), answer].sum()


def test_a_step_is_the_sum_of_its_terms_row_by_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranks: str
) -> None:
    """Of the second batch, when policy and reference differ."""
    batches: list[list[Ranked]] = []
    kept = SELM._losses

    def losses(self: SELM, run: Run, policy: Language, items: Any, problems: Any, alpha: float) -> Any:
        if len(batches) == 1:
            states.append({key: value.clone() for key, value in policy.state_dict().items()})
        batches.append(list(items))
        return kept(self, run, policy, items, problems, alpha)

    states: list[dict[str, torch.Tensor]] = []
    monkeypatch.setattr(SELM, "_losses", losses)
    _, seen = train(tmp_path / "run", judge=ranks, rounds=1)
    event = [each for each in seen if "loss/optimism" in each][1]
    model, reference, total = tiny(seed=0).eval(), tiny(seed=0).eval(), torch.zeros(())
    model.load_state_dict(states[0])
    for item in batches[1]:
        prompt, ids = ROWS[item["prompt"]].prompt, [answer["ids"] for answer in item["answers"]]
        now = [logp(model, prompt, each) for each in ids]
        with torch.no_grad():
            fixed = [logp(reference, prompt, each) for each in ids]
        assert item["logp"] == pytest.approx([float(value) for value in fixed], rel=1e-4)
        u = [a - b for a, b in zip(now, fixed)]
        total = total + torch.nn.functional.softplus(-0.3 * (u[0] - u[1])) + 0.5 * 0.3 * u[2]
    (total / len(batches[1])).backward()
    size = math.sqrt(
        sum(float(each.grad.square().sum()) for each in model.parameters() if each.grad is not None)
    )
    assert event["loss"] == pytest.approx(float(total.detach()) / len(batches[1]), rel=1e-3, abs=1e-5)
    assert event["grad_norm"] == pytest.approx(size, rel=1e-3)
    assert size > 0.05


def test_the_best_and_the_worst_of_all_become_the_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranks: str
) -> None:
    batches: list[Ranked] = []
    kept = SELM._losses

    def losses(self: SELM, run: Run, policy: Language, items: Any, problems: Any, alpha: float) -> Any:
        batches.extend(items)
        return kept(self, run, policy, items, problems, alpha)

    monkeypatch.setattr(SELM, "_losses", losses)
    train(tmp_path / "run", judge=ranks, rounds=1, epochs=1.0)
    rows = [json.loads(line) for line in (tmp_path / "run/samples.jsonl").read_text().splitlines()]
    assert len(rows) == 12
    by_prompt = {row["prompt"]: row["answers"] for row in rows}
    for item in batches:
        answers = by_prompt[ROWS[item["prompt"]].prompt]
        assert len(answers) == 4
        scores = [sum(c.isdigit() for c in each["text"]) for each in answers]
        chosen, rejected, response = (answer["text"] for answer in item["answers"])
        assert sum(c.isdigit() for c in chosen) == max(scores)
        assert sum(c.isdigit() for c in rejected) == min(scores)
        assert response == answers[1]["text"]


def test_where_the_judge_sees_no_difference_the_datas_pair_stays(tmp_path: Path) -> None:
    (tmp_path / "flat.py").write_text("def flat(completions, **_):\n    return [1.0] * len(completions)\n")
    _, flat = train(tmp_path / "flat", judge=f"{tmp_path}/flat.py:flat", alpha=0.0)
    _, none = train(tmp_path / "none", ranking="none", alpha=0.0)
    _, other = train(tmp_path / "other", ranking="none", alpha=0.01)
    losses = [[event["loss"] for event in seen if "loss" in event] for seen in (flat, none, other)]
    assert losses[0] == losses[1] != losses[2]
    assert all(event["sampled_chosen"] == 0 for event in flat if "round" in event)


def test_rounds_refresh_the_reference(tmp_path: Path, ranks: str) -> None:
    _, stepwise = train(tmp_path / "stepwise", judge=ranks)
    _, initial = train(tmp_path / "initial", judge=ranks, reference="initial")

    def margins(seen: list[dict[str, Any]]) -> list[float]:
        at = [number for number, event in enumerate(seen) if "round" in event]
        return [abs(seen[number + 1]["preference/reward_margin"]) for number in at]

    assert max(margins(stepwise)) < 1e-4
    assert margins(initial)[1] > 1e-3 > margins(initial)[0]


def test_optimism_begins_after_the_plain_rounds_and_the_rate_falls(tmp_path: Path, ranks: str) -> None:
    _, seen = train(
        tmp_path / "run",
        judge=ranks,
        plain_rounds=1,
        **{"optimizer.schedule": "constant", "optimizer.warmup": 0.0},
    )
    steps = [event for event in seen if "loss" in event]
    half = len(steps) // 2
    assert not any("loss/optimism" in event for event in steps[:half])
    assert all("loss/optimism" in event for event in steps[half:])
    assert steps[0]["learning_rate"] == pytest.approx(1e-3)
    assert steps[-1]["learning_rate"] == pytest.approx(2e-4)


def test_replacing_and_problems(tmp_path: Path, ranks: str) -> None:
    _, seen = train(tmp_path / "replace", judge=ranks, ranking="replace")
    assert all(event["sampled_chosen"] + event["sampled_rejected"] >= 1 for event in seen if "round" in event)
    _, seen = train(tmp_path / "sums", SUMS, judge=ranks, answers=4)
    assert sum(event["pairs"] for event in seen if "round" in event) > 0


def test_a_round_without_a_pair_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "flat.py").write_text("def flat(completions, **_):\n    return [1.0] * len(completions)\n")
    model, seen = train(tmp_path / "run", SUMS, judge=f"{tmp_path}/flat.py:flat")
    assert [event["pairs"] for event in seen if "round" in event] == [0, 0]
    assert all(
        torch.equal(value, model.state_dict()[key]) for key, value in tiny(seed=0).state_dict().items()
    )


@pytest.mark.parametrize(
    ("wrong", "data", "says"),
    [
        ({"rounds": 0}, DATA, "rounds=0; expected at least 1"),
        ({"temperature": 0.0}, DATA, "answers=2 at temperature=0 are all the same"),
        ({"beta": 0.0}, DATA, r"beta=0\.0; expected a number above 0"),
        ({"judge": "verifier"}, DATA, "--judge scored:runs/reward/model"),
        ({"rounds": 13}, DATA, "12 rows do not fill 13 rounds"),
        ({"ranking": "none"}, SUMS, "problems bring no pairs"),
        ({"answers": 1}, SUMS, "problems bring no pairs"),
        ({"judge": "verifyer"}, DATA, "did you mean 'verifier'"),
        ({"ranking": "best"}, DATA, "ranking='best'"),
    ],
)
def test_what_cannot_work_is_refused(
    tmp_path: Path, ranks: str, wrong: dict[str, Any], data: Any, says: str
) -> None:
    with pytest.raises(CounterpointError, match=says):
        train(tmp_path / "run", data, **{"judge": ranks, **wrong})
    assert not (tmp_path / "run" / "model").exists()


def test_single_answers_are_refused(tmp_path: Path, ranks: str) -> None:
    single = Preferences([Preference("1?", "yes")] * 4)
    with pytest.raises(CounterpointError, match="use dpo with --loss kto"):
        train(tmp_path / "run", PreferenceData("one", single, single, single), judge=ranks)
