"""A server that follows a solver writes its proofs: of the weights of every round, weighed where they are learnt from as its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from fake_vllm import serving
from test_engine import logged

import quick_prover
from counterpoint.data.language.problems import load as load_data
from counterpoint.methods.sgs import SGS
from counterpoint.models.language.language import load
from counterpoint.objectives.preference.self_play import group_cispo, weighted_likelihood
from counterpoint.phases.distillation import engine_weighing
from counterpoint.training import Run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(quick_prover.model().save(tmp_path_factory.mktemp("prover") / "model"))


def played(out: Path, folder: Path, url: str, **settings: Any) -> list[dict[str, Any]]:
    out.mkdir()
    chosen = SGS.settings(**{
        **quick_prover.SETTINGS, "temperature": 0.8, "learning_rate": 0.02, "sampler.kind": "vllm", "sampler.url": url,
        "sampler.model": "base", **settings,
    })  # fmt: skip
    with Run(out / "run", seed=0, progress=False) as run:
        chosen.fit(load(folder), load_data(quick_prover.data(out)), run)
    events = map(json.loads, (out / "run" / "events.jsonl").read_text().splitlines())
    return [event for event in events if any("solver" in name for name in event)]


@pytest.mark.parametrize(("objective", "rank"), [("reinforce", 0), ("reinforce", 4), ("cispo", 4)])
def test_proofs_come_from_the_weights_of_their_round(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: str, rank: int
) -> None:
    settings = {"lora_rank": rank, "solver.objective": objective, "batch_size": 8} | (
        {"adapter.dropout": 0.0} if rank else {}
    )
    with serving(folder) as (url, state):
        events = played(tmp_path / "out", folder, url, **settings)
        given = "/v1/load_lora_adapter" if rank else "/collective_rpc"
        assert 2 <= state.paths.count(given) <= 3  # a round that learns nothing leaves them as they are
    losses = []
    for name in ("weighed", "bare"):
        if name == "bare":
            monkeypatch.setattr(engine_weighing, "engine_weights", lambda own, *_: torch.ones_like(own))
        with serving(folder) as (url, state):
            state.deaf = True
            stale = played(tmp_path / name, folder, url, **{**settings, "rounds": 2})
        losses.append([logged(event, "loss") for event in stale])
    assert all(logged(event, "engine_gap") < 1e-4 for event in events)
    assert logged(stale[0], "engine_gap") < 1e-4
    assert logged(stale[-1], "engine_gap") > 0.03
    assert losses[0][0] == pytest.approx(losses[1][0], rel=1e-4, abs=1e-6)
    assert losses[0][-1] != pytest.approx(losses[1][-1], rel=1e-3, abs=1e-6)


def test_proofs_of_other_rounds_are_learnt_from_as_they_are(folder: Path, tmp_path: Path) -> None:
    with serving(folder) as (url, _):
        events = played(tmp_path / "out", folder, url, **{"solver.objective": "expert"})
    assert events
    assert not any("engine_gap" in name for event in events for name in event)


@pytest.mark.parametrize("loss", ["rows", "groups"])
def test_a_weight_scales_its_tokens_gradient(loss: str) -> None:
    draw = torch.Generator().manual_seed(0)
    logp = -torch.rand(4, 3, generator=draw, dtype=torch.float64) - 0.5
    advantage, mask = torch.tensor([1.0, -1.0, 0.5, 0.2], dtype=torch.float64), torch.ones(4, 3)
    weight = (torch.rand(4, 3, generator=draw, dtype=torch.float64) + 0.5).requires_grad_()

    def gradient(factor: torch.Tensor | None) -> torch.Tensor:
        here = logp.clone().requires_grad_()
        value = (
            weighted_likelihood(here, advantage, mask, factor)
            if loss == "rows"
            else group_cispo(here, logp - 0.1, advantage, mask, mask.sum(-1), 2, factor_BT=factor)
        )
        return torch.autograd.grad(value.mean(), here)[0]

    torch.testing.assert_close(gradient(weight), gradient(None) * weight.detach(), rtol=1e-10, atol=1e-14)
