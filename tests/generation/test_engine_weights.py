"""What a server sampled by other weights than the policy's is learnt from by its weights: they reach the losses of every method."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from fake_vllm import serving
from test_engine import POLICIES, trained

from counterpoint.models.language.characters import tiny
from counterpoint.objectives.preference import text_feedback
from counterpoint.phases.distillation import engine_weighing


@pytest.mark.parametrize("key", POLICIES)
def test_weights_reach_the_losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """A server that keeps its first weights answers the same twice; only where they do not weigh is the loss another once they are stale."""
    folder, found = tiny(seed=0, alphabet="0123456789+=on").save(tmp_path / "base"), []
    for name in ("weighed", "bare"):
        if name == "bare":
            monkeypatch.setattr(engine_weighing, "engine_weights", lambda own, *_: torch.ones_like(own))
        with serving(folder) as (url, state):
            state.deaf = True
            events = trained(key, folder, url, tmp_path / name, 4, **{**POLICIES[key], "max_new_tokens": 12})
        found.append([event["loss"] for event in events])
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-4, abs=1e-6)
    assert found[0][3] != pytest.approx(found[1][3], rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("loss", ["turn", "own", "ppo", "cispo"])
def test_a_weight_scales_its_tokens_gradient_of_two_turns(loss: str) -> None:
    draw = torch.Generator().manual_seed(0)
    logp, other = -torch.rand(2, 3, 4, generator=draw, dtype=torch.float64) - 0.5
    advantage, mask = torch.tensor([1.0, -1.0, 0.5], dtype=torch.float64), torch.ones(3, 4)
    weight = (torch.rand(3, 4, generator=draw, dtype=torch.float64) + 0.5).requires_grad_()

    def gradient(weight_BT: torch.Tensor | None) -> torch.Tensor:
        here, given = logp.clone().requires_grad_(), dict[str, Any](weight_BT=weight_BT)
        value = (
            text_feedback.turn_loss(here, advantage, mask, **given)
            if loss == "turn"
            else text_feedback.distillation_loss(here, advantage, mask, loss, denominator_BT=other, **given)  # type: ignore[arg-type]
        )
        return torch.autograd.grad(value.mean(), here)[0]

    torch.testing.assert_close(gradient(weight), gradient(None) * weight.detach(), rtol=1e-10, atol=1e-14)
