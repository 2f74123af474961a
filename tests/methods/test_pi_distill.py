"""pi-Distill and OPSD on a tiny model: what each objective trains, what the teacher is shown, penalties, wrong settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from counterpoint.data.language.problems import Problem, ProblemData, Problems, load
from counterpoint.errors import CounterpointError
from counterpoint.generation.sampler import Sampled, Sampler
from counterpoint.judges.penalties import leakage, length
from counterpoint.kernels.vocabulary import log_probs
from counterpoint.methods.pi_distill import PiDistill
from counterpoint.models.language.characters import tiny
from counterpoint.phases.privileged import TwoViewUpdate
from counterpoint.phases.two_views import Views
from counterpoint.tasks.stock.shuffler import load as shuffled
from counterpoint.tasks.stock.shuffler import shuffler
from counterpoint.teachers.answering import completion_scores
from counterpoint.training import Run

SMALL: dict[str, Any] = {
    "information.source": "solution", "information.template": "{information}#{prompt}", "max_new_tokens": 6,
    "learning_rate": 3e-3, "batch_size": 8, "answers": 4, "steps": 2, "anneal": 0,
}  # fmt: skip


def sums(size: int = 22) -> ProblemData:
    return load(f"worked-sums?size={size}&validation=4&test=4&digits=1")


def fit(
    out: Path,
    data: ProblemData | None = None,
    *,
    model: Any = None,
    epochs: float = 1.0,
    audit: bool = True,
    **settings: Any,
) -> tuple[torch.nn.Module, list[dict[str, Any]]]:
    method = PiDistill.settings(**{**SMALL, "epochs": epochs, **settings})
    with Run(out, seed=0, progress=False, audit=audit) as run:
        model = method.fit(model or tiny(seed=0, length=64), data or sums(), run)
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
        ({"objective": "imitation"}, {"imitation"}),
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
    """Without any reward the KL is all that acts; the views of a model with large weights are far apart."""
    model = tiny(seed=0, length=64)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(2.0)
    rows = [Problem("1+1=", answer="nobody writes this", hint="zzz") for _ in range(16)]
    data = ProblemData("own", Problems(rows, "exact"), Problems([], "exact"), Problems([], "exact"))
    opsd = {"objective": "opsd", "kl.reference": "frozen", "information.source": "context", "batch_size": 16}
    _, events = fit(
        tmp_path / "run", data, model=model, epochs=16, audit=False, steps=1, learning_rate=1e-3, **opsd
    )
    kl = [event["policy/kl"] for event in events]
    assert kl[0] > 0.1
    assert kl[-1] < 0.2 * kl[0]


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
        ({"information.template": "{prompt}"}, "has no field {information}"),
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


CALL = '{"name": "buy", "arguments": {"name": "%s"}}'
SHOP = '''
class Shop:
    reward = 0.0

    def reset(self, answer):
        self.answer = answer

    def buy(self, name: str) -> str:
        """Buy a thing.

        Args:
            name: of the thing.
        """
        self.reward = float(name == self.answer)
        return "bought " + name
'''


def scripted(self: Sampler, model: Any, prompts: Any, draws: torch.Tensor) -> Sampled:
    """Buys "fig" or what the prompt hints at, and then says so; which of the two is drawn."""
    texts = []
    for row, number in zip(prompts.rows(), draws[:, 0].tolist()):
        context = model.tokenizer.decode(row)
        known = "pear" if "pear" in context else "fig"
        texts.append("done" if "bought" in context else CALL % (known if number < 0.5 else "fig"))
    rows = model.completions(texts)
    return Sampled(rows.ids, rows.mask, rows.mask * 0.0, torch.ones(len(texts), dtype=torch.bool))


@pytest.mark.parametrize("objective", ["pi-distill", "opsd", "imitation"])
def test_episodes_with_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: str) -> None:
    """The teacher is shown what a stronger agent did, and buys the right thing half of the time; the student never does."""
    (tmp_path / "shop.py").write_text(SHOP)
    call = {"type": "function", "function": {"name": "buy", "arguments": {"name": "pear"}}}
    messages = [
        {"role": "user", "content": "get fruit"},
        {"role": "assistant", "content": "I know better", "tool_calls": [call]},
        {"role": "tool", "name": "buy", "content": "bought pear"},
        {"role": "assistant", "content": "done"},
    ]
    path = tmp_path / "rows.jsonl"
    rows = [{"messages": messages, "answer": "pear"} for _ in range(6)]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    seen: list[Views] = []
    learn = TwoViewUpdate.learn
    monkeypatch.setattr(Sampler, "__call__", scripted)
    monkeypatch.setattr(
        TwoViewUpdate, "learn", lambda self, *a, **k: seen.append(a[3]) or learn(self, *a, **k)
    )
    method = PiDistill.settings(**SMALL | {
        "objective": objective, "episode.tools": f"{tmp_path}/shop.py:Shop", "judge": "environment",
        "information.source": "actions", "information.template": "do {information}", "max_new_tokens": 60,
        "penalty.keywords": "arguments",
    })  # fmt: skip
    model = tiny(seed=0)
    with Run(tmp_path / "run", seed=0, progress=False) as run:
        method.fit(model, load(path, validation=0.0, test=0.0), run)
    last = json.loads((tmp_path / "run" / "events.jsonl").read_text().splitlines()[-1])
    figures = {name.rpartition("/")[2]: value for name, value in last.items()}
    assert figures["turns"] == 2
    assert figures["penalty"] == pytest.approx(0.1), "leaks are looked for in every turn"
    assert (0 < figures["reward"] < 1) == (objective != "opsd")
    samples = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    first = samples[0]["answers"][0]
    assert first["text"] == "done"
    assert "buy" in first["episode"]
    assert set(first["rewards"]) == {"environment"}
    (views,) = seen
    decode = lambda ids: model.tokenizer.decode(ids)  # noqa: E731
    for at in range(len(views)):
        row, own = views.completions.ids[at], views.mask[at]
        assert "bought" in decode(row[views.completions.mask[at].bool()])
        assert "bought" not in decode(row[own])
        assert decode(row[own]).endswith("</s>done</s>")
    teacher, student = (decode(getattr(views, view).rows()[0]) for view in ("teacher", "student"))
    assert 'do buy(name="pear")' in teacher
    assert "I know better" not in teacher
    assert "pear" not in student


def test_an_environment_without_a_state_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CounterpointError, match="judge=environment hands on what an episode's tools say"):
        fit(tmp_path / "run", judge="environment")
    with pytest.raises(CounterpointError, match=r"turns=0; expected at least 1"):
        fit(tmp_path / "run2", **{"episode.turns": 0})
    with pytest.raises(CounterpointError, match="none of 22 .* messages that call tools"):
        fit(tmp_path / "run3", **{"information.source": "actions"})


def test_the_shuffler_fails_alone_and_sorts_with_the_hint_half_of_the_time() -> None:
    """What the case stands on; two steps of teaching suffice to see the form, the case prints the figures."""
    data = load("hinted-sorting?digits=4&size=20&validation=5&test=5")
    assert all(row.hint == row.answer[:2] and sorted(row.prompt) == list(row.answer) for row in data.train)
    model = shuffler(4, steps=2)
    assert model.prompts([data.train[0].prompt]).width == 6
    with pytest.raises(CounterpointError, match="the model 'shuffler' knows the letters"):
        shuffled(sums())
