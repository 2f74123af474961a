"""pi-Distill and OPSD on a tiny model: what each objective trains, what the teacher is shown, penalties, wrong settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from counterpoint.data.language.problems import Problem, ProblemData, Problems, load
from counterpoint.errors import CounterpointError
from counterpoint.judges.penalties import leakage, length
from counterpoint.kernels.vocabulary import log_probs
from counterpoint.methods.pi_distill import PiDistill
from counterpoint.models.language.characters import tiny
from counterpoint.phases.two_views import Views
from counterpoint.teachers.answering import completion_scores
from counterpoint.training import Run

SMALL: dict[str, Any] = {
    "information.source": "solution", "information.template": "{information}#{prompt}", "max_new_tokens": 6,
    "learning_rate": 3e-3, "batch_size": 8, "answers": 4, "steps": 2, "anneal": 0,
}  # fmt: skip


def sums(size: int = 22) -> ProblemData:
    return load(f"worked-sums?size={size}&validation=4&test=4&digits=1")


def fit(
    out: Path, data: ProblemData | None = None, *, epochs: float = 1.0, audit: bool = True, **settings: Any
) -> tuple[torch.nn.Module, list[dict[str, Any]]]:
    method = PiDistill.settings(**{**SMALL, "epochs": epochs, **settings})
    with Run(out, seed=0, progress=False, audit=audit) as run:
        model = method.fit(tiny(seed=0, length=64), data or sums(), run)
    return model, [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


REWARD = "def digits(completions, **_):\n    return [sum(c.isdigit() for c in x) / 6 for x in completions]\n"


@pytest.fixture
def judge(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(REWARD)
    return f"{tmp_path}/mine.py:digits"


@pytest.mark.parametrize(
    ("settings", "terms"),
    [
        ({"alpha": 0.5}, {"teacher", "student"}),
        ({"alpha": 0.0}, {"student"}),
        ({"alpha": 1.0}, {"teacher"}),
        ({"objective": "opsd"}, {"policy", "pull"}),
        ({"objective": "opsd", "kl.where": "reward"}, {"policy"}),
        ({"objective": "opsd", "kl.reference": "frozen", "kl.entropy": 0.5}, {"policy", "pull"}),
        ({"alpha": 0.5, "kl.reference": "frozen", "kl.reduction": "mean", "ratio.dual": 3.0}, {"teacher", "student"}),
        ({"alpha": 0.5, "lora_rank": 4, "ratio.aggregation": "sequence_mean"}, {"teacher", "student"}),
    ],
)  # fmt: skip
def test_every_objective_trains_its_terms(
    tmp_path: Path, judge: str, settings: dict[str, Any], terms: set[str]
) -> None:
    _, events = fit(tmp_path / "run", judge=judge, **settings)
    last = events[-1]
    named = {name.removeprefix("loss/") for name in last if name.startswith("loss/")}
    assert named == terms
    assert last["grad_norm"] > 0
    assert len(events) == 3


def test_reward_rises(tmp_path: Path, judge: str) -> None:
    _, events = fit(tmp_path / "run", judge=judge, epochs=10, audit=False, **{"kl.beta": 0.0})
    rewards = [event["teacher/reward"] for event in events]
    assert sum(rewards[-5:]) / 5 > 2 * sum(rewards[:5]) / 5


def test_opsd_pulls_the_student_to_the_teacher(tmp_path: Path) -> None:
    """Without any reward the KL is all that acts."""
    _, events = fit(tmp_path / "run", epochs=8, audit=False, objective="opsd", learning_rate=1e-2)
    kl = [event["policy/kl"] for event in events]
    assert sum(kl[-3:]) < 0.7 * max(kl[:6]) * 3


def test_a_row_without_information_is_learnt_by_reward_alone(tmp_path: Path, judge: str) -> None:
    rows = [Problem(f"{n}+1=", answer=str(n + 1), hint="h" if n == 0 else "") for n in range(8)]
    data = ProblemData("own", Problems(rows, "number"), Problems([], "number"), Problems([], "number"))
    settings = {"information.source": "context", "judge": judge, "batch_size": 1, "steps": 1}
    _, events = fit(tmp_path / "run", data, alpha=1.0, **settings)
    assert sorted(event["kl"] > 0 for event in events) == [False] * 7 + [True]


def test_alpha_rises_from_zero(tmp_path: Path, judge: str) -> None:
    """In the first round the student alone is trained: the same bits as with alpha 0."""
    risen, _ = fit(tmp_path / "rising", judge=judge, anneal=5, batch_size=22)
    zero, _ = fit(tmp_path / "zero", judge=judge, alpha=0.0, batch_size=22)
    full, _ = fit(tmp_path / "full", judge=judge, alpha=0.5, batch_size=22)
    assert torch.equal(weights(risen), weights(zero))
    assert not torch.equal(weights(risen), weights(full))


def test_the_model_writes_hints_once(tmp_path: Path, judge: str) -> None:
    request = {"information.source": "written", "information.request": "{prompt};{information}"}
    fit(tmp_path / "run", judge=judge, **request)
    assert len(list((tmp_path / "run" / "stages" / "hints").iterdir())) == 2


def test_views_align_completions_after_prompts_of_any_length() -> None:
    model = tiny(seed=0).eval()
    completions = model.completions(["2", "345"])
    views = Views.of(model, ["a longer hint#1+1=", "x#20+2="], ["1+1=", "20+2="], completions)
    with torch.no_grad():
        for view, prompts in (("teacher", ["a longer hint#1+1=", "x#20+2="]), ("student", ["1+1=", "20+2="])):
            scores = completion_scores(model, getattr(views, view), completions)
            together = views.log_probs(scores)
            for row in range(2):
                alone = model.completions([["2", "345"][row]])
                own = log_probs(
                    completion_scores(model, [prompts[row]], alone), alone.ids, mask=alone.mask.bool()
                )
                torch.testing.assert_close(together[row, : alone.width], own[0], rtol=1e-4, atol=1e-5)


def test_leaks_and_length_cost_reward(tmp_path: Path, judge: str) -> None:
    assert leakage("no SECRET here", ["secret", "hint"], 0.1) == pytest.approx(0.1)
    assert length([], 0.1) == 0.0
    assert length([10**6] * 3, 0.5) == 0.3
    costly = {"penalty.keywords": "a, e, i, o, u", "penalty.leak": 0.2, "penalty.free": 0, "penalty.long": 6}
    _, events = fit(tmp_path / "run", judge=judge, **costly)
    assert all(event["teacher/penalty"] > 0.1 for event in events)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 1.5}, "alpha=1.5; expected a number from 0"),
        ({"answers": 1}, "answers=1; expected at least 2: a completion is compared"),
        ({"steps": 0}, "steps=0; expected at least 1"),
        ({"kl.where": "loss"}, "pi-distill's KL is a part of the reward"),
        ({"information.source": "context"}, "none of 22 training problems has privileged information"),
        ({"information.template": "{prompt}"}, "has no place {information}"),
        ({"temperature": 0.0}, "temperature=0.0; expected a number above 0"),
        ({"ratio.dual": 1.1}, "dual_clip=1.1 lies within the clip range"),
        ({"sampler": "server"}, "it learns from what the model itself says"),
        ({"judge": "verifyer"}, "there is no such judge; did you mean 'verifier'"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(CounterpointError, match=message):
        fit(tmp_path / "run", **settings)


def test_a_column_privileged_context_is_what_the_teacher_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [
        {"prompt": f"{n}+1=", "answer": str(n + 1), "privileged_context": f"it is {n + 1}"} for n in range(20)
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    assert load(path).train[0].hint.startswith("it is ")
