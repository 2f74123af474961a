"""Supervised runs: packed rows, batches of like length, and what the events say of the tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from counterpoint.data.language.preferences import Preference, PreferenceData, Preferences
from counterpoint.data.language.problem import Problem
from counterpoint.data.language.problems import ProblemData, Problems
from counterpoint.errors import CounterpointError
from counterpoint.methods.baselines.dpo import DPO
from counterpoint.methods.baselines.sft import SFT
from counterpoint.models.language.adapters import Adapter
from counterpoint.models.language.characters import tiny, tokenizer
from counterpoint.models.language.language import Language
from counterpoint.models.language.length_batches import LengthBatches
from counterpoint.training import Run

ROWS = [Problem("1+" * (n % 4) + f"{n}=", solution="2" * (1 + 5 * n % 19)) for n in range(20)]
DATA = ProblemData("made up", Problems(ROWS, "exact"), Problems([], "exact"), Problems([], "exact"))
PLAIN: dict[str, Any] = {"learning_rate": 1e-2, "batch_size": 6}


class Killed(Exception):
    pass


def fit(
    out: Path, method: Any, data: Any = DATA, kill_at: int | None = None
) -> tuple[dict[str, torch.Tensor], list[float]]:
    run = Run(out, seed=0, progress=False, checkpoint_steps=1)
    step, count = run.step, iter(range(10**6))

    def counted(losses: Any, **given: Any) -> float:
        if next(count) == kill_at:
            raise Killed
        return step(losses, **given)

    run.step = counted  # type: ignore[method-assign]
    with run:
        model = method.fit(tiny(seed=0).double(), data, run)
    events = map(json.loads, (out / "events.jsonl").read_text().splitlines())
    return model.state_dict(), [event["loss"] for event in events if "loss" in event]


@pytest.mark.parametrize("rank", [0, 4])
def test_a_packed_run_is_the_run_without_packing(rank: int, tmp_path: Path) -> None:
    chosen = {**PLAIN, "lora_rank": rank, **({"adapter": Adapter(dropout=0.0)} if rank else {})}
    weights, losses = fit(tmp_path / "a", SFT(**chosen))
    packed, same = fit(tmp_path / "b", SFT(packing=True, **chosen))
    assert same == pytest.approx(losses, rel=1e-9)
    for name, value in weights.items():  # Adam turns rounding of a gradient near 0 into a step
        torch.testing.assert_close(packed[name], value, rtol=1e-5, atol=1e-5)


def test_packing_is_refused_before_the_first_step_where_rows_would_mix(tmp_path: Path) -> None:
    sizes = {"vocab_size": len(tokenizer()), "hidden_size": 16, "num_hidden_layers": 1, "state_size": 4}
    mamba = Language(transformers.MambaForCausalLM(transformers.MambaConfig(**sizes)), tokenizer())
    with (
        Run(tmp_path / "a", progress=False) as run,
        pytest.raises(CounterpointError, match="leave packing out"),
    ):
        SFT(lora_rank=0, packing=True).fit(mamba, DATA, run)
    assert not (tmp_path / "a" / "events.jsonl").read_text()


def test_batches_of_like_length_hold_less_padding_and_every_row_once() -> None:
    lengths = torch.randint(1, 200, (103,), generator=torch.Generator().manual_seed(1)).tolist()
    order = LengthBatches(lengths, 8)

    def padding(rows: list[int]) -> int:
        parts = [rows[at : at + 8] for at in range(0, len(rows), 8)]
        return sum(
            max(lengths[row] for row in part) * len(part) - sum(lengths[row] for row in part)
            for part in parts
        )

    first, again, next_one = (
        order(epoch, torch.Generator().manual_seed(epoch)).tolist() for epoch in (0, 0, 1)
    )
    assert first == again != next_one
    assert sorted(first) == sorted(next_one) == list(range(103))
    assert padding(first) < 0.3 * padding(list(range(103)))
    widest = [max(lengths[row] for row in first[at : at + 8]) for at in range(0, 96, 8)]
    assert widest != sorted(widest)
    assert widest != sorted(widest, reverse=True)


@pytest.mark.parametrize("key", ["sft", "dpo"])
def test_a_run_in_batches_of_like_length_goes_on_where_it_was(key: str, tmp_path: Path) -> None:
    method: Any = SFT(lora_rank=0, like_lengths=True, **PLAIN)
    data: Any = DATA
    if key == "dpo":
        pairs = Preferences([Preference(row.prompt, row.solution, row.solution[:1] + "44") for row in ROWS])
        data = PreferenceData("made up", pairs, pairs[:0], pairs[:0])
        method = DPO(like_lengths=True, **PLAIN)
    weights, losses = fit(tmp_path / "whole", method, data)
    for kill_at in (1, 3):
        with pytest.raises(Killed):
            fit(tmp_path / str(kill_at), method, data, kill_at)
        resumed, same = fit(tmp_path / str(kill_at), method, data)
        assert same == losses
        assert all(torch.equal(resumed[name], value) for name, value in weights.items())
