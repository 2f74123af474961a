"""What training reports of itself: once in a run's history, over a crash, into files and back."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from counterpoint.errors import CounterpointError
from counterpoint.training import Optimizer, Run
from counterpoint.training.report import Report


def test_files_and_back(tmp_path: Path) -> None:
    report = Report()
    report.add(share=0.5, nothing=math.nan, count=torch.tensor(3))
    report.add(temperatures={"row": [2, 0], "temperature": [0.1, 0.25], "caption": ["a, b", 'say "x"']})
    report.add(stages=[{"stage": 1, "accuracy": 1.0}])
    report.add(stages=[{"stage": 2, "accuracy": 0.5, "task 1": 0.25}])
    report.write(tmp_path / "training")
    again = Report.read(tmp_path / "training")
    assert again.tables == report.tables
    assert again.figures.pop("nothing") != again.figures  # NaN comes back as NaN
    assert again.figures == {"share": 0.5, "count": 3.0}
    assert again.column("stages", "task 1") == [0.25]
    other = Report()
    other.load_state_dict(report.state_dict())
    assert other.tables == report.tables
    Report().write(tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("wrong", ["text", {"a": [1], "b": [1, 2]}, [1, 2], torch.zeros(3), None])
def test_something_else_is_refused(wrong: object) -> None:
    with pytest.raises(CounterpointError, match=r"run.report\(value="):
        Report().add(value=wrong)  # type: ignore[arg-type]


def fit(out: Path, stop: tuple[int, int] | None = None) -> Report:
    """Rows from a round's end, from a ``once`` and from inside a loop; a figure at the end."""
    with Run(out, seed=0, progress=False, checkpoint_steps=1) as run:
        net = run.state(net=nn.Linear(2, 1))
        for number in run.rounds(3):
            run.once(
                "begin", lambda: run.report(begun=[{"round": number, "weight": float(net.weight.sum())}])
            )
            run.optimize(net, Optimizer(name="adam", learning_rate=0.1))
            for batch in run.batches(torch.arange(12.0).view(6, 2), 2, epochs=1):
                run.report(steps=[{"round": number, "step": batch.step, "mean": float(batch.items.mean())}])
                if stop == (number, batch.step):
                    raise KeyboardInterrupt
                run.step(net(batch.items).square().sum(1))
            run.report(rounds=[{"round": number, "weight": float(net.weight.sum())}])
            run.report(last=number)
        run.report(weight=float(net.weight.sum()))
        return run.reported


@pytest.mark.parametrize("stop", [(0, 0), (0, 2), (1, 0), (2, 1)])
def test_an_interrupted_run_reports_the_same_once(tmp_path: Path, stop: tuple[int, int]) -> None:
    whole = fit(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "cut", stop)
    resumed = fit(tmp_path / "cut")
    assert resumed.state_dict() == whole.state_dict()
    assert [row["round"] for row in whole.rows("rounds")] == [0, 1, 2]
    assert len(whole.rows("steps")) == 9
    assert fit(tmp_path / "whole").state_dict() == whole.state_dict(), "the same command again adds nothing"


@pytest.mark.parametrize("content", ["[1]", "null", "3", '"text"', "{"])
def test_damaged_figures_are_one_line(tmp_path, content):
    (tmp_path / "figures.json").write_text(content)
    with pytest.raises(CounterpointError, match=r"figures.json is damaged: expected an object of figures"):
        Report.read(tmp_path)
