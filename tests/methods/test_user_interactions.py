"""Learning from follow-ups: interactions of logs, both forms, every user, what is reported, wrong input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from counterpoint.data.language.problems import Problem, ProblemData, load
from counterpoint.errors import CounterpointError
from counterpoint.generation.users import AtTerminal, Modelled, Scripted
from counterpoint.methods.user_interactions import UserInteractions
from counterpoint.models.language.characters import tiny
from counterpoint.pairs.hindsight import in_hindsight, interactions
from counterpoint.training import Run


def message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def logs(path: Path, count: int = 16) -> Path:
    rows = [
        {
            "messages": [
                message("user", f"{n}+1="),
                message("assistant", f"SO {n + 1}"),
                message("user", "softer"),
                message("assistant", f"so {n + 1}"),
                message("user", "thanks"),
            ]
        }
        for n in range(count)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.fixture
def data(tmp_path: Path) -> ProblemData:
    return load(logs(tmp_path / "log.jsonl"), validation=0.0, test=0.0)


SCRIPT = "def louder(prompt, completion, number):\n    return 'louder' if number % 2 else ''\n"


@pytest.fixture
def script(tmp_path: Path) -> str:
    (tmp_path / "user.py").write_text(SCRIPT)
    return f"{tmp_path}/user.py:louder"


def fit(out: Path, data: ProblemData, **settings: Any) -> tuple[torch.nn.Module, Run, list[dict[str, Any]]]:
    small = {
        "learning_rate": 1e-3,
        "batch_size": 8,
        "epochs": 1,
        "max_new_tokens": 6,
        "optimizer.warmup": 0.0,
    }
    method = UserInteractions.settings(**{**small, **settings})
    with Run(out, seed=0, progress=False, audit=True) as run:
        model = method.fit(tiny(seed=0), data, run)
    return model, run, [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]


def test_every_answer_that_the_user_answers_is_an_interaction() -> None:
    talk = [
        message("system", "s"),
        *(message(role, f"{role}{n}") for n in range(4) for role in ("user", "assistant")),
        message("user", "end"),
    ]
    found = interactions([Problem(talk)], history=3)
    assert [(len(row.prompt), row.completion, row.follow_up) for row in found] == [
        (2, "assistant0", "user1"),
        (4, "assistant1", "user2"),
        (4, "assistant2", "user3"),
        (4, "assistant3", "end"),
    ]
    assert [each["content"] for each in found[3].prompt] == ["s", "user2", "assistant2", "user3"]
    assert len(interactions([Problem(talk)], longest=5)) == 0
    assert len(interactions([Problem(talk[:-1])])) == 3, "nobody answered the last one"
    ends = Problem(talk[:4], "assistant1", opening=2)
    assert [row.follow_up for row in interactions([ends])] == ["user1"]
    assert interactions([Problem("x", solution="y ", hint="z")])[0].completion == "y"


def test_hindsight_stands_in_the_last_message_and_the_answer_does_not() -> None:
    (row,) = interactions(
        [Problem([message("user", "hi"), message("assistant", "HEY"), message("user", "soft")])]
    )
    shown = in_hindsight(row.prompt, row.follow_up)
    assert len(shown) == 1
    assert "soft" in shown[0]["content"]
    assert "HEY" not in shown[0]["content"]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"hindsight.estimate": "full", "hindsight.aggregation": "sequence_sum"},
        {"hindsight.center": "sequence", "kl": 0.1},
        {"lora_rank": 4, "hindsight.ignore_first": 0},
    ],
)
def test_offline(tmp_path: Path, data: ProblemData, settings: dict[str, Any]) -> None:
    _, run, events = fit(tmp_path / "run", data, **settings)
    assert len(events) == 4, "32 interactions of 16 conversations"
    assert all(event["grad_norm"] > 0 and event["advantage_size"] > 0 for event in events)
    moved = run.reported.rows("moved_tokens")
    assert {row["interaction"] for row in moved} == set(range(8))
    for row in moved:
        assert row["moved"] == pytest.approx(row["now"] - row["before"])
    assert {row["follow_up"] for row in moved} == {"softer", "thanks"}


def test_tokens_move_with_their_advantage(tmp_path: Path, data: ProblemData) -> None:
    _, run, _ = fit(tmp_path / "run", data, epochs=3, watched=32, **{"hindsight.ignore_first": 0})
    assert run.reported.figures["moved_with_advantage"] > 0.4
    assert (tmp_path / "run").exists()


def test_the_sampled_advantage_and_the_full_kl_push_alike(
    tmp_path: Path, script: str, data: ProblemData
) -> None:
    """One small step on many of the model's own answers: nearly parallel, as one is a sample of the other."""
    online = {"form": "online", "user.function": script, "batch_size": 16, "optimizer.name": "sgd"}
    rows = data.train.rows * 24
    many = ProblemData("many", type(data.train)(rows, "exact"), data.validation, data.test)
    start = torch.cat([p.detach().flatten() for p in tiny(seed=0).parameters()])
    steps = {}
    for estimate in ("sampled", "full"):
        given = {**online, "batch_size": len(rows), "hindsight.estimate": estimate, "optimizer.momentum": 0.0}
        model, _, _ = fit(tmp_path / estimate, many, **given)
        steps[estimate] = torch.cat([p.detach().flatten() for p in model.parameters()]) - start
    assert torch.cosine_similarity(steps["sampled"], steps["full"], dim=0) > 0.5


def test_online_with_a_script(tmp_path: Path, data: ProblemData, script: str) -> None:
    _, run, events = fit(tmp_path / "run", data, form="online", **{"user.function": script})
    assert len(events) == 2
    lines = run.reported.rows("interactions")
    assert [line["follow_up"] for line in lines] == ["", "louder"] * 8, "numbers count over steps"
    assert all(event["answered"] <= 0.5 for event in events)
    assert {row["follow_up"] for row in run.reported.rows("moved_tokens")} == {"louder"}
    samples = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    assert [row["answers"][0]["follow_up"] for row in samples] == ["", "louder"] * 8


def test_a_user_without_a_word_changes_nothing(tmp_path: Path, data: ProblemData) -> None:
    (tmp_path / "user.py").write_text("def nothing(prompt, completion, number):\n    return ''\n")
    online = {"form": "online", "user.function": f"{tmp_path}/user.py:nothing"}
    model, _, _ = fit(tmp_path / "run", data, **online)
    for trained, first in zip(model.parameters(), tiny(seed=0).parameters()):
        assert torch.equal(trained, first)


def test_online_with_a_model(tmp_path: Path, data: ProblemData) -> None:
    online = {
        "form": "online",
        "user.kind": "model",
        "user.persona": "You like digits.",
        "user.max_new_tokens": 4,
    }
    _, run, _ = fit(tmp_path / "run", data, **online)
    assert len(run.reported.rows("interactions")) == 16
    requests: list[Any] = []
    user = Modelled(lambda prompts: requests.extend(prompts) or [" ok \n"], "P!")
    assert user(["q"], ["a"], 0) == ["ok"]
    assert all(part in requests[0] for part in ("P!", "q", "a"))


def test_online_with_a_person(tmp_path: Path, data: ProblemData, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    def read(text: str) -> str:
        shown.append(text)
        return "more " if len(shown) % 2 else ""

    monkeypatch.setattr("counterpoint.methods.user_interactions.users.AtTerminal", lambda: AtTerminal(read))
    _, run, _ = fit(tmp_path / "run", data, form="online", **{"user.kind": "person"})
    assert len(shown) == 16
    assert "[1] " in shown[0]
    assert [line["follow_up"] for line in run.reported.rows("interactions")] == ["more", ""] * 8


def test_a_person_is_asked_once(tmp_path: Path, data: ProblemData, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in the middle of the second batch, the same command goes on and asks only what was not answered."""
    asked: list[str] = []

    def until(most: int) -> Callable[[str], str]:
        def read(text: str) -> str:
            if len(asked) == most:
                raise EOFError
            asked.append(text)
            return "more"

        return read

    for most in (12, 99):
        monkeypatch.setattr(
            "counterpoint.methods.user_interactions.users.AtTerminal",
            lambda most=most: AtTerminal(until(most)),
        )
        if most == 12:
            with pytest.raises(CounterpointError, match="the same command goes on where it stopped"):
                fit(tmp_path / "run", data, form="online", **{"user.kind": "person"})
        else:
            fit(tmp_path / "run", data, form="online", **{"user.kind": "person"})
    assert len(asked) == 12 + 8, "the first batch is not asked again"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"form": "online"}, "needs somebody who answers: --user script"),
        ({"form": "online", "user.kind": "model"}, "plays a persona and got none"),
        ({"form": "online", "user.kind": "person"}, "there is none here"),
        ({"form": "online", "user.function": "missing.py:f"}, "'missing.py:f' cannot be imported"),
        ({"form": "online", "user.function": "math:pi"}, "is a float; expected a function"),
        ({"user.kind": "person"}, "form=offline learns from logs and asks nobody"),
        ({"sampler": "server"}, "sampler=server plays a user"),
        ({"hindsight.template": "{prompt}"}, "has no field {follow_up}"),
        ({"form": "online", "user.function": "math:sqrt", "temperature": 0.0}, "expected a number above 0"),
    ],
)
def test_settings_that_do_not_go_together(
    tmp_path: Path, data: ProblemData, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(CounterpointError, match=message):
        fit(tmp_path / "run", data, **settings)


def test_logs_without_a_follow_up_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": f"{n}", "completion": "x"}) for n in range(20)))
    with pytest.raises(CounterpointError, match="none of .* holds an answer that the user answered"):
        fit(tmp_path / "run", load(path))


def test_a_script_gives_text() -> None:
    with pytest.raises(CounterpointError, match="gave None; expected text"):
        Scripted(lambda prompt, completion, number: None)(["x"], ["y"], 0)  # type: ignore[arg-type, return-value]
