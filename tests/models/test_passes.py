"""Every pass of rows without gradient keeps to the limit, gives the same results, and can be stopped between two passes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from counterpoint.data.language.problems import ProblemData, load
from counterpoint.evaluation.language import greedy_accuracy, perplexity, retention
from counterpoint.generation.sampler import Sampler, row_draws
from counterpoint.generation.samplers import Own
from counterpoint.judges.likelihood import Likelihood
from counterpoint.models import passes
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import Language
from counterpoint.training import Run
from counterpoint.training.run import Interrupted


@pytest.fixture
def problems(tmp_path: Path) -> ProblemData:
    file = tmp_path / "sums.csv"
    rows = [f"{'9' * (1 + n % 5)}+{n}=,{n}" for n in range(40)]
    file.write_text("\n".join(["prompt,answer", *rows]), encoding="utf-8")
    return load(str(file))


def widest(model: Language, act: Callable[[], Any]) -> tuple[int, Any]:
    """The largest number of rows that went through the model at once, and what came out."""
    seen: list[int] = []
    hook = model.backbone.register_forward_pre_hook(
        lambda _, __, given: seen.append(len(given["input_ids"])), with_kwargs=True
    )
    try:
        result = act()
    finally:
        hook.remove()
    return max(seen), result


def judged(model: Language, data: ProblemData) -> Any:
    rows = data.train[:8]
    answers = [[{"ids": [5, 6, 2], "text": "12"}, {"ids": [7, 2], "text": "3"}] for _ in rows]
    return Likelihood(model)(rows, answers).rewards.flatten().tolist()  # type: ignore[arg-type]


PASSES: dict[str, Callable[[Language, ProblemData], Any]] = {
    "accuracy": lambda model, data: greedy_accuracy(model, data.train, max_new_tokens=3),
    "perplexity": lambda model, data: perplexity(model, data.train),
    "retention": lambda model, data: retention(model, tiny(seed=1), data.train, max_new_tokens=3),
    "judge": judged,
    "samples": lambda model, data: Own(model, Sampler(max_new_tokens=6))(
        [row.prompt for row in data.train], 2, row_draws(0, range(2 * len(data.train)), 6)
    ).rows(),
}


@pytest.mark.parametrize("name", PASSES)
def test_a_pass_takes_no_more_rows_than_the_limit_and_gives_the_same(
    name: str, problems: ProblemData
) -> None:
    model = tiny(seed=0).eval()
    free, usual = widest(model, lambda: PASSES[name](model, problems))
    with passes.limits(3):
        held, limited = widest(model, lambda: PASSES[name](model, problems))
    assert free > 3
    assert held <= 3
    assert limited == (usual if name == "samples" else pytest.approx(usual, rel=1e-5))


def test_sampled_log_probabilities_and_ends_are_those_of_one_pass() -> None:
    model, how = tiny(seed=0), Sampler(max_new_tokens=9)
    prompts, draws = model.prompts(["1+1=", "2345+2=", "3=", "77+7=", "1="]), row_draws(3, range(5), 9)
    whole = how(model, prompts, draws)
    with passes.limits(2):
        parts = how(model, prompts, draws)
    assert torch.equal(whole.ids, parts.ids)
    assert torch.equal(whole.mask, parts.mask)
    assert torch.equal(whole.ended, parts.ended)
    torch.testing.assert_close(whole.log_probs, parts.log_probs, atol=1e-5, rtol=1e-5)


def test_the_run_sets_the_limit_in_stages_once_and_steps_and_takes_it_back(tmp_path: Path) -> None:
    seen: dict[str, int] = {}
    with Run(tmp_path / "run", micro_batch_size=5) as run:
        run.stage("look", lambda: seen.setdefault("stage", passes.at_once(64)))
        run.once("look", lambda: seen.setdefault("once", passes.at_once(64)))
        for _ in run.batches(range(4), 2, epochs=1):
            seen["step"] = passes.at_once(64)
        seen["after"] = passes.at_once(64)
    assert seen == {"stage": 5, "once": 5, "step": 5, "after": 64}


def test_a_signal_is_answered_within_one_pass_of_a_stage(tmp_path: Path) -> None:
    done: list[int] = []

    def slow(rows: list[int]) -> list[int]:
        for part in passes.over(rows, usual=64):
            done.extend(part)
            if len(done) == 2:
                os.kill(os.getpid(), signal.SIGTERM)
        return rows

    with Run(tmp_path / "run", micro_batch_size=1) as run, pytest.raises(Interrupted) as stop:
        run.stage("slow", slow, over=list(range(50)))
    assert done == [0, 1]
    assert stop.value.code == 128 + signal.SIGTERM
    done.clear()
    with Run(tmp_path / "run", micro_batch_size=1) as again:
        done.append(-1)  # no second signal
        assert again.stage("slow", lambda rows: list(rows), over=list(range(50))) == list(range(50))


def test_between_is_told_of_outer_passes_only() -> None:
    told: list[tuple[int, int]] = []
    with passes.limits(2, lambda done, rows: told.append((done, rows))):
        for part in passes.over(range(5), usual=64):
            list(passes.over(part, usual=1, announce=False))
    assert told == [(2, 5), (4, 5), (5, 5)]
