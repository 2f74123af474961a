"""A limit on tokens a pass: every pass of a run keeps to it, and losses, samples and figures are those without it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import counterpoint
from counterpoint.errors import CounterpointError
from counterpoint.generation.sampler import Sampler, row_draws
from counterpoint.models import passes
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.likelihood import sequence_log_probs
from counterpoint.models.tokens import pad
from counterpoint.training import Run

LIMIT = 60
COMMON: dict[str, Any] = {"lora_rank": 0, "learning_rate": 1e-2, "batch_size": 6}
CASES: dict[str, dict[str, Any]] = {
    "sft": {},
    "dpo": {},
    "sdft": {"max_new_tokens": 8},
    "grpo": {"max_new_tokens": 8, "answers": 3, "batch_size": 2},
    "cream": {"max_new_tokens": 6, "rounds": 1, "answers": 3, "sft_epochs": 1.0, "seed_examples": 8},
}


@contextmanager
def calls(vocabulary: int = 32) -> Iterator[list[tuple[int, int]]]:
    """Rows and positions of every reading of a token table of this size."""
    seen: list[tuple[int, int]] = []

    def look(module: torch.nn.Module, given: Any) -> None:
        if isinstance(module, torch.nn.Embedding) and given[0].dim() == 2:
            seen.append(tuple(given[0].shape))

    hook = torch.nn.modules.module.register_module_forward_pre_hook(look)
    try:
        yield seen
    finally:
        hook.remove()


def file(folder: Path, key: str) -> Path:
    rows = []
    for number in range(18):
        prompt, answer = "1+" * (number % 5 * 2) + f"{number}=", "3" * (1 + number % 7 * 3)
        both = {"chosen": answer, "rejected": answer[:1] + "44"}
        rows.append(
            {"prompt": prompt, **(both if key == "dpo" else {"completion": answer, "answer": answer})}
        )
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder / "rows.jsonl"


@pytest.mark.parametrize("key", CASES)
def test_every_pass_of_a_run_keeps_to_the_limit_and_nothing_changes(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNTERPOINT_CACHE", str(tmp_path / "cache"))
    chosen = {**COMMON, **CASES[key]}
    results = []
    for name, limit in (("whole", None), ("limited", LIMIT)):
        with calls() as seen:
            result = counterpoint.run(
                key, data=str(file(tmp_path, key)), model="characters", out=tmp_path / name, settings=chosen,
                steps=2, micro_batch_tokens=limit, reply_tokens=8, progress=False,
                data_options={"validation": 0.1, "test": 0.4},
            )  # fmt: skip
        over = [(rows, width) for rows, width in seen if rows > 1 and rows * width > LIMIT]
        assert bool(over) == (limit is None), over
        events = map(json.loads, (result.folder / "events.jsonl").read_text().splitlines())
        results.append(([event["loss"] for event in events if "loss" in event], result.metrics["test"]))
    (losses, figures), (limited, measured) = results
    assert losses
    assert limited == pytest.approx(losses, rel=1e-4, abs=1e-5)
    assert measured == pytest.approx(figures, rel=1e-3)


def test_sampling_and_likelihoods_are_the_same_in_parts() -> None:
    model = tiny(seed=0)
    prompts = model.prompts(["1+1=", "20+2=", "1234567+1=", "7="])
    sampler, draws = Sampler(max_new_tokens=7), row_draws(0, range(4), 7)
    whole = sampler(model, prompts, draws)
    answers = (["1+1=", "20+2=", "1234567+1=", "7="], ["2", "22222222", "1", "5" * 9])
    sums = sequence_log_probs(model, *answers)[0]
    with passes.limits(None, tokens=30), calls() as seen:
        parts = sampler(model, prompts, draws)
        assert max(rows for rows, _ in seen) < 4
        limited = sequence_log_probs(model, *answers)[0]
    assert parts.rows() == whole.rows()
    torch.testing.assert_close(parts.log_probs, whole.log_probs)
    torch.testing.assert_close(limited, sums, rtol=1e-5, atol=1e-5)


def test_states_of_rows_that_a_limit_parts_stand_where_their_tokens_do() -> None:
    model = tiny(seed=0).eval()
    rows = pad([[5], [6, 7], [8, 9, 10, 11, 12]], side="left")
    with torch.no_grad():
        whole = model(rows.ids, rows.mask)
        with passes.limits(None, tokens=5), calls() as seen:
            parted = model(rows.ids, rows.mask)
    assert len(seen) > 1
    real = rows.mask.bool()
    torch.testing.assert_close(parted[real], whole[real], rtol=1e-5, atol=1e-5)


def test_rows_and_tokens_together_and_tokens_of_no_language_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CounterpointError, match="give one of them"):
        Run(tmp_path / "a", micro_batch_size=2, micro_batch_tokens=8)
    with (
        Run(tmp_path / "b", micro_batch_tokens=8, progress=False) as run,
        pytest.raises(
            CounterpointError, match="micro_batch_tokens=8 is for language models; Linear reads no tokens"
        ),
    ):
        run.forward(torch.nn.Linear(2, 2), torch.zeros(3, 2))
    with pytest.raises(CounterpointError, match="micro_batch_tokens=0"):
        counterpoint.run("sft", data="x", out=tmp_path / "c", micro_batch_tokens=0)
