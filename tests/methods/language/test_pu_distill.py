"""PU distillation: whole steps by loops, the judge that rates, teachers of three kinds, own files, and what cannot work."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[2] / "generation"))
from fake_server import serving, url

from counterpoint.cli.main import app
from counterpoint.data.language.problem import Problem
from counterpoint.data.language.problems import ProblemData, Problems
from counterpoint.errors import CounterpointError
from counterpoint.judges.agreement import rank_correlation
from counterpoint.judges.rated import ExpectedRating
from counterpoint.methods.pu_distill import PUDistill
from counterpoint.models.language.characters import tiny
from counterpoint.phases.rollouts import Rollouts, sample_group
from counterpoint.training import Budget, Run

PROBLEMS = [Problem(f"{n}+1=", solution=f"so {n + 1}", answer=str(n + 1)) for n in range(8)]
DATA = ProblemData("sums", *(Problems(PROBLEMS, "number") for _ in range(3)))
BARE = [Problem(row.prompt, answer=row.answer) for row in PROBLEMS]
SMALL: dict[str, Any] = {
    "answers": 4, "max_new_tokens": 4, "batch_size": 4, "learning_rate": 0.03, "epochs": 50.0, "imitation.epochs": 0.0,
}  # fmt: skip


def train(out: Path, steps: int = 3, data: ProblemData = DATA, **settings: Any) -> list[dict[str, Any]]:
    with Run(out, seed=0, budget=Budget(steps=steps), progress=False, audit=True) as run:
        PUDistill.settings(**{**SMALL, **settings}).fit(tiny(seed=0), data, run)
    return [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]


def digits(text: str) -> float:
    return float(sum(c.isdigit() for c in text))


@pytest.mark.parametrize(
    "chosen",
    [
        {"form": "grpo"},
        {"form": "grpo", "preference.advantage": "uniform", "preference.kl": 2.0},
        {"form": "dpo"},
        {"form": "dpo", "preference.chosen": "anchor", "preference.beta": 0.5},
        {"form": "listwise", "preference.strength": 0.3},
    ],
)
def test_a_second_step_is_its_equation_row_by_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: dict[str, Any]
) -> None:
    """The step after one that moved the policy away from its reference, so that the reference's part is seen."""
    groups: list[Rollouts] = []
    weights: list[dict[str, torch.Tensor]] = []
    model, step = tiny(seed=0), Run.step

    def sample(*args: Any, **options: Any) -> Rollouts:
        groups.append(sample_group(*args, **options))
        return groups[-1]

    def watched(run: Run, *args: Any, **options: Any) -> Any:
        weights.append({name: each.detach().clone() for name, each in model.state_dict().items()})
        return step(run, *args, **options)

    monkeypatch.setattr("counterpoint.methods.pu_distill.sample_group", sample)
    monkeypatch.setattr(Run, "step", watched)
    (tmp_path / "mine.py").write_text(
        "def digits(completions, **_):\n    return [sum(c.isdigit() for c in x) for x in completions]\n"
    )
    given = {**SMALL, "rating.judge": f"{tmp_path}/mine.py:digits", "optimizer": "sgd", **chosen}
    with Run(tmp_path / "run", seed=0, budget=Budget(steps=2), progress=False) as run:
        PUDistill.settings(**given).fit(model, DATA, run)
    event = json.loads((tmp_path / "run" / "events.jsonl").read_text().splitlines()[1])
    policy, reference, group = tiny(seed=0).eval(), tiny(seed=0).eval(), groups[1]
    policy.load_state_dict(weights[1])
    assert not torch.equal(weights[0]["causal.lm_head.weight"], weights[1]["causal.lm_head.weight"])

    def logp(model: Any, prompt: Any, answer: list[int]) -> torch.Tensor:
        start = model.prompts([prompt]).ids[0].tolist()
        logits = model.causal(torch.tensor([start + answer])).logits[0, len(start) - 1 : -1]
        return logits.log_softmax(-1)[range(len(answer)), answer]

    ids, total, counted = group.completions.rows(), torch.zeros(()), 0
    for p, problem in enumerate(group.problems):
        rows = range(4 * p, 4 * p + 4)
        scores = [digits(group.texts[row]) for row in rows]
        weight = [math.exp((s - max(scores)) / 0.5) for s in scores]
        shares = [w / sum(weight) for w in weight]
        mean = sum(shares) / 4
        deviation = math.sqrt(sum((d - mean) ** 2 for d in shares) / 3)
        own = [logp(policy, problem.prompt, ids[row]) for row in rows]
        with torch.no_grad():
            fixed = [logp(reference, problem.prompt, ids[row]) for row in rows]
        ratios = torch.stack([(a - b).sum() for a, b in zip(own, fixed)])
        if chosen["form"] == "grpo":
            counted += 4
            uniform = chosen.get("preference.advantage") == "uniform"
            for d, a, b in zip(shares, own, fixed):
                advantage = 4 * d - 1 if uniform else (d - mean) / (deviation + 1e-4)
                kl = ((b - a).exp() - (b - a) - 1).mean()
                total = (
                    total - advantage * (a - a.detach()).exp().mean() + chosen.get("preference.kl", 0.04) * kl
                )
        elif len(set(scores)) > 1:
            counted += 1
            if chosen["form"] == "listwise":
                q = (0.3 * ratios).log_softmax(0)
                total = total + sum(d * (math.log(d) - q[n]) for n, d in enumerate(shares))
                continue
            best, worst = scores.index(max(scores)), scores.index(min(scores))
            better = ratios[best]
            if chosen.get("preference.chosen") == "anchor":
                anchor = policy.completions([problem.reference]).rows()[0]
                with torch.no_grad():
                    before = logp(reference, problem.prompt, anchor).sum()
                better = logp(policy, problem.prompt, anchor).sum() - before
            margin = chosen.get("preference.beta", 0.1) * (better - ratios[worst])
            total = total - torch.nn.functional.logsigmoid(margin)
    assert counted > 1
    (total / counted).backward()
    size = math.sqrt(
        sum(float(each.grad.square().sum()) for each in policy.parameters() if each.grad is not None)
    )
    assert event["grad_norm"] == pytest.approx(size, rel=1e-3)
    assert event["loss"] == pytest.approx(float(total.detach()) / counted, rel=1e-3, abs=1e-5)


def test_imitation_comes_first_and_is_the_reference(tmp_path: Path) -> None:
    events = train(tmp_path / "run", steps=20, **{"imitation.epochs": 1.0, "imitation.learning_rate": 0.01})
    first = [each for each in events if each["loop"].startswith("rounds-0")]
    later = [each for each in events if each["loop"].startswith("rounds-1")]
    assert len(first) == len(later) == 10  # a budget is shared between the stages
    assert first[-1]["loss"] < first[0]["loss"]
    assert later[0]["kl"] == pytest.approx(0.0, abs=1e-9)  # at its first step the policy is the imitator
    assert later[1]["kl"] > 0


@pytest.mark.parametrize("by", ["imitator", "given", "current"])
def test_whose_opinion_counts(tmp_path: Path, by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    weights: list[torch.Tensor] = []
    call = ExpectedRating.__call__

    def watched(self: ExpectedRating, *args: Any) -> Any:
        weights.append(self.model.head.weight.detach().clone())
        return call(self, *args)

    monkeypatch.setattr(ExpectedRating, "__call__", watched)
    train(tmp_path / "run", steps=12, **{"imitation.epochs": 4.0, "imitation.batch_size": 8, "rating.by": by})
    initial = tiny(seed=0).head.weight
    assert torch.equal(weights[0], initial) == (by == "given")
    assert torch.equal(weights[0], weights[-1]) == (by != "current")


def test_what_was_sampled_is_kept_and_agreement_is_logged(tmp_path: Path) -> None:
    events = train(tmp_path / "run", **{"rating.watched": "verifier"})
    assert {"rank_correlation/length", "rank_correlation/watched", "reward/expected"} <= set(events[0])
    row = json.loads((tmp_path / "run" / "samples.jsonl").read_text().splitlines()[0])
    assert set(row["answers"][0]["rewards"]) == {"expected", "verifier"}
    assert row["answers"][0]["verdicts"]["expected"].startswith("rated ")


def test_a_rating_is_the_mean_over_the_rating_tokens(tmp_path: Path) -> None:
    model, template = tiny(seed=3), "{lowest}-{highest};{prompt}>{anchor}:{candidate}?"
    answers = [
        [{"ids": [], "text": text, "ended": True} for text in row] for row in (["7", "{prompt}", "7"], ["9"])
    ]
    verdicts = ExpectedRating(model, "1 2 5", template, at_once=2)(PROBLEMS[:2], answers)  # type: ignore[arg-type]
    for p, row in enumerate(answers):
        for n, answer in enumerate(row):
            prompt = f"1-5;{PROBLEMS[p].prompt}>{PROBLEMS[p].solution}:{answer['text']}?"
            ids = model.prompts([prompt]).ids
            logits = model.causal(ids).logits[0, -1].detach()
            each = [float(logits[model.tokenizer(v, add_special_tokens=False).input_ids[0]]) for v in "125"]
            weight = [math.exp(z - max(each)) for z in each]
            expected = sum(v * w for v, w in zip((1, 2, 5), weight)) / sum(weight)
            assert verdicts.rewards[p, n].item() == pytest.approx(expected, rel=1e-5)
    assert verdicts.rewards[0, 0] == verdicts.rewards[0, 2]
    assert verdicts.rewards[1, 1:].isnan().all()
    with pytest.raises(CounterpointError, match="has no reference to rate answers by"):
        ExpectedRating(model)([Problem("1+1=")], answers[1:])  # type: ignore[arg-type]
    with pytest.raises(CounterpointError, match="begin with the same token"):
        ExpectedRating(model, "1 10")(PROBLEMS[:1], answers[:1])  # type: ignore[arg-type]


def test_rank_correlation_is_scipys() -> None:
    from scipy.stats import spearmanr

    g = torch.Generator().manual_seed(0)
    one, other = (torch.randint(0, 5, (6, 7), generator=g).double() for _ in range(2))
    found = rank_correlation(one, other)
    for p in range(6):
        assert found[p].item() == pytest.approx(spearmanr(one[p], other[p]).statistic)
    one[0, 2] = math.nan
    keep = [0, 1, 3, 4, 5, 6]
    assert rank_correlation(one, other)[0].item() == pytest.approx(
        spearmanr(one[0, keep], other[0, keep]).statistic
    )


def bare() -> ProblemData:
    return ProblemData("bare", *(Problems(BARE, "number") for _ in range(3)))


def test_a_teacher_behind_a_server_is_asked_once_a_prompt(tmp_path: Path) -> None:
    with serving() as fake:
        given = {"sampler": "server", "sampler.url": url(fake), "sampler.model": "m", "imitation.epochs": 1.0}
        train(tmp_path / "run", steps=4, data=bare(), **given)
        assert sorted(body["messages"][-1]["content"] for body in fake.seen) == sorted(r.prompt for r in BARE)
        train(tmp_path / "run", steps=4, data=bare(), **given)
        assert len(fake.seen) == len(BARE), "what was answered is read from the run's folder"


def test_a_local_teacher_answers_and_its_silence_is_counted(tmp_path: Path) -> None:
    tiny(seed=5).save(tmp_path / "teacher")
    given = {
        "teacher.model": str(tmp_path / "teacher"),
        "teacher.max_new_tokens": 1,
        "teacher.temperature": 3.0,
    }
    data = ProblemData("bare", *(Problems(BARE * 8, "number") for _ in range(3)))
    train(tmp_path / "run", steps=2, data=data, **given)
    assert "the teacher gave no answer" in (tmp_path / "run" / "messages.log").read_text()
    assert list((tmp_path / "run" / "stages").rglob("*anchors*"))


def test_from_the_command_line_on_an_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": f"{n}+1=", "completion": f"so {n + 1}", "answer": str(n + 1)} for n in range(24)]
    Path("problems.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    tiny(seed=0).save("student")
    result = CliRunner().invoke(
        app,
        [
            "run",
            "pu-distill",
            "--data",
            "problems.jsonl",
            "--model",
            "student",
            "--out",
            "out",
            "--steps",
            "4",
            "--answers",
            "3",
            "--max-new-tokens",
            "4",
            "--batch-size",
            "4",
            "--form",
            "dpo",
            "--learning-rate",
            "1e-3",
        ],
    )
    assert result.exit_code == 0, result.output
    assert Path("out/model/model.safetensors").exists()
    assert "accuracy" in json.loads(Path("out/result.json").read_text())["metrics"]["test"]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"answers": 1}, "answers=1; expected at least 2"),
        ({"iterations": 0}, "iterations=0; expected at least 1"),
        ({"form": "ppo"}, "form='ppo'"),
        ({"rating.temperature": 0.0}, r"rating.temperature=0\.0; expected a number above 0"),
        ({"rating.template": "{prompt}"}, "has no field {candidate}"),
        ({"rating.ratings": "3"}, "expected at least two different numbers"),
        ({"rating.ratings": "bad good"}, "expected numbers"),
        ({"rating.judge": "verifyer"}, "did you mean 'verifier'"),
        ({"rating.judge": "verifier", "rating.ratings": "1 2"}, "rating.ratings is of rating.judge=expected"),
        ({"teacher.template": "why?"}, "has no field {prompt}"),
        ({"teacher.model": "nowhere"}, "the data has completions, and a teacher is named as well"),
        ({"sampler": "server", "sampler.url": "http://x/v1", "sampler.model": "m"}, "leave one of them out"),
        ({"temperature": 0.0}, r"temperature=0\.0; expected a number above 0"),
    ],
)
def test_what_cannot_work_is_refused(tmp_path: Path, wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(CounterpointError, match=says):
        train(tmp_path / "run", **wrong)
    assert not (tmp_path / "run" / "model").exists()


def test_problems_without_anchors_are_refused(tmp_path: Path) -> None:
    blank = ProblemData("blank", *(Problems([Problem("1+1=")] * 4, "number") for _ in range(3)))
    with pytest.raises(CounterpointError, match="4 of 4 training problems have no reference, first row 1"):
        train(tmp_path / "run", data=blank)


def test_the_ranking_moves_the_policy_towards_what_is_scored_high(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "def sevens(completions, **_):\n    return [x.count('7') for x in completions]\n"
    )
    judge = f"{tmp_path}/mine.py:sevens"
    for form in ("grpo", "dpo", "listwise"):
        events = train(tmp_path / form, steps=24, answers=8, form=form, **{"rating.judge": judge})
        rewards = [event[f"reward/{judge}"] for event in events]
        assert sum(rewards[-4:]) > 3 * sum(rewards[:4]), form
