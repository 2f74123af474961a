"""GRACE: a whole step by loops, its baseline, own folders from the command line, and what cannot work."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import counterpoint
from beir_folder import write
from counterpoint.cli.main import app
from counterpoint.data.retrieval import Retrieval, load_retrieval
from counterpoint.errors import CounterpointError
from counterpoint.generation.rationales import embed
from counterpoint.methods import grace
from counterpoint.methods.grace import GRACE
from counterpoint.models.language.characters import tiny
from counterpoint.models.retrieval.embedder import Embedder, Shown
from counterpoint.training import Budget, Run

SMALL: dict[str, Any] = {
    "answers": 3, "max_new_tokens": 4, "batch_size": 4, "minibatches": 1, "learning_rate": 0.01, "template": "{text}", "epochs": 9.0,
    "reward.cut_penalty": None,
}  # fmt: skip


@pytest.fixture
def food(tmp_path: Path) -> Retrieval:
    return load_retrieval(write(tmp_path / "food", ("train",)))


def train(
    out: Path, data: Retrieval, steps: int = 2, **settings: Any
) -> tuple[Embedder, list[dict[str, Any]]]:
    with Run(out, seed=0, budget=Budget(steps=steps), progress=False, audit=True) as run:
        encoder = GRACE.settings(**{**SMALL, **settings}).fit(Embedder(tiny(seed=0)), data, run)
    return encoder, [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"reward.cross_of": "rollout", "reward.consistency": 0.5},
        {"supervised": False},
        {"reward.cut_penalty": 2.0},
    ],
)
def test_a_step_is_its_equations_row_by_row(
    tmp_path: Path, food: Retrieval, monkeypatch: pytest.MonkeyPatch, chosen: dict[str, Any]
) -> None:
    """From the texts that were sampled: embeddings, rewards, advantages and the policy's gradient, each by a loop."""
    groups: list[Any] = []
    others: list[tuple[list[str], list[list[int]]]] = []
    sample, call = grace.sample_group, grace.Own.__call__

    def watched(*args: Any, **options: Any) -> Any:
        groups.append(sample(*args, **options))
        return groups[-1]

    def seen(self: Any, prompts: Any, n: int = 1, draws: Any = None) -> Any:
        found = call(self, prompts, n, draws)
        others.append((list(prompts), found.rows()))
        return found

    monkeypatch.setattr(grace, "sample_group", watched)
    monkeypatch.setattr(grace.Own, "__call__", seen)
    _, (event,) = train(tmp_path / "run", food, steps=1, answers=3, **chosen)
    model, group = tiny(seed=0).eval(), groups[0]
    asked, written = others[1]  # the first call is the group's own

    def states(prompt: str, answer: list[int]) -> torch.Tensor:
        ids = model.prompts([prompt]).ids[0].tolist() + answer
        return model.causal.model(torch.tensor([ids])).last_hidden_state[0]

    def embedded(prompt: str, answer: list[int]) -> torch.Tensor:
        mean = states(prompt, answer)[1:].mean(0).detach()  # the start token stands before every text
        return mean / mean.norm()

    supervised, each = chosen.get("supervised", True), len(asked) // 4
    assert each == (2 if supervised else 1)
    h = [
        [embedded(group.prompts[3 * i + k], group.completions.rows()[3 * i + k]) for k in range(3)]
        for i in range(4)
    ]
    e = [[embedded(asked[each * i + n], written[each * i + n]) for n in range(each)] for i in range(4)]
    weight, total, tokens = chosen.get("reward.consistency", 0.2), torch.zeros(()), 0
    for i in range(4):
        rewards = []
        for k in range(3):
            reward = float(e[i][0] @ h[i][k]) - sum(float(e[i][0] @ n) for n in e[i][1:])
            reward += weight * sum(float(h[i][k] @ h[i][j]) for j in range(3) if j != k) / 2
            if supervised and chosen.get("reward.cross_of") != "rollout":
                cross = sum(max(float(e[i][0] @ x) for x in h[j]) for j in range(4) if j != i) / 3
            else:
                cross = sum(float(h[i][k] @ e[j][0]) for j in range(4) if j != i) / 3
            cut = not group.completions.ended[3 * i + k]
            penalty = chosen.get("reward.cut_penalty")
            rewards.append(-penalty if penalty and cut else (reward - 0.2 * cross) / 0.1)
        for k, reward in enumerate(rewards):
            answer = group.completions.rows()[3 * i + k]
            logits = states(group.prompts[3 * i + k], answer)[-len(answer) - 1 : -1] @ model.head.weight.T
            logp = logits.log_softmax(-1)[range(len(answer)), answer]
            total = total - (reward - sum(rewards) / 3) * logp.sum()
            tokens += len(answer)
    (total / tokens).backward()
    size = math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters() if p.grad is not None))
    assert event["grad_norm"] == pytest.approx(size, rel=2e-3, abs=1e-6)
    assert size > 1e-4 or chosen.get("reward.cut_penalty")


def test_a_negative_is_never_relevant(food: Retrieval) -> None:
    method = GRACE.settings(**{**SMALL, "reward.negatives": 3})
    items = method._pairs(food)
    for draw in (0.0, 0.5, 0.999999):
        for (query, document), row in zip(
            items, method._against(food, items, torch.full((len(items), 3), draw))
        ):
            assert row[0] == food.queries[query]
            assert food.documents[document] not in row[1:]
            assert len(row) == 4


def test_the_contrastive_baseline_is_info_nce_through_the_embeddings(tmp_path: Path, food: Retrieval) -> None:
    encoder, (event,) = train(tmp_path / "run", food, steps=1, objective="contrastive", batch_size=12)
    assert encoder.shown == Shown("{text}", 0, 256)
    model = tiny(seed=0).eval()

    def embedded(text: str) -> torch.Tensor:
        mean = model.causal.model(model.prompts([text]).ids).last_hidden_state[0, 1:].mean(0)
        return mean / mean.norm()

    pairs = list(zip(food.train.query.tolist(), food.train.document.tolist()))
    q, d = (
        [embedded(texts[pair[side]]) for pair in pairs]
        for side, texts in enumerate((food.queries, food.documents))
    )
    loss = torch.zeros(())
    for i in range(len(pairs)):
        for one, other in ((q, d), (d, q)):
            logits = torch.stack([one[i] @ other[j] / 0.1 for j in range(len(pairs))])
            loss = loss - logits.log_softmax(0)[i] / 2 / len(pairs)
    loss.backward()
    size = math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters() if p.grad is not None))
    assert event["loss"] == pytest.approx(float(loss.detach()), rel=1e-4)
    assert event["grad_norm"] == pytest.approx(size, rel=1e-3)


def test_rewards_rise(tmp_path: Path, food: Retrieval) -> None:
    _, events = train(tmp_path / "run", food, steps=40, answers=6, **{"reward.temperature": 0.02})
    first, last = (sum(e["reward/positive"] for e in part) / 8 for part in (events[:8], events[-8:]))
    assert last > first


def test_cancelled_terms_are_said_once(tmp_path: Path, food: Retrieval) -> None:
    train(tmp_path / "paper", food)
    assert "the advantage takes them away" in (tmp_path / "paper" / "messages.log").read_text()
    train(tmp_path / "rollout", food, **{"reward.cross_of": "rollout"})
    assert not (tmp_path / "rollout" / "messages.log").exists()


def test_from_the_command_line_on_an_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("food"))
    tiny(seed=0).save("student")
    result = CliRunner().invoke(
        app,
        [
            "run",
            "grace",
            "--data",
            "food",
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
            "--minibatches",
            "2",
            "--learning-rate",
            "1e-3",
        ],
    )
    assert result.exit_code == 0, result.output
    figures = json.loads(Path("out/result.json").read_text())["metrics"]["test"]
    assert {"ndcg@10", "recall@10", "recall@100", "mrr@10", "uniformity"} <= set(figures)
    encoder = counterpoint.load("out/model")
    assert isinstance(encoder, Embedder)
    assert encoder.shown.rationale == 4
    assert embed(encoder, ["a", "b"]).shape == (2, 32)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"answers": 1}, "answers=1; expected at least 2"),
        ({"max_new_tokens": 0}, "max_new_tokens=0; expected a number above 0"),
        ({"minibatches": 5}, "minibatches=5 of batch_size=4"),
        ({"template": "read it"}, "has no field {text}"),
        ({"reward.temperature": 0.0}, r"reward.temperature=0\.0; expected a number above 0"),
        ({"dual_clip": 1.0}, r"dual_clip=1\.0, below"),
        ({"reward.cross_of": "document"}, "reward.cross_of='document'"),
        ({"objective": "contrastive", "supervised": False}, "supervised=false has no queries"),
        ({"objective": "infonce"}, "objective='infonce'"),
    ],
)
def test_what_cannot_work_is_refused(
    tmp_path: Path, food: Retrieval, wrong: dict[str, Any], says: str
) -> None:
    with pytest.raises(CounterpointError, match=says):
        train(tmp_path / "run", food, **wrong)
    assert not (tmp_path / "run" / "model").exists()
