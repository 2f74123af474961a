"""Judges: one signature, rewards [problems, answers], and what was written beside them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from counterpoint.data.language.answer import SCORERS as OF_FILES
from counterpoint.data.language.answer import Answer
from counterpoint.data.language.problem import Problem
from counterpoint.errors import CounterpointError
from counterpoint.judges.choose import judge
from counterpoint.judges.judge import Verdicts
from counterpoint.judges.likelihood import Likelihood
from counterpoint.judges.majority import MajorityVote
from counterpoint.judges.person import Person
from counterpoint.judges.reward_function import RewardFunction
from counterpoint.judges.scorers import SCORERS
from counterpoint.judges.verifier import Verifier
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import Language

PROBLEMS = [Problem("2+2=", answer="4", meta={"level": 1}), Problem("1+2=", answer="3", meta={"level": 2})]


def answers(*rows: list[str], ended: bool = True) -> list[list[Answer]]:
    model = tiny(seed=0)
    return [[Answer(ids=model.completions([x]).rows()[0], text=x, ended=ended) for x in row] for row in rows]


GIVEN = answers(["4", "it is 4.0", "5"], ["3", "2"])


def test_every_scorer_of_a_file_is_known_to_the_verifier() -> None:
    assert set(OF_FILES) <= set(SCORERS)


def test_the_verifier_compares_with_the_datas_answers() -> None:
    found = Verifier("number")(PROBLEMS, GIVEN)
    assert found.rewards[0].tolist() == [1.0, 1.0, 0.0]
    assert found.rewards[1, :2].tolist() == [1.0, 0.0]
    assert math.isnan(found.rewards[1, 2])
    assert found.texts[0][2] == "number: '5' against '4'"
    assert [len(row) for row in found.texts] == [3, 2]
    with pytest.raises(CounterpointError, match="'1\\+1=' has none"):
        Verifier("number")([Problem("1+1=")], answers(["2"]))


def test_verdicts_survive_a_stage_as_plain_data() -> None:
    found = Verifier("number")(PROBLEMS, GIVEN)
    rows = json.loads(json.dumps(found.rows()))
    again = Verdicts.of([rewards for rewards, _ in rows], [texts for _, texts in rows])
    assert torch.equal(again.rewards.nan_to_num(-1), found.rewards.nan_to_num(-1))
    assert again.texts == found.texts


@pytest.mark.parametrize(
    ("row", "rewards"),
    [
        (["Answer: 4", "4.0", "5"], [1.0, 1.0, 0.0]),
        (["a", "b", "B.", "c"], [0.0, 1.0, 1.0, 0.0]),
        (["x", "y"], [1.0, 0.0]),  # the first of equally frequent ones
        (["", ""], [0.0, 0.0]),
    ],
)
def test_the_majority_is_by_final_answers(row: list[str], rewards: list[float]) -> None:
    assert MajorityVote()([PROBLEMS[0]], answers(row)).rewards[0].tolist() == rewards


def test_what_was_cut_off_has_no_vote() -> None:
    rows = [answers(["7", "7"], ended=False)[0] + answers(["8"])[0]]
    found = MajorityVote()([PROBLEMS[0]], rows)
    assert found.rewards[0].tolist() == [0.0, 0.0, 1.0]
    assert found.texts[0][0] == "1 of 3 answer '8'"


def test_likelihood_is_a_loop_over_tokens() -> None:
    model, reference = tiny(seed=0).eval(), tiny(seed=1).eval()

    def total(net: Language, prompt: str, ids: list[int]) -> float:
        before = net.prompts([prompt]).rows()[0]
        whole = torch.tensor([before + ids])
        with torch.no_grad():
            logits = net.causal(whole).logits[0].double().log_softmax(-1)
        return sum(float(logits[len(before) + t - 1, token]) for t, token in enumerate(ids))

    ratio, mean = Likelihood(model, reference)(PROBLEMS, GIVEN), Likelihood(model)(PROBLEMS, GIVEN)
    for p, row in enumerate(GIVEN):
        for n, answer in enumerate(row):
            own = total(model, PROBLEMS[p].prompt, answer["ids"])  # type: ignore[arg-type]
            other = total(reference, PROBLEMS[p].prompt, answer["ids"])  # type: ignore[arg-type]
            assert float(ratio.rewards[p, n]) == pytest.approx(own - other, abs=1e-4)
            assert float(mean.rewards[p, n]) == pytest.approx(own / len(answer["ids"]), abs=1e-4)
    assert [len(row) for row in ratio.texts] == [3, 2]


def test_a_person_rates_in_a_file_and_the_same_call_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "ratings" / "mine.jsonl"
    for _ in range(2):  # asking again adds nothing
        with pytest.raises(CounterpointError, match="5 answers in .* wait for a rating"):
            Person(file)(PROBLEMS, GIVEN)
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        assert [row["answer"] for row in rows] == ["4", "it is 4.0", "5", "3", "2"]
    for row in rows[:4]:
        row |= {"reward": len(row["answer"]), "note": "by length"}
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(CounterpointError, match="1 answers"):
        Person(file)(PROBLEMS, GIVEN)
    rows[4] |= {"reward": -1}
    file.write_text("\n".join(json.dumps(row) for row in rows))
    found = Person(file)(PROBLEMS, GIVEN)
    assert found.rewards[0].tolist() == [1.0, 9.0, 1.0]
    assert found.rewards[1, :2].tolist() == [1.0, -1.0]
    assert found.texts == [["by length"] * 3, ["by length", ""]]
    file.write_text('{"prompt": "x", "answer": "y", "reward": "good", "key": "x"}\n')
    with pytest.raises(CounterpointError, match="line 1"):
        Person(file)(PROBLEMS, GIVEN)


def test_a_reward_function_of_trl_gets_its_columns_row_by_row() -> None:
    seen: dict[str, Any] = {}

    def reward(prompts: list[str], completions: list[str], **columns: Any) -> list[float | None]:
        seen.update(columns, prompts=prompts)
        return [
            float(a in c) if level == 1 else None
            for a, c, level in zip(columns["answer"], completions, columns["level"])
        ]

    found = RewardFunction(reward)(PROBLEMS, GIVEN)
    assert seen["prompts"] == ["2+2="] * 3 + ["1+2="] * 2
    assert seen["completion_ids"][0] == GIVEN[0][0]["ids"]
    assert seen["level"] == [1, 1, 1, 2, 2]
    assert found.rewards[0].tolist() == [1.0, 1.0, 0.0]
    assert found.rewards[1].isnan().all()
    assert found.texts[0][0] == "reward: 1"


def test_a_conversation_is_handed_over_as_messages() -> None:
    problem = Problem([{"role": "user", "content": "hello"}])

    def reward(completions: list[list[dict[str, str]]]) -> list[int]:
        return [len(completion[0]["content"]) for completion in completions]

    assert RewardFunction(reward)([problem], answers(["hi", "hey"])).rewards.tolist() == [[2.0, 3.0]]


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda completions: [1.0], "gave .* for 5 completions"),
        (lambda completions: 3, "gave 3"),
        (lambda completions, color: [], "needs 'color'"),
    ],
)
def test_a_reward_function_that_does_not_fit_is_refused(function: Any, says: str) -> None:
    with pytest.raises(CounterpointError, match=says):
        RewardFunction(function)(PROBLEMS, GIVEN)


def test_a_judge_by_one_setting(tmp_path: Path) -> None:
    model = tiny(seed=0)
    source = tmp_path / "mine.py"
    source.write_text("def brevity(completions, **_):\n    return [-len(x) for x in completions]\n")
    kinds = {
        "intrinsic": Likelihood, "verifier": Verifier, "majority": MajorityVote, f"person:{tmp_path}/r.jsonl": Person,
        f"{source}:brevity": RewardFunction, "math:sqrt": RewardFunction,
    }  # fmt: skip
    for spec, kind in kinds.items():
        assert type(judge(spec, scorer="number", model=model)) is kind
    assert judge(f"{source}:brevity", scorer="number", model=model)(PROBLEMS, GIVEN).rewards[0, 0] == -1
    for wrong, says in [
        ("verifer", "did you mean 'verifier'"),
        ("math:sqroot", "cannot be imported"),
        ("math:pi", "is a float"),
        (f"{tmp_path}/none.py:f", "cannot be imported"),
    ]:
        with pytest.raises(CounterpointError, match=says):
            judge(wrong, scorer="number", model=model)
