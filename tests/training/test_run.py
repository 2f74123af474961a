"""The Run: resuming is bit-exact, rounds and stages are durable, budgets end loops, mistakes are told."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from counterpoint.errors import CounterpointError
from counterpoint.objectives.reduction import Loss
from counterpoint.training import Budget, Interrupted, Optimizer, PerSample, Run, launch
from counterpoint.training.internals.audit import Audit

X = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))


class Stop(Exception):
    """Stands for a crash."""


class Ema(nn.Module):
    """A slow copy, updated after the step: what a checkpoint inside ``step`` would lose."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.slow = nn.Linear(3, 2)
        self.slow.load_state_dict(model.state_dict())
        self.requires_grad_(False)

    def update(self, model: nn.Module) -> None:
        for slow, fast in zip(self.slow.parameters(), model.parameters()):
            slow.lerp_(fast.detach(), 0.1)


def fit(run: Run, crash_at: int | None = None, rounds: int = 3) -> dict[str, torch.Tensor]:
    """Rounds with a stage, a reset reference, an EMA, per-sample state, dropout and a fresh optimiser per round."""
    torch.manual_seed(5)
    model = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.3))
    ema = Ema(model[0])
    reference = nn.Linear(3, 2)
    model, ema, reference = run.state(model=model, ema=ema, reference=reference)
    memory = run.state(memory=PerSample(20, mean=torch.tensor(0.0)))
    for number in run.rounds(rounds):
        targets = run.stage("judge", lambda: {"t": model[0](X).detach() + torch.randn(20, 2), "r": number})[
            "t"
        ]
        run.once("refresh", lambda: reference.load_state_dict(model[0].state_dict()))
        run.log(round=number, target=float(targets.mean()))
        run.optimize(model, Optimizer(learning_rate=0.05, schedule="cosine", max_grad_norm=1.0))
        for batch in run.batches(X, 4, epochs=2):
            error = (run.forward(model, batch.items) - targets[batch.index] - reference(batch.items)) ** 2
            noise = (
                1
                + 0.1 * batch.random.normal(2)
                + 0.1 * torch.rand(2)
                + 0.1 * torch.rand(2, generator=run.rng)
            )
            values = (error * noise).mean(1)
            run.step(
                {"fit": values, "size": Loss(values.abs(), counts=torch.full_like(values, 2), weight=0.1)}
            )
            ema.update(model[0])
            memory.write(batch.index, mean=0.9 * memory.read("mean", batch.index) + values.detach())
            if crash_at is not None and run.cursor.spent["steps"] + 1 == crash_at:
                raise Stop
    return {**{f"model.{k}": v for k, v in model.state_dict().items()},
            **{f"ema.{k}": v for k, v in ema.state_dict().items()},
            "memory": memory.mean.clone(), "rng": torch.get_rng_state()}  # fmt: skip


def metrics(out: Path) -> list[dict]:
    lines = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "time"} for line in lines]


@pytest.mark.parametrize("every", [1, 4])
def test_resumed_is_bit_identical(tmp_path: Path, every: int) -> None:
    with Run(tmp_path / "whole", checkpoint_steps=1000) as run:
        whole = fit(run)
    for crash_at in (1, 2, 5, 10, 11, 13, 20, 29, 30):
        out = tmp_path / f"broken-{crash_at}"
        run = Run(out, checkpoint_steps=every)
        with pytest.raises(Stop):
            fit(run, crash_at)
        run.close()
        with Run(out, checkpoint_steps=every) as run:
            resumed = fit(run)
        for name, value in whole.items():
            assert torch.equal(value, resumed[name]), (crash_at, name)
        assert metrics(out) == metrics(tmp_path / "whole")


def test_signal_saves_and_exits_zero(tmp_path: Path) -> None:
    import os
    import signal

    with Run(tmp_path / "whole") as run:
        whole = fit(run)
    run = Run(tmp_path / "run")
    original = run.step

    def step(*args: object, **kwargs: object) -> float:
        if run.cursor.spent["steps"] == 12:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*args, **kwargs)

    run.step = step  # type: ignore[method-assign]
    with pytest.raises(Interrupted) as stopped:
        fit(run)
    assert stopped.value.code == 128 + signal.SIGTERM
    with Run(tmp_path / "run") as run:
        resumed = fit(run)
        assert run.cursor.spent["steps"] == 30
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_torn_checkpoint_is_said_and_passed_over(tmp_path: Path) -> None:
    with Run(tmp_path / "whole") as run:
        whole = fit(run)
    run = Run(tmp_path / "run", checkpoint_steps=3)
    with pytest.raises(Stop):
        fit(run, 20)
    run.close()
    newest = sorted((tmp_path / "run/checkpoints").glob("step-*"))
    assert len(newest) == 2
    tensors = newest[-1] / "tensors.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-7] + b"altered")
    with Run(tmp_path / "run", checkpoint_steps=3) as run:
        resumed = fit(run)
    assert "was altered or torn" in (tmp_path / "run/messages.log").read_text()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_altered_stage_is_made_anew(tmp_path: Path) -> None:
    with Run(tmp_path / "whole") as run:
        whole = fit(run)
    shutil.rmtree(tmp_path / "whole/checkpoints", ignore_errors=True)
    stage = tmp_path / "whole/stages/rounds-1/judge/tensors.safetensors"
    stage.write_bytes(stage.read_bytes() + b"x")
    with Run(tmp_path / "whole") as run:
        again = fit(run)
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_altered_stage_behind_the_checkpoint_is_refused(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", checkpoint_steps=3)
    with pytest.raises(Stop):
        fit(run, 18)
    run.close()
    stage = tmp_path / "run/stages/rounds-1/judge/tensors.safetensors"
    stage.write_bytes(stage.read_bytes() + b"x")
    with Run(tmp_path / "run") as run, pytest.raises(CounterpointError, match="trained on since"):
        fit(run)


def test_stage_shards_are_kept(tmp_path: Path) -> None:
    calls: list[list[int]] = []

    def work(shard: list[int]) -> list[float]:
        if len(calls) == 2:
            raise Stop
        calls.append(shard)
        return [i + float(torch.rand(())) for i in shard]

    with Run(tmp_path) as run, pytest.raises(Stop):
        run.stage("sample", work, over=list(range(10)), size=3)
    first = list(calls)
    calls.clear()
    with Run(tmp_path) as run, pytest.raises(Stop):
        calls.append([])
        run.stage("sample", work, over=list(range(10)), size=3)
    calls = calls[:1]
    with Run(tmp_path) as run:
        result = run.stage("sample", work, over=list(range(10)), size=3)
    assert first == [[0, 1, 2], [3, 4, 5]]
    assert [int(r) for r in result] == list(range(10))
    assert calls[1:] == [[9]]


@pytest.mark.parametrize("budget", [Budget(steps=12), Budget(examples=48), Budget(tokens=120)])
def test_budget_replaces_epochs_and_is_shared_by_rounds(tmp_path: Path, budget: Budget) -> None:
    seen = []
    with Run(tmp_path, budget=budget) as run:
        model = run.state(model=nn.Linear(3, 1))
        run.optimize(model, Optimizer(learning_rate=0.1, schedule="linear"))
        for number in run.rounds(3):
            for batch in run.batches(X, 4, epochs=100):
                seen.append((number, round(run.progress, 6)))
                run.step(model(batch.items).square().sum(1), tokens=10)
    assert [n for n, _ in seen] == [0] * 4 + [1] * 4 + [2] * 4
    assert [p for _, p in seen[:4]] == [0.0, 0.25, 0.5, 0.75]


def test_micro_batches_do_not_change_a_contrastive_loss(tmp_path: Path) -> None:
    gradients = []
    for size in (None, 3, 1):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 4)).double()
        with Run(tmp_path / str(size), micro_batch_size=size) as run:
            z = run.forward(model, X[:8].double())
        similarity = z @ z.T
        (torch.logsumexp(similarity, 1) - similarity.diagonal()).mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0], rtol=1e-12, atol=1e-14)


def test_micro_batches_refuse_batch_norm(tmp_path: Path) -> None:
    with (
        Run(tmp_path, micro_batch_size=2) as run,
        pytest.raises(CounterpointError, match="averages over the batch"),
    ):
        run.forward(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), X)


def test_mistakes_are_told(tmp_path: Path) -> None:
    with Run(tmp_path / "a") as run:
        with pytest.raises(CounterpointError, match="state_dict"):
            run.state(memory=[1, 2])
        with pytest.raises(CounterpointError, match="before run.optimize"):
            run.step(torch.zeros(2))
        with pytest.raises(CounterpointError, match="has no end"):
            next(run.batches(X, 4))
        for wrong in (0, -1, float("nan")):
            with pytest.raises(CounterpointError, match=f"epochs={wrong}; expected a number above 0"):
                next(run.batches(X, 4, epochs=wrong))
        with pytest.raises(CounterpointError, match="another process"):
            Run(tmp_path / "a")
        model = run.state(model=nn.Linear(3, 1))
        run.optimize(model, Optimizer())
        with pytest.raises(CounterpointError, match="not finite"):
            run.step(model(X).sum(1) * float("nan"))
        with pytest.raises(CounterpointError, match="empty source"):
            next(run.batches(X[:0], 4, epochs=1, name="empty"))
    with pytest.raises(CounterpointError, match="nothing to train"):
        Optimizer().build([])
    with pytest.raises(CounterpointError, match="steps=0"):
        Budget(steps=0)


def test_a_disk_that_cannot_lock_files_is_no_other_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with caplog.at_level("WARNING", "counterpoint"):
        launch.lock(tmp_path).close()
    assert "cannot lock files" in caplog.text


def test_resume_with_another_model_is_refused(tmp_path: Path) -> None:
    def go(model: nn.Module) -> None:
        with Run(tmp_path, checkpoint_steps=1) as run:
            model = run.state(model=model)
            run.optimize(model, Optimizer())
            for batch in run.batches(X, 4, epochs=1):
                run.step(model(batch.items).sum(1))

    go(nn.Linear(3, 1))
    with pytest.raises(CounterpointError, match="does not fit"):
        go(nn.Sequential(nn.Linear(3, 1)))


def test_audit_finds_unregistered_state(tmp_path: Path) -> None:
    class Holder:
        def __init__(self) -> None:
            self.count = 0
            self.queue = torch.zeros(3)

    def go(out: str, change: str) -> None:
        holder, memory, replay = Holder(), torch.zeros(20), []
        with Run(tmp_path / out, audit=True) as run:
            model = run.state(model=nn.Linear(3, 1))
            run.optimize(model, Optimizer())
            for batch in run.batches(X, 4, epochs=1):
                values = model(batch.items).sum(1)
                run.step(values)
                if change == "in place":
                    memory[batch.index] = values.detach()
                elif change == "attribute":
                    holder.queue = holder.queue + 1
                elif change == "number":
                    holder.count += 1
                elif change == "list":
                    replay.append(values.detach())

    go("clean", "nothing")
    for change, name in (
        ("in place", "memory"),
        ("attribute", "queue"),
        ("number", "count"),
        ("list", "replay"),
    ):
        with pytest.raises(CounterpointError, match=name):
            go(change, change)


def test_tied_and_frozen_weights_are_not_saved_again(tmp_path: Path) -> None:
    from counterpoint.training.state import capture, restore

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.frozen = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)
            self.second.weight = self.first.weight
            self.frozen.requires_grad_(False)

    model, other = Tied(), Tied()
    saved = capture(model)
    assert set(saved) == {"first.weight", "first.bias", "second.bias"}
    restore("model", other, saved)
    assert torch.equal(other.second.weight, model.second.weight)
    assert other.second.weight is other.first.weight
    with pytest.raises(CounterpointError, match="does not fit"):
        restore("model", other, {"first.weight": saved["first.weight"]})


def test_batches_that_are_dataclasses_reach_the_device() -> None:
    from dataclasses import dataclass

    from counterpoint.training.batches import send

    @dataclass(frozen=True)
    class Rows:
        x: torch.Tensor
        inner: dict[str, torch.Tensor]
        names: list[str]

    rows = Rows(torch.zeros(2), {"y": torch.ones(3)}, ["a", "b"])
    moved = send(rows, torch.device("meta"))
    assert moved.x.device.type == moved.inner["y"].device.type == "meta"
    assert moved.names == ["a", "b"]
    assert rows.x.device.type == "cpu"


def test_audit_tells_a_new_object_from_an_old_one_at_its_address() -> None:
    class Rows:
        def __init__(self, value: int) -> None:
            self.targets = torch.full((3,), value)

    audit = Audit()

    def loop(value: int) -> None:
        rows = Rows(value)
        audit.look({})
        del rows

    for value in range(50):  # freed addresses come back at once
        loop(value)


def test_random_numbers_after_a_stage_do_not_hang_on_what_it_drew(tmp_path: Path) -> None:
    def drawn(name: str, count: int, times: int) -> list[float]:
        with Run(tmp_path / name, seed=1, budget=Budget(steps=1), progress=False) as run:
            for _ in range(times):
                run.stage("draw", lambda: torch.rand(count).tolist())
                after_stage = torch.rand(1).item()
                run.once("refresh", lambda: torch.rand(count))
            return [after_stage, torch.rand(1).item()]

    first = drawn("one", 1, 1)
    assert drawn("one", 1, 1) == first  # taken from disk: nothing is drawn at all
    assert drawn("many", 1000, 1) == first


def test_gradients_are_clipped_to_their_norm(tmp_path: Path) -> None:
    def moved(norm: float | None) -> float:
        torch.manual_seed(0)
        model = nn.Linear(3, 1, bias=False)
        before = model.weight.detach().clone()
        with Run(tmp_path / str(norm), seed=1, budget=Budget(steps=1), progress=False) as run:
            model = run.state(model=model)
            run.optimize(model, Optimizer(name="sgd", learning_rate=1.0, max_grad_norm=norm, momentum=0.0))
            for batch in run.batches(X, 20):
                run.step(1000 * run.forward(model, batch.items).squeeze(1))
        return float((model.weight - before).norm())

    assert moved(None) > 10
    assert moved(0.5) == pytest.approx(0.5, rel=1e-4)


def test_gradients_that_a_model_brings_along_count_for_nothing(tmp_path: Path) -> None:
    model = nn.Linear(3, 1, bias=False)
    expected = model.weight.detach() - 0.5 * X.mean(0, keepdim=True)
    model(torch.full((2, 3), 7.0)).sum().backward()
    with Run(tmp_path, seed=1, budget=Budget(steps=1), progress=False) as run:
        model = run.state(model=model)
        run.optimize(model, Optimizer(name="sgd", learning_rate=0.5, max_grad_norm=None, momentum=0.0))
        for batch in run.batches(X, 20):
            run.step(run.forward(model, batch.items).squeeze(1))
    torch.testing.assert_close(model.weight.detach(), expected)


def test_every_step_moves_by_the_schedules_rate_and_by_its_own_gradient_alone(tmp_path: Path) -> None:
    model = nn.Linear(3, 1, bias=False)
    settings = Optimizer(name="sgd", learning_rate=1.0, schedule="cosine", momentum=0.0, weight_decay=0.0)
    moves = []
    with Run(tmp_path, seed=1, budget=Budget(steps=4), progress=False) as run:
        model = run.state(model=model)
        run.optimize(model, settings)
        for _ in run.batches(torch.ones(4, 3), 1, shuffle=False):
            before = model.weight.detach().clone()
            run.step(model.weight.sum().reshape(1))
            moves.append((before - model.weight.detach()).mean().item())
    assert moves == pytest.approx([settings.rate(step / 4) for step in range(4)], rel=1e-4)
    assert moves[0] > 2 * moves[3] > 0


def test_a_name_that_is_taken_is_refused_before_anything_is_replaced(tmp_path: Path) -> None:
    rule = Optimizer(name="sgd", learning_rate=0.1)
    with Run(tmp_path, budget=Budget(steps=1), progress=False) as run:
        net = run.state(net=nn.Linear(3, 2))
        with pytest.raises(CounterpointError, match=r"name='net'\): 'net' is Linear of this run already"):
            run.optimize(net, rule, name="net")
        run.optimize(net, rule)
        run.optimize(net, rule)  # another phase, another optimiser
        for name in ("optimizer", "reported"):
            with pytest.raises(CounterpointError, match=f"run.state\\({name}=.*give another name"):
                run.state(**{name: nn.Linear(3, 2)})
        run.state(net=net)
        assert set(run._registry.things) >= {"net", "optimizer", "reported"}
        assert run._registry.things["net"] is net


@pytest.mark.parametrize("left", ["4", "auto", "", "many"])
def test_a_launchers_accumulation_does_not_scale_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    def moved(folder: str) -> torch.Tensor:
        with Run(tmp_path / folder, budget=Budget(steps=1), progress=False) as run:
            net = nn.Linear(3, 2)
            nn.init.ones_(net.weight)
            net = run.state(net=net)
            run.optimize(net, Optimizer(name="sgd", learning_rate=0.1))
            for batch in run.batches(X, 20):
                run.step(net(batch.items).square().sum(1))
            return net.weight.detach().clone()

    monkeypatch.delenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", raising=False)
    before = moved("before")
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", left)
    assert torch.equal(moved(f"left-{left}"), before)
    assert not torch.equal(before, torch.ones(2, 3))
