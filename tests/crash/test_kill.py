"""One contrast, one graph and one language run, killed with SIGKILL at random moments, end with the unbroken run's bits.

Fast: a few kill points each. Slow: twenty each.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from crash_harness import Command, check, command


def trained(key: str, data: str, model: str, steps: int, **settings: object) -> Command:
    return command(key, settings, data=data, model=model, budget={"steps": steps})


def ratings(folder: Path) -> str:
    draws = random.Random(0)
    pairs = {(u, draws.choice(range(u % 3, 40, 3))) for u in range(50) for _ in range(12)}
    lines = [f"{u}\t{i}\t5\t{draws.randrange(10**6)}" for u, i in sorted(pairs)]
    path = folder / "ratings.tsv"
    path.write_text("\n".join(["user\titem\trating\ttime", *lines]))
    return str(path)


def contrast(folder: Path) -> Command:
    return trained("dcl", "digits", "conv-small", 40, batch_size=16, variant="nnclr-dcl", queue_size=64)


def memory(folder: Path) -> Command:
    return trained("isogclr", "digits", "conv-small", 40, batch_size=16)


def graph(folder: Path) -> Command:
    return trained("xsimgcl", ratings(folder), "embeddings-16", 100, batch_size=64)


def language(folder: Path) -> Command:
    """EMA teacher, stages before training, sampling in every step."""
    return trained(
        "unisd",
        "worked-sums?size=24&validation=4&test=4",
        "characters",
        8,
        mode="unisd_star",
        max_new_tokens=8,
        lora_rank=0,
        batch_size=4,
        agreement={"retriever": "tfidf"},
        contrast={"negatives": "sampled", "num_negatives": 1},
        ema={"sync_steps": 2},
        learning_rate=1e-3,
    )


CASES = {"contrast": contrast, "memory": memory, "graph": graph, "language": language}


@pytest.mark.parametrize("kind", CASES)
def test_killed_runs_end_with_the_same_bits(tmp_path: Path, kind: str) -> None:
    assert check(CASES[kind](tmp_path), tmp_path / "runs", trials=1, seed=0) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", CASES)
def test_twenty_kills(tmp_path: Path, kind: str) -> None:
    assert check(CASES[kind](tmp_path), tmp_path / "runs", trials=20, seed=7) >= 15
