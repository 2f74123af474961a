"""An evaluator leaves modules in their modes, begins anew with another module, and goes on from its state."""

from __future__ import annotations

from torch import nn

from counterpoint.training.evaluator import Evaluator, Measured


def evaluator(values: list[float], written: list[nn.Module], patience: int | None = None) -> Evaluator:
    left = iter(values)

    def measure(net: nn.Module) -> Measured:
        net.eval()
        value = next(left)
        net.train()
        return Measured({"accuracy": value}, value)

    return Evaluator(1, measure, written.append, patience=patience)


def test_every_module_stays_in_its_mode() -> None:
    net = nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.Dropout(), nn.Linear(1, 1)))
    net[1].eval()
    one = evaluator([0.5], [])
    one.train(net, "net")
    one.look(1, first=True)
    assert [module.training for module in net.modules()] == [True, True, False, False, False]


def test_another_module_begins_anew_and_a_resumed_one_does_not() -> None:
    first, second, written = nn.Linear(1, 1), nn.Linear(1, 1), []  # type: ignore[var-annotated]
    one = evaluator([0.9, 0.5, 0.4], written)
    one.train(first, "first")
    one.look(1, first=True)
    one.train(second, "second")
    one.look(2, first=True)
    assert written == [first, second]
    assert (one.best, one.step) == (0.5, 2)
    again = evaluator([0.4, 0.6], written)
    again.train(first, "first")  # the top of fit, once more
    again.train(second, "second")
    again.load_state_dict(one.state_dict())
    again.look(3, first=True)
    assert (again.best, again.step, again.since) == (0.5, 2, 1)
    again.look(4, first=True)
    assert (again.best, again.step, again.since) == (0.6, 4, 0)


def test_an_equal_value_is_no_better_one_and_patience_counts_it() -> None:
    net, written = nn.Linear(1, 1), []  # type: ignore[var-annotated]
    one = evaluator([0.5, 0.5, 0.4], written, patience=2)
    one.train(net, "net")
    stopped = []
    for step in (1, 2, 3):
        one.look(step, first=True)
        stopped.append(one.stopped)
    assert (one.best, one.step, written) == (0.5, 1, [net])
    assert stopped == [False, False, True]
