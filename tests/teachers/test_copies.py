"""Copies of any module as teachers: called like it, exact averages, a state that a Run saves and brings back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from counterpoint.errors import CounterpointError
from counterpoint.teachers.copies import on_rows
from counterpoint.teachers.ema import Ema
from counterpoint.teachers.frozen import Frozen
from counterpoint.teachers.past import Past
from counterpoint.training import Optimizer, Run


class Denoiser(nn.Module):
    """Predicts the noise in a picture at a time; has a second input, an option and a named output."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(5, 4)
        self.drop = nn.Dropout(0.5)

    def forward(self, noisy: Tensor, time: Tensor, *, scale: float = 1.0) -> dict[str, Tensor]:
        return {"noise": scale * self.drop(self.net(torch.cat([noisy, time[:, None]], 1)))}


def module(kind: str) -> nn.Module:
    torch.manual_seed(0)
    if kind == "denoiser":
        return Denoiser()
    if kind == "encoder":  # running statistics and a count
        return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2 * 4, 3))
    base = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1))
    base[0].requires_grad_(False)
    return base


def call(model: nn.Module, kind: str) -> Tensor:
    draws = torch.Generator().manual_seed(1)
    if kind == "denoiser":
        return model(torch.randn(6, 4, generator=draws), torch.linspace(0, 1, 6), scale=2.0)["noise"]
    shape = (6, 1, 4, 4) if kind == "encoder" else (6, 4)
    return model(torch.randn(shape, generator=draws))


def train(model: nn.Module, kind: str, seed: int = 0) -> None:
    """A step that moves every trainable weight and every running statistic."""
    call(model.train(), kind)
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for each in model.parameters():
            if each.requires_grad:
                each.add_(torch.randn(each.shape, generator=draws), alpha=0.1)


KINDS = ["denoiser", "encoder", "regression"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("teacher", [Frozen, Past, lambda model: Ema(model, 0.5)])
def test_a_copy_is_called_like_the_module_and_stands_still(kind, teacher):
    model = module(kind)
    expected = call(model.eval(), kind).detach()
    copied = teacher(model.train())
    assert not copied.training
    copied.train()
    assert torch.equal(call(copied, kind), expected), "in evaluation mode whatever train() says"
    assert not call(copied, kind).requires_grad
    train(model, kind)
    assert torch.equal(call(copied, kind), expected)
    assert not torch.allclose(call(model.eval(), kind), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_an_average_is_the_closed_form(kind):
    """After T steps: decay^T start + (1 - decay) sum_t decay^(T - t) student_t, of weights and running statistics."""
    model, decay, many = module(kind).double(), 0.75, 5
    teacher = Ema(model, decay)
    expected = {name: decay**many * value.clone() for name, value in _floats(model).items()}
    for step in range(1, many + 1):
        with torch.no_grad():
            for value in _floats(model).values():
                value.add_(torch.randn(value.shape, dtype=value.dtype))
        teacher.follow(model)
        for name, value in _floats(model).items():
            expected[name] += (1 - decay) * decay ** (many - step) * value
    frozen = {name for name, each in model.named_parameters() if not each.requires_grad}
    for name, value in _floats(teacher.model).items():
        if name not in frozen:
            torch.testing.assert_close(value, expected[name], rtol=1e-12, atol=1e-12)
    assert frozen == ({"0.weight", "0.bias"} if kind == "regression" else set())


def _floats(model: nn.Module) -> dict[str, Tensor]:
    both = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: value.detach() for name, value in both.items() if value.is_floating_point()}


@pytest.mark.parametrize("kind", KINDS)
def test_past_refreshes_and_gives_back(kind):
    model = module(kind)
    start = call(model.eval(), kind).detach()
    past = Past(model)
    train(model, kind)
    past.restore(model)
    assert torch.equal(call(model.eval(), kind), start)
    train(model, kind)
    later = call(model.eval(), kind).detach()
    past.refresh(model)
    assert torch.equal(call(past, kind), later)


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_is_what_the_model_trains_and_buffers(kind):
    model = module(kind)
    teacher = Ema(model, 0.5)
    state = set(teacher.state_dict())
    assert state == {"calls"} | {
        f"model.{name}"
        for name in [
            *[name for name, each in model.named_parameters() if each.requires_grad],
            *[name for name, _ in model.named_buffers()],
        ]
    }
    inside = nn.ModuleDict({"teacher": teacher})
    assert set(inside.state_dict()) == {f"teacher.{name}" for name in state}


def test_another_model_is_refused():
    with pytest.raises(CounterpointError, match=r"has no '0\.weight'"):
        Past(nn.Sequential(nn.Linear(2, 1))).refresh(nn.Linear(2, 1))


def _averaged(out: Path, stop: int | None = None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A regression towards its own average, with an earlier self that is refreshed each round."""
    model = module("encoder")
    inputs = torch.randn(24, 1, 4, 4, generator=torch.Generator().manual_seed(2))
    with Run(out, seed=3, progress=False, checkpoint_steps=1, audit=True) as run:
        net = run.state(model=model)
        past, teacher = run.state(past=Past(net), teacher=Ema(net, 0.9, every=2))
        for number in run.rounds(2):
            run.once("refresh", lambda: past.refresh(net))
            run.optimize(net, Optimizer(name="adamw", learning_rate=0.05))
            for batch in run.batches(inputs, 8, epochs=2):
                target = teacher(batch.items) + past(batch.items)
                run.step((net(batch.items) - 1 - target).square().mean(1))
                teacher.follow(net)
                if stop is not None and number == 1 and batch.step == stop:
                    raise KeyboardInterrupt
        return dict(net.state_dict()), dict(teacher.state_dict()) | {
            f"past.{name}": value for name, value in past.state_dict().items()
        }


def test_a_resumed_run_has_the_same_bits(tmp_path: Path):
    whole = _averaged(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        _averaged(tmp_path / "cut", stop=3)
    resumed = _averaged(tmp_path / "cut")
    for one, other in zip(whole, resumed):
        assert set(one) == set(other)
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert int(whole[1]["calls"]) == 12


@pytest.mark.parametrize("index", [[2, 0], [3], [0, 1, 2, 3]])
def test_rows_chosen_have_answers_and_the_others_zeros(index):
    weight = torch.ones(3, requires_grad=True)
    inputs, lengths = torch.randn(4, 3), torch.arange(1, 5)
    seen = []

    def forward(x, n, *, power):
        seen.append(len(x))
        return {"sum": (x * weight).sum(1) + n, "power": x**power}

    found = on_rows(torch.tensor(index), forward, inputs, lengths, power=2)
    there = torch.zeros(4, dtype=torch.bool)
    there[index] = True
    torch.testing.assert_close(found["sum"], torch.where(there, inputs.sum(1) + lengths, 0.0))
    torch.testing.assert_close(found["power"], torch.where(there[:, None], inputs**2, 0.0))
    assert seen == [len(index)]
    assert not found["sum"].requires_grad


def test_no_rows_give_zeros_of_the_right_shapes():
    none = torch.arange(0)
    found = on_rows(none, lambda x: {"wide": x.repeat(1, 2)}, torch.ones(3, 4))
    # One row is computed for the shapes, and lands in its own place, where nothing reads it.
    assert found["wide"].shape == (3, 8)
    assert not found["wide"][1:].any()
