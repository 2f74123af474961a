"""RLTF: its objective by loops, its method on a model that guesses until it is criticised, and what cannot work."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from counterpoint.conversation import turns
from counterpoint.data.language.problem import Problem
from counterpoint.data.language.problems import ProblemData, Problems
from counterpoint.data.language.turns import to_criticise, with_feedback
from counterpoint.errors import CounterpointError
from counterpoint.generation.sampler import Sampler
from counterpoint.generation.samplers import Own
from counterpoint.generation.self_critique import answer_in_rounds
from counterpoint.methods.rltf import RLTF
from counterpoint.models.language.characters import tiny
from counterpoint.objectives.preference.text_feedback import (
    critique_loss,
    distillation_advantages,
    distillation_loss,
    possible,
    turn_advantages,
    turn_loss,
)
from counterpoint.phases.rollouts import Rollouts, sample_group
from counterpoint.phases.second_turn import SecondTurn, try_again
from counterpoint.training import Budget, Run

NAN = math.nan


def mean(values: list[float]) -> float:
    there = [value for value in values if not math.isnan(value)]
    return sum(there) / len(there) if there else NAN


def test_advantages_by_a_loop() -> None:
    rewards = [
        [[0.0, 1.0], [1.0, NAN], [0.2, 0.0]],
        [[1.0, NAN], [1.0, NAN], [1.0, NAN]],
        [[0.0, 1.0], [0.0, NAN], [0.5, NAN]],
    ]
    given = torch.tensor(rewards, dtype=torch.float64)
    turns_found = turn_advantages(given, 0.3)
    own = {name: distillation_advantages(given, name) for name in ("first_turn", "second_turn", "none")}  # type: ignore[arg-type]
    for p, group in enumerate(rewards):
        whole = [r0 + (0 if math.isnan(r1) else 0.3 * r1) for r0, r1 in group]
        seconds, firsts = [r1 for _, r1 in group], [r0 for r0, _ in group]
        for g, (r0, r1) in enumerate(group):
            assert turns_found[p, g, 0] == pytest.approx(whole[g] - mean(whole))
            expected = {"first_turn": r1 - mean(firsts), "second_turn": r1 - mean(seconds), "none": r1}
            assert turns_found[p, g, 1].item() == pytest.approx(r1 - mean(seconds), nan_ok=True)
            for name, value in expected.items():
                assert own[name][p, g].item() == pytest.approx(value, nan_ok=True)
    with pytest.raises(CounterpointError, match="expected 'first_turn'"):
        distillation_advantages(given, "mean")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["own", "ppo", "cispo"])
def test_losses_by_a_loop_and_by_finite_differences(kind: Any) -> None:
    g = torch.Generator().manual_seed(0)
    logp = -torch.rand(4, 5, generator=g, dtype=torch.float64) * 3
    denominator = logp + 0.5 * torch.randn(4, 5, generator=g, dtype=torch.float64)
    advantage = torch.randn(4, generator=g, dtype=torch.float64)
    mask = possible(logp, torch.arange(5) < torch.tensor([5, 3, 1, 0])[:, None], threshold=-2.5)
    values = distillation_loss(logp, advantage, mask, kind, denominator_BT=denominator).values
    for b in range(4):
        total = 0.0
        for t in range(5):
            if t < (5, 3, 1, 0)[b] and logp[b, t] >= -2.5:
                rho, a = math.exp(logp[b, t] - denominator[b, t]), float(advantage[b])
                cut = min(max(rho, 0.8), 1.2)
                total += {
                    "own": -rho * a,
                    "ppo": -min(rho * a, cut * a),
                    "cispo": -cut * a * float(logp[b, t]),
                }[kind]
        assert values[b].item() == pytest.approx(total)
    if kind != "cispo":  # whose weights are held fixed in the gradient

        def loss(x: torch.Tensor) -> torch.Tensor:
            return distillation_loss(x, advantage, mask, kind, denominator_BT=denominator).values

        assert torch.autograd.gradcheck(loss, logp.requires_grad_())
    else:
        leaf = logp.clone().requires_grad_()
        distillation_loss(leaf, advantage, mask, kind, denominator_BT=denominator).values.sum().backward()
        assert leaf.grad is not None
        expected = -((logp - denominator).exp().clamp(0.8, 1.2) * advantage[:, None]) * mask
        torch.testing.assert_close(leaf.grad, expected)


def test_extremes_and_parts() -> None:
    logp = torch.tensor([[-1e4, -1.0], [math.inf, math.nan]], requires_grad=True)
    mask = torch.tensor([[1, 1], [0, 0]])
    loss = turn_loss(logp, torch.tensor([2.0, 3.0]), mask, torch.zeros(2, 2))
    torch.testing.assert_close(loss.values, torch.tensor([-2.0 * math.exp(-1.0), 0.0]))
    loss.mean().backward()
    torch.testing.assert_close(logp.grad, torch.tensor([[0.0, -math.exp(-1.0)], [0.0, 0.0]]))
    assert not turn_loss(logp[:0], torch.zeros(0), mask[:0]).values.numel()
    rows = torch.tensor([1, 0])
    wide = -torch.rand(2, 3)
    parts = [critique_loss(wide[r : r + 1], torch.ones(1, 3)).values for r in range(2)]
    assert torch.equal(critique_loss(wide, torch.ones(2, 3)).values, torch.cat(parts))
    assert torch.equal(critique_loss(wide[rows], torch.ones(2, 3)).values, torch.cat(parts)[rows])


def test_words_of_a_second_turn() -> None:
    talk = [{"role": "system", "content": "s"}, {"role": "user", "content": "2+2="}]
    again = with_feedback(talk, "{feedback}", "{prompt} is", "{prompt}|{attempt}|{feedback}")
    assert turns(again)[-1]["content"] == "2+2=|{feedback}|{prompt} is"  # what a text holds is no field
    assert turns(again)[0]["content"] == "s"
    assert to_criticise("2+2=", "5", "{attempt}?{prompt}") == "5?2+2="


PROBLEMS = [Problem(f"{n}+1=", answer=str(n + 1), hint="one more") for n in range(8)]
DATA = ProblemData("sums", *(Problems(PROBLEMS, "number") for _ in range(3)))
SMALL: dict[str, Any] = {
    "answers": 4, "max_new_tokens": 4, "batch_size": 4, "lora_rank": 0, "learning_rate": 3e-3, "epochs": 50.0,
    "judge": "majority", "feedback": "hint", "template": "{attempt}:{feedback}#{prompt}",
}  # fmt: skip


def train(out: Path, steps: int = 3, data: ProblemData = DATA, **settings: Any) -> list[dict[str, Any]]:
    with Run(out, seed=0, budget=Budget(steps=steps), progress=False, audit=True) as run:
        RLTF.settings(**{**SMALL, **settings}).fit(tiny(seed=0), data, run)
    return [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    "chosen",
    [
        {"mode": "sd"}, {"mode": "sd", "distillation.ratio": "ppo"}, {"mode": "sd", "distillation.ratio": "cispo"},
        {"mode": "sd", "distillation.baseline": "none", "distillation.unlikely": None, "distillation.ramp": True},
        {"mode": "fm"}, {"mode": "multi"}, {"mode": "sd", "feedback": "verifier", "judge": "format:[0-9].*"},
    ],
)  # fmt: skip
def test_every_mode_trains_and_says_what_it_sampled(tmp_path: Path, chosen: dict[str, Any]) -> None:
    events = train(tmp_path / "run", **chosen)
    terms = {"sd": "loss/distillation", "fm": "loss/critique"}
    mode = chosen["mode"]
    assert all((terms[m] in events[0]) == (m == mode) for m in terms)
    assert events[0]["first/tried_again"] > 0
    row = json.loads((tmp_path / "run" / "samples.jsonl").read_text().splitlines()[0])
    again = [each for each in row["answers"] if "second_answer" in each]
    assert again
    assert all(each["feedback"] and "second_reward" in each for each in again if each["second_answer"])


def test_only_what_failed_is_tried_again(tmp_path: Path) -> None:
    events = train(tmp_path / "all", solved=2.0)
    assert all(event["first/tried_again"] == 1.0 for event in events)
    events = train(tmp_path / "none", solved=0.0)
    assert all(event["first/tried_again"] == 0.0 for event in events)
    assert all(event["loss/second"] == event["loss/distillation"] == 0.0 for event in events)


@pytest.mark.parametrize("solved", [0.0, 9.0])
def test_a_step_is_the_sum_of_its_terms_row_by_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, solved: float
) -> None:
    """Solved, so without a second turn: REINFORCE with the group's mean. Else both turns, and half of RLTF-SD beside them."""
    firsts: list[Rollouts] = []
    seconds: list[SecondTurn] = []

    def sample(*args: Any, **options: Any) -> Rollouts:
        firsts.append(sample_group(*args, **options))
        return firsts[-1]

    def retry(*args: Any, **options: Any) -> SecondTurn:
        seconds.append(try_again(*args, **options))
        return seconds[-1]

    monkeypatch.setattr("counterpoint.methods.rltf.sample_group", sample)
    monkeypatch.setattr("counterpoint.methods.rltf.try_again", retry)
    (tmp_path / "mine.py").write_text(
        "def digits(completions, **_):\n    return [sum(c.isdigit() for c in x) for x in completions]\n"
    )
    event, *_ = train(
        tmp_path / "run",
        steps=1,
        solved=solved,
        judge=f"{tmp_path}/mine.py:digits",
        **{"distillation.weight": 0.5},
    )
    (first,), (second,), model = firsts, seconds, tiny(seed=0).eval()

    def digits(text: str) -> float:
        return float(sum(c.isdigit() for c in text))

    def logp(prompt: Any, answer: list[int]) -> torch.Tensor:
        start = model.prompts([prompt]).ids[0].tolist()
        logits = model.causal(torch.tensor([start + answer])).logits[0, len(start) - 1 : -1]
        return logits.log_softmax(-1)[range(len(answer)), answer]

    r0, r1 = [digits(text) for text in first.texts], [NAN] * 16
    for row, text in zip(second.rows.tolist(), second.texts):
        r1[row] = digits(text)
    assert len(second.texts) == (16 if solved else 0)
    whole = [a + (0.0 if math.isnan(b) else 0.1 * b) for a, b in zip(r0, r1)]
    groups = [slice(row // 4 * 4, row // 4 * 4 + 4) for row in range(16)]
    total = torch.zeros(())
    for row, answer in enumerate(first.completions.rows()):
        total = total - (whole[row] - mean(whole[groups[row]])) * logp(first.prompts[row], answer).sum()
    for row, prompt, answer in zip(second.rows.tolist(), second.prompts, second.completions.rows()):
        total = total - (r1[row] - mean(r1[groups[row]])) * logp(prompt, answer).sum()
        alone = logp(first.prompts[row], answer)
        total = total - 0.5 * (r1[row] - mean(r0[groups[row]])) * alone[alone >= -5.0].sum()
    (total / 16).backward()
    size = sum(float(each.grad.square().sum()) for each in model.parameters() if each.grad is not None)
    assert event["grad_norm"] == pytest.approx(math.sqrt(size), rel=1e-4)
    assert size > 0.1


def test_rounds_of_self_critique() -> None:
    sampler = Own(tiny(seed=0), Sampler(max_new_tokens=3, temperature=0.0))
    every = answer_in_rounds(sampler, ["1+1=", "2+2="], rounds=2)
    assert answer_in_rounds(sampler, ["1+1=", "2+2="], rounds=0) == [each[:1] for each in every]
    texts = sampler.model.texts(sampler(["1+1="]))
    critique = sampler.model.texts(sampler([to_criticise("1+1=", texts[0])]))[0]
    assert every[0][1] == sampler.model.texts(sampler([with_feedback("1+1=", texts[0], critique)]))[0]
    with pytest.raises(CounterpointError, match="expected rounds from 0 on and a greedy sampler"):
        answer_in_rounds(Own(tiny(seed=0), Sampler(max_new_tokens=3)), ["1+1="])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"answers": 1}, "answers=1, and an answer is compared with the others"),
        ({"template": "{prompt}{attempt}"}, "has no field {feedback}"),
        ({"critique_template": "{prompt}"}, "has no field {attempt}"),
        ({"mode": "both"}, "mode='both'"),
        ({"feedback": "verifyer"}, "did you mean 'verifier'"),
        ({"distillation.baseline": "third"}, "distillation.baseline='third'"),
        ({"temperature": 0.0}, r"temperature=0\.0; expected a number above 0"),
        (
            {"sampler": "server", "sampler.url": "http://x/v1", "sampler.model": "m"},
            "what the policy itself says",
        ),
        ({"feedback": "file:none.jsonl"}, "there is no such file"),
    ],
)
def test_what_cannot_work_is_refused(tmp_path: Path, wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(CounterpointError, match=says):
        train(tmp_path / "run", **wrong)
    assert not (tmp_path / "run" / "model").exists()


def test_problems_without_hints_or_answers_are_refused(tmp_path: Path) -> None:
    blank = ProblemData("blank", *(Problems([Problem("1+1=")] * 4, "number") for _ in range(3)))
    with pytest.raises(CounterpointError, match="has no hint"):
        train(tmp_path / "hint", data=blank, solved=2.0)
    with pytest.raises(CounterpointError, match="give the data an 'answer' column"):
        train(tmp_path / "answer", data=blank, judge="verifier")
