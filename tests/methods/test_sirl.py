"""SIRL and its baselines: they learn, keep no hidden state, take a person's own answers, and the session writes them."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
import torch
from rich.console import Console

from counterpoint.cli.query_session import ask_similarities
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.reward import frozen_scores, linear_rewards, ordered_share
from counterpoint.methods.catalog import load
from counterpoint.models.trajectories.encoder import TrajectoryEncoder
from counterpoint.tasks.task import task
from counterpoint.training import Budget, Run
from own_trajectories import own_files

KIND = task("trajectories")
KEYS = ["sirl", "trajectory-vae", "multi-preference", "preferences-only"]


def fit(key: str, folder: Path, data: object, steps: int = 40, **settings: object) -> TrajectoryEncoder:
    model = KIND.load_model("encoder-6", data, 0)
    with Run(folder, progress=False, budget=Budget(steps=steps), audit=True) as run:
        return load(key).settings(**settings).fit(model, data, run)


def test_sirl_recovers_what_the_person_cares_about(tmp_path: Path) -> None:
    data = KIND.load_data("gridrobot")
    before = KIND.evaluate(KIND.load_model("encoder-6", data, 0), data, "test")
    after = KIND.evaluate(fit("sirl", tmp_path, data, steps=150, queries=300), data, "test")
    assert after["feature_error"] < before["feature_error"] - 0.15
    assert after["preference_accuracy"] > before["preference_accuracy"] + 0.04
    assert after["similarity_accuracy"] > before["similarity_accuracy"] + 0.1


@pytest.mark.parametrize("key", KEYS)
def test_a_persons_own_files_from_answers_to_a_reward(tmp_path: Path, key: str) -> None:
    data = KIND.load_data(own_files(tmp_path))
    model = fit(key, tmp_path / "run", data, steps=120)
    model.save_pretrained(tmp_path / "model")
    again = KIND.load_model(str(tmp_path / "model"), data, 0)
    found = KIND.evaluate(again, data, "test")
    assert found == KIND.evaluate(model, data, "test")
    assert found["own_preference_accuracy"] > 0.7
    assert set(found) == {"similarity_accuracy", "own_preference_accuracy"}
    if key == "sirl":
        assert found["similarity_accuracy"] > 0.7


@pytest.mark.parametrize(
    ("key", "name"), [("sirl", "queries"), ("multi-preference", "queries"), ("multi-preference", "people")]
)
def test_nobody_who_answers_is_refused_where_answers_are_needed(tmp_path: Path, key: str, name: str) -> None:
    method = load(key).settings(**{name: 0})
    with pytest.raises(CounterpointError, match=f"{key}: {name}=0; expected a number above 0"):
        method.check(KIND.load_data("gridrobot"))
    method.check(KIND.load_data(own_files(tmp_path)))  # a person's own answers


def test_the_same_command_starts_again_with_the_same_answers(tmp_path: Path) -> None:
    data = KIND.load_data("gridrobot")
    first = fit("sirl", tmp_path / "a", data, steps=10, queries=20)
    second = fit("sirl", tmp_path / "b", data, steps=10, queries=20)
    assert all(torch.equal(x, y) for x, y in zip(first.state_dict().values(), second.state_dict().values()))


def test_what_cannot_be_learnt_is_said(tmp_path: Path) -> None:
    (tmp_path / "walks.jsonl").write_text(
        "".join(json.dumps({"id": str(i), "states": [[float(i)]]}) + "\n" for i in range(20))
    )
    data = KIND.load_data(str(tmp_path / "walks.jsonl"))
    with pytest.raises(CounterpointError, match="ask_similarities"):
        fit("sirl", tmp_path / "a", data)
    with pytest.raises(CounterpointError, match=r"preferences\.jsonl"):
        fit("multi-preference", tmp_path / "b", data)
    with pytest.raises(CounterpointError, match="margin=0"):
        fit("sirl", tmp_path / "c", data, margin=0)
    with pytest.raises(CounterpointError, match="queries"):
        load("sirl").settings(querries=3)


def test_linear_rewards_are_the_penalised_optimum() -> None:
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(2, 25, 3, generator=draws, dtype=torch.float64)
    theta = linear_rewards(x, ridge=0.7).requires_grad_()
    loss = (
        torch.nn.functional.softplus(-(x @ theta[..., None]).squeeze(-1)).sum() + 0.35 * theta.square().sum()
    )
    (gradient,) = torch.autograd.grad(loss, theta)
    assert gradient.abs().max() < 1e-9


def test_rewards_on_the_true_features_order_everything() -> None:
    draws = torch.Generator().manual_seed(0)
    z, taste = torch.randn(60, 2, generator=draws), torch.tensor([[1.0, -2.0]])
    pairs = torch.stack([torch.randperm(60, generator=draws)[:2] for _ in range(40)])[None]
    truth = taste @ z.T
    better = truth[0][pairs[0]].argmax(-1)
    chosen = pairs[0].gather(1, better[:, None])[None, :, 0]
    rejected = pairs[0].gather(1, 1 - better[:, None])[None, :, 0]
    (scores,) = frozen_scores(z, chosen, rejected, [0.1])
    assert ordered_share(scores, truth) > 0.95
    assert ordered_share(-scores, truth) < 0.05
    assert ordered_share(torch.zeros_like(scores), truth) == 0.5


def session(folder: Path, keys: str, count: int = 4, spec: str = "gridrobot") -> tuple[int, str]:
    replies = iter(keys)
    screen = Console(record=True, width=120, file=(folder / "screen.txt").open("w"))
    done = ask_similarities(
        KIND.load_data(spec),
        folder / "answers.jsonl",
        count=count,
        console=screen,
        read=lambda: next(replies),
    )
    return done, screen.export_text()


def test_a_session_writes_answers_goes_on_and_takes_back(tmp_path: Path) -> None:
    done, text = session(tmp_path, "1x2su3q")
    assert done == 2
    assert "odd one out" in text
    first = (tmp_path / "answers.jsonl").read_text()
    done, _ = session(tmp_path, "123")
    assert done == 4
    lines = (tmp_path / "answers.jsonl").read_text()
    assert lines.startswith(first)
    rows = [json.loads(line) for line in lines.splitlines()]
    assert len({frozenset(row.values()) for row in rows}) == 4
    assert session(tmp_path, "")[0] == 4


def test_answers_of_a_session_train_sirl(tmp_path: Path) -> None:
    folder = Path(own_files(tmp_path))
    (folder / "answers.jsonl").unlink()
    session(folder, "1" * 12, count=12, spec=str(folder))
    data = KIND.load_data(str(folder))
    assert len(data.train.answers) >= 6
    fit("sirl", tmp_path / "run", data, steps=3)


@pytest.mark.parametrize("spec", ["robot-arm", "strokes"])
def test_every_bundled_set_can_be_drawn(tmp_path: Path, spec: str) -> None:
    assert session(tmp_path, "q", spec=spec)[0] == 0
    assert "1 of 4" in session(tmp_path, "q", spec=spec)[1]


def test_the_case_names_methods_settings_and_arms_that_exist() -> None:
    for name in ("sirl", "contrastive_ucb", "spr_ucb"):
        case = importlib.import_module(f"counterpoint.cases.{name}").CASE
        for arm in map(case.arm, case.arms):
            method = load(arm.method).settings(**arm.settings)
            assert set(arm.tune or {}) <= set(vars(method))
        assert {arm for claim in case.claims for arm in claim.contrast} <= set(case.arms)
