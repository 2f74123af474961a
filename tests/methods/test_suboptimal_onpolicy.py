"""The unified loop: two steps of every loss equal a loop over rows, what it samples, what it reports, and what cannot work."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from counterpoint.data.language.preferences import Preference, PreferenceData, Preferences
from counterpoint.data.language.problem import Problem
from counterpoint.data.language.problems import ProblemData, Problems, load
from counterpoint.errors import CounterpointError
from counterpoint.methods.suboptimal_onpolicy import SuboptimalOnPolicy
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import Language
from counterpoint.phases.reward_baseline import RunningScore
from counterpoint.phases.rollouts import Rollouts, sample_group
from counterpoint.teachers.frozen import Frozen
from counterpoint.training import Budget, Run

PROBLEMS = [Problem(f"{n}+1=", answer=str(n + 1)) for n in range(8)]
DATA = ProblemData("sums", *(Problems(PROBLEMS, "number") for _ in range(3)))
RATE = 0.05
SMALL: dict[str, Any] = {
    "answers": 3, "max_new_tokens": 3, "batch_size": 4, "lora_rank": 0, "learning_rate": RATE, "epochs": 50.0, "watched": 0,
    "optimizer.name": "sgd", "optimizer.momentum": 0.0, "optimizer.max_grad_norm": None,
}  # fmt: skip


def train(
    out: Path, steps: int = 1, data: Any = DATA, **settings: Any
) -> tuple[Language, list[dict[str, Any]]]:
    with Run(out, seed=0, budget=Budget(steps=steps), progress=False, audit=True) as run:
        model = SuboptimalOnPolicy.settings(**{**SMALL, **settings}).fit(tiny(seed=0), data, run)
    return model, [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]


def digits(text: str) -> float:
    return sum(c.isdigit() for c in text) + 0.01 * len(text) + 0.001 * sum(map(ord, text))


@pytest.fixture
def judge(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(
        "def digits(completions, **_):\n"
        "    return [sum(c.isdigit() for c in x) + 0.01 * len(x) + 0.001 * sum(map(ord, x)) for x in completions]\n"
    )
    return f"{tmp_path}/mine.py:digits"


def token_logp(model: Language, prompt: Any, answer: list[int]) -> torch.Tensor:
    start = model.prompts([prompt]).ids[0].tolist()
    logits = model.causal(torch.tensor([start + answer])).logits[0, len(start) - 1 : -1]
    return logits.log_softmax(-1)[range(len(answer)), answer]


def entropy(model: Language, prompt: Any, answer: list[int]) -> torch.Tensor:
    start = model.prompts([prompt]).ids[0].tolist()
    logp = model.causal(torch.tensor([start + answer])).logits[0, len(start) - 1 : -1].log_softmax(-1)
    return -(logp.exp() * logp).sum(-1)


LOSSES: dict[str, dict[str, Any]] = {
    "dpo": {"loss": "dpo", "beta": 0.7, "threshold": 0.05},
    "ipo": {"loss": "ipo", "beta": 0.5},
    "pref_ft": {"loss": "pref_ft", "threshold": 0.05},
    "rwr": {"loss": "rwr", "beta": 2.0, "weight_cap": 1.5},
    "best": {"loss": "best_of_n"},
    "lowered": {
        "loss": "best_of_n",
        "negative.kind": "average",
        "negative.weight": 0.4,
        "negative.constrained": True,
    },
    "ppo": {"loss": "ppo", "policy.clip": 0.05, "policy.kl": 0.3, "policy.kl_kind": "k2"},
    "reinforce": {"loss": "reinforce", "policy.entropy": 0.2},
    "raised": {"loss": "reinforce", "negative.kind": "none"},
    "group": {"loss": "reinforce", "policy.advantage": "group"},
}


def naive(
    name: str, model: Language, rollouts: Rollouts, initial: Language, old: list[torch.Tensor]
) -> torch.Tensor:
    """The loss of all rows, one by one."""
    given, rows = LOSSES[name], rollouts.completions.rows()
    logp = [token_logp(model, prompt, ids) for prompt, ids in zip(rollouts.prompts, rows)]
    with torch.no_grad():
        fixed = [token_logp(initial, prompt, ids) for prompt, ids in zip(rollouts.prompts, rows)]
    rewards = [digits(text) for text in rollouts.texts]
    groups = [range(at, at + 3) for at in range(0, len(rows), 3)]
    total = torch.zeros(())
    if given["loss"] in ("dpo", "ipo", "pref_ft"):
        pairs = [
            (w, l)
            for group in groups
            for w in group
            for l in group
            if rewards[w] > rewards[l] and rewards[w] - rewards[l] >= given.get("threshold", 0.0)
        ]
        for w, l in pairs:
            d = (logp[w].sum() - fixed[w].sum()) - (logp[l].sum() - fixed[l].sum())
            total = (
                total
                + {
                    "dpo": lambda d=d: torch.nn.functional.softplus(-0.7 * d),
                    "ipo": lambda d=d: (d - 1.0) ** 2,
                    "pref_ft": lambda w=w: -logp[w].sum(),
                }[given["loss"]]()
            )
        return total / len(pairs)
    if given["loss"] == "rwr":
        for n, reward in enumerate(rewards):
            total = total - min(math.exp(reward / 2.0), 1.5) * logp[n].sum()
        return total / len(rows)
    if given["loss"] == "best_of_n":
        for group in groups:
            best = max(group, key=lambda n: (rewards[n], -n))
            others = [n for n in group if n != best]
            total = total - logp[best].sum()
            if name == "lowered":
                total = total + fixed[best].sum()
                total = total + 0.4 * sum(logp[n].sum() - fixed[n].sum() for n in others) / len(others)
        return total / len(groups)
    advantages = RunningScore().advantages(torch.tensor(rewards)).tolist()
    if name == "raised":
        advantages = [a - min(advantages) for a in advantages]
    if name == "group":
        each = torch.tensor(rewards).reshape(-1, 3)
        advantages = (
            ((each - each.mean(1, keepdim=True)) / (each.std(1, keepdim=True) + 1e-4)).flatten().tolist()
        )
    for n, a in enumerate(advantages):
        for t in range(len(rows[n])):
            if name == "ppo":
                ratio = (logp[n][t] - old[n][t]).exp()
                total = total - torch.minimum(ratio * a, ratio.clamp(0.95, 1.05) * a)
                total = total + 0.3 * 0.5 * (logp[n][t] - fixed[n][t]) ** 2
            else:
                total = total - a * logp[n][t]
    total = total / len(rows)
    if name == "reinforce":
        every = torch.cat([entropy(model, prompt, ids) for prompt, ids in zip(rollouts.prompts, rows)])
        total = total - 0.2 * every.mean()
    return total


@pytest.mark.parametrize("name", LOSSES)
def test_two_passes_are_two_steps_of_a_loop_over_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, judge: str, name: str
) -> None:
    drawn: list[Rollouts] = []

    def sample(*args: Any, **options: Any) -> Rollouts:
        drawn.append(sample_group(*args, **options))
        return drawn[-1]

    monkeypatch.setattr("counterpoint.methods.suboptimal_onpolicy.sample_group", sample)
    model, _ = train(tmp_path / "run", passes=2, judge=judge, **LOSSES[name])
    (rollouts,), initial, own = drawn, tiny(seed=0).eval(), tiny(seed=0).eval()
    rows = rollouts.completions.rows()
    with torch.no_grad():
        old = [token_logp(initial, prompt, ids) for prompt, ids in zip(rollouts.prompts, rows)]
    start = {key: value.clone() for key, value in own.state_dict().items()}
    for _ in range(2):
        own.zero_grad()
        naive(name, own, rollouts, initial, old).backward()
        with torch.no_grad():
            for parameter in own.parameters():
                if parameter.grad is not None:
                    parameter -= RATE * parameter.grad
    moved = max(float((own.state_dict()[key] - start[key]).abs().max()) for key in start)
    assert moved > 1e-3
    for key, value in own.state_dict().items():
        torch.testing.assert_close(
            model.state_dict()[key], value, rtol=2e-3, atol=2e-5 + 2e-3 * moved, msg=key
        )


def test_offline_answers_are_sampled_once_from_the_initial_model(tmp_path: Path, judge: str) -> None:
    _, seen = train(tmp_path / "off", 6, sampling="offline", judge=judge, loss="best_of_n")
    stages = list((tmp_path / "off").rglob("*sample*"))
    assert stages
    assert len(seen) == 6
    rows = [json.loads(line) for line in (tmp_path / "off/samples.jsonl").read_text().splitlines()]
    assert len(rows) == len(PROBLEMS)
    _, _ = train(tmp_path / "on", 6, judge=judge, loss="best_of_n")
    rows = [json.loads(line) for line in (tmp_path / "on/samples.jsonl").read_text().splitlines()]
    assert len(rows) == 6 * 4


def test_minibatches_go_over_every_prompt_once_a_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, judge: str
) -> None:
    counted: list[int] = []
    kept = Run.step

    def step(run: Run, losses: Any, **options: Any) -> float:
        counted.append(options["tokens"])
        return kept(run, losses, **options)

    monkeypatch.setattr(Run, "step", step)
    train(tmp_path / "run", passes=3, minibatches=2, judge=judge, loss="rwr", sampling="offline")
    assert len(counted) == 6
    assert counted[:2] == counted[2:4] == counted[4:]
    assert min(counted) > 0
    counted.clear()
    few = ProblemData("sums", *(Problems(PROBLEMS[:5], "number") for _ in range(3)))
    settings = {"passes": 3, "minibatches": 2, "judge": judge, "loss": "rwr", "epochs": 1.0}
    train(tmp_path / "few", 2, few, **settings)
    assert len(counted) == 6 + 3, "a last batch of one prompt has one part a pass, none of them empty"
    assert min(counted) > 0


def test_on_the_data_s_own_pairs(tmp_path: Path) -> None:
    rows = Preferences([Preference(f"{n}?", "yes", "no way") for n in range(8)])
    data = PreferenceData("made up", rows, rows, rows)
    model, _ = train(tmp_path / "run", 5, data, sampling="offline", loss="dpo", beta=1.0, passes=4)
    start = tiny(seed=0).eval()

    def margin(of: Language) -> float:
        ids = of.rows(["3?", "3?"], ["yes", "no way"])[1].rows()
        with torch.no_grad():
            chosen, rejected = (token_logp(of, "3?", each).sum() for each in ids)
        return float(chosen - rejected)

    assert margin(model) > margin(start) + 0.5
    single = Preferences([Preference("1?", "yes", "")] * 4)
    with pytest.raises(CounterpointError, match="give pairs, or use dpo"):
        train(tmp_path / "single", 1, PreferenceData("made up", single, single, single), sampling="offline")
    with pytest.raises(CounterpointError, match="answer"):
        train(tmp_path / "unjudged", 1, data)


@pytest.mark.parametrize(
    ("settings", "copies"),
    [
        ({"loss": "rwr"}, 0),
        ({"loss": "ppo"}, 0),
        ({"loss": "ppo", "policy.kl": 0.1}, 1),
        ({"loss": "dpo"}, 1),
        ({"loss": "rwr", "watched": 1}, 1),
        ({"loss": "rwr", "sampling": "offline"}, 1),
        ({"loss": "rwr", "judge": "intrinsic"}, 1),
    ],
)
def test_a_second_model_only_where_something_asks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, judge: str, settings: dict[str, Any], copies: int
) -> None:
    made: list[Any] = []

    class Counted(Frozen):
        def __init__(self, model: Any) -> None:
            made.append(model)
            super().__init__(model)

    monkeypatch.setattr("counterpoint.methods.suboptimal_onpolicy.Frozen", Counted)
    train(tmp_path / "run", 1, **{"judge": judge, **settings})
    assert len(made) == copies


def test_mass_is_reported(tmp_path: Path) -> None:
    data = load("bandit?size=8&validation=2&test=2")
    from counterpoint.tasks.stock import bandit

    model = bandit.policy(0, steps=30)
    with Run(tmp_path / "run", seed=0, budget=Budget(steps=4), progress=False, audit=True) as run:
        method = SuboptimalOnPolicy.settings(
            lora_rank=0,
            max_new_tokens=1,
            answers=8,
            loss="best_of_n",
            learning_rate=3e-3,
            batch_size=8,
            watched=2,
            passes=6,
        )
        method.fit(model, data, run)
        rows = run.reported.rows("mass")
    assert [row["step"] for row in rows] == [0, 2]
    for row in rows:
        assert row["best"] + row["others"] + row["elsewhere"] == pytest.approx(1.0)
        assert min(row["best"], row["others"], row["elsewhere"]) >= 0
    assert abs(rows[0]["log_ratio_best"]) < 1e-5
    assert rows[1]["reward"] > rows[0]["reward"]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"answers": 1}, "answers=1, and loss=dpo compares"),
        ({"minibatches": 9}, "minibatches=9 of batch_size=4"),
        ({"passes": 0}, "passes=0; expected at least 1"),
        ({"temperature": 0.0}, r"temperature=0\.0; expected a number above 0"),
        ({"beta": 0.0}, "beta=0; expected a number above 0"),
        ({"negative.kind": "none"}, "negative=none, which loss=dpo cannot have; give --loss pref_ft"),
        ({"negative.kind": "worst", "loss": "rwr"}, "give --loss best_of_n"),
        ({"policy.kl": 0.1}, r"policy\.kl=0\.1, and loss=dpo"),
        ({"loss": "dop"}, "loss='dop'"),
        (
            {"sampler": "server", "sampler.url": "http://x/v1", "sampler.model": "m"},
            "with --sampling offline",
        ),
        ({"judge": "verifyer"}, "did you mean 'verifier'"),
    ],
)
def test_what_cannot_work_is_refused(tmp_path: Path, wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(CounterpointError, match=says):
        train(tmp_path / "run", **wrong)
    assert not (tmp_path / "run" / "model").exists()


def test_bandits_have_peaks_and_lengths() -> None:
    for wrong in ("peak=100", "length=0"):
        with pytest.raises(CounterpointError, match="expected an action from 0 to 99"):
            load(f"bandit?{wrong}")
    assert load("bandit?size=3&validation=1&test=1&length=9").train[0].answer == chr(256 + 70) * 9


def test_margins_and_ties_of_given_pairs() -> None:
    from types import SimpleNamespace

    from counterpoint.phases.answer_groups import offline_groups

    rows = Preferences(
        [
            Preference("1?", "a", "b"),
            Preference("2?", "a", "b", margin=0.3),
            Preference("3?", "a", "b", tie=True),
        ]
    )
    run = SimpleNamespace(device=torch.device("cpu"))
    group = offline_groups(tiny(seed=0), rows, run)(SimpleNamespace(items=list(rows)))  # type: ignore[arg-type]
    torch.testing.assert_close(group.rewards_PN, torch.tensor([[1.0, 0.0], [0.3, 0.0], [0.0, 0.0]]))
