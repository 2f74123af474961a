"""P5: a stored teacher of a real language model: bytes per token, the bias of its gradients, how fast it is read.

    python benchmarks/p5_store.py             # SmolLM2-135M-Instruct over 100,000 tokens: about ten minutes of one core
    python benchmarks/p5_store.py --small     # a tiny model over 2,000 tokens: does it run?

Prints the figures and writes p5_store.json beside this file. The text is English prose of Python's own documentation
(``pydoc_data.topics``), cut into completions of 256 tokens. Beside the store, top-k at the same bytes: k entries of an id and a half-precision
probability, renormalised. The gradient of the forward KL by the student's logits is its own probabilities less the teacher's,
so an estimate of the teacher's probabilities is all that it depends on: the error is that of its mean over the first n tokens,
as a part of the exact mean's norm. With draws that do not lie it falls as 1/sqrt(n); that of top-k stays.
"""

from __future__ import annotations

import argparse
import json
import platform
import pydoc_data.topics
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from harness import reset_peak, status
from torch import Tensor

RESULTS = Path(__file__).with_suffix(".json")
LENGTH, PROMPT, BATCH, BUDGET = 256, 16, 8, 1 << 27
"""Tokens of a completion and of its prompt, rows of a read, bytes of probabilities at a time."""


class Exact:
    """The live teacher, watched: sums of its own probabilities and of top-k's, for the first n positions."""

    def __init__(self, teacher: Any, ks: tuple[int, ...], at: tuple[int, ...]) -> None:
        self.teacher, self.ks, self.at = teacher, ks, at
        self.positions, self.seconds = 0, 0.0
        self.sums: dict[str, Tensor] = {}
        self.seen: dict[int, dict[str, Tensor]] = {}

    def answer(self, prompts: Any, completions: Any, index: Any = None) -> Any:
        scores = self.teacher.answer([row.prompt for row in prompts], completions, index)
        start = time.process_time()
        self._watch(scores[completions.mask.bool()])
        self.seconds += time.process_time() - start
        return scores

    @torch.no_grad()
    def _watch(self, scores: Any) -> None:
        from counterpoint.kernels.scores import dense

        step = max(1, BUDGET // (4 * scores.vocabulary))
        place = 0
        while place < len(scores.hidden):
            end = min(
                [place + step, len(scores.hidden)]
                + [place + n - self.positions for n in self.at if n > self.positions]
            )
            probs = dense(scores[torch.arange(place, end)]).softmax(-1)
            self._add("exact", probs.double().sum(0))
            top = probs.topk(max(self.ks), -1)
            for k in self.ks:
                kept = top.values[:, :k] / top.values[:, :k].sum(-1, keepdim=True)
                whole = torch.zeros(probs.shape[1], dtype=torch.float64)
                self._add(
                    f"top-{k}", whole.index_add_(0, top.indices[:, :k].reshape(-1), kept.double().reshape(-1))
                )
            self.positions += end - place
            place = end
            if self.positions in self.at:
                self.seen[self.positions] = {
                    name: value / self.positions for name, value in self.sums.items()
                }

    def _add(self, name: str, value: Tensor) -> None:
        self.sums[name] = self.sums[name] + value if name in self.sums else value


def rows_of(tokenizer: Any, tokens: int) -> list[Any]:
    """Problems whose references hold as many tokens in all as asked for, or a little more."""
    from counterpoint.data.language.problem import Problem

    text = "\n\n".join(str(value) for _, value in sorted(pydoc_data.topics.topics.items()))
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    width = LENGTH + PROMPT
    if len(ids) * LENGTH < tokens * width:
        raise SystemExit(f"the text has {len(ids):,} tokens, too few for {tokens:,}")
    found, total = [], 0
    for start in range(0, len(ids), width):
        if total >= tokens:
            break
        cut = ids[start : start + width]
        found.append(Problem(tokenizer.decode(cut[:PROMPT]), tokenizer.decode(cut[PROMPT:])))
        total += len(cut) - PROMPT
    return found


def measure(small: bool) -> dict[str, Any]:
    from counterpoint.models.language import characters, language
    from counterpoint.teachers.answering import Answering
    from counterpoint.teachers.frozen import Frozen
    from counterpoint.teachers.problem_store import rows_of as stored_rows
    from counterpoint.teachers.problem_store import store_problems
    from counterpoint.teachers.stored import Stored

    torch.set_num_threads(1)
    model = characters.tiny(seed=0) if small else language.load("smollm2-135m-instruct")
    rows = rows_of(model.tokenizer, 2_000 if small else 100_000)
    ns = (500, 2_000) if small else (1_000, 10_000, 100_000)
    watched = Exact(Answering(Frozen(model), at_once=BATCH), (2, 4, 6, 8), ns)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "store"
        start_rss, start = reset_peak(), time.process_time()
        store_problems(out, watched, model, rows)
        writing, written_peak = time.process_time() - start - watched.seconds, status("VmHWM") - start_rss
        size = sum(path.stat().st_size for path in out.glob("shard-*"))
        start_rss, start = reset_peak(), time.process_time()
        stored = Stored(out)
        opening = time.process_time() - start
        batches = [list(range(place, min(place + BATCH, len(rows)))) for place in range(0, len(rows), BATCH)]
        random.Random(0).shuffle(batches)
        completions = [
            stored_rows(stored, model, [rows[i] for i in batch], torch.tensor(batch))[1] for batch in batches
        ]
        tokens = sum(int(each.mask.sum()) for each in completions)
        seconds = []
        for _ in range(5):
            start = time.process_time()
            for batch, each in zip(batches, completions, strict=True):
                stored.answer([rows[i] for i in batch], each, torch.tensor(batch))
            seconds.append(time.process_time() - start)
        read_peak = status("VmHWM") - start_rss
        errors = compare(stored, model, rows, watched)
    return {
        "model": "tiny" if small else "SmolLM2-135M-Instruct", "tokens": tokens, "rows": len(rows), "draws": 50,
        "bytes_per_token": size / tokens, "entries_per_token": float(stored.distinct.mean()),
        "write_cpu_seconds": writing, "write_peak_bytes": written_peak, "open_cpu_seconds": opening,
        "read_cpu_seconds": seconds, "tokens_per_cpu_second": tokens / sorted(seconds)[2], "read_peak_bytes": read_peak,
        "relative_error": errors, "machine": machine(),
    }  # fmt: skip


def compare(stored: Any, model: Any, rows: list[Any], watched: Exact) -> dict[str, dict[str, float]]:
    """Relative error of the mean of the teacher's probabilities over the first n tokens: the store's and top-k's."""
    from counterpoint.teachers.problem_store import rows_of as stored_rows

    entries = watched.sums["exact"].shape[0]
    total, positions, means = torch.zeros(entries, dtype=torch.float64), 0, {}
    for number in range(len(rows)):
        index = torch.tensor([number])
        completions = stored_rows(stored, model, [rows[number]], index)[1]
        sparse = stored.answer([rows[number]], completions, index)
        ids, probs = sparse.ids[0], sparse.probs[0].double()
        place = 0
        while place < len(ids):
            end = min([len(ids)] + [place + n - positions for n in watched.at if n > positions])
            total.index_add_(0, ids[place:end].reshape(-1), probs[place:end].reshape(-1))
            positions += end - place
            place = end
            if positions in watched.at:
                means[positions] = total / positions
    errors: dict[str, dict[str, float]] = {}
    for n, seen in watched.seen.items():
        exact = seen["exact"]
        other = {"store": means[n], **{name: value for name, value in seen.items() if name != "exact"}}
        errors[str(n)] = {name: float((value - exact).norm() / exact.norm()) for name, value in other.items()}
    return errors


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    name = next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    return {"processor": name, "torch": torch.__version__, "python": platform.python_version()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true", help="a tiny model over 2,000 tokens")
    given = parser.parse_args()
    figures = measure(given.small)
    text = json.dumps(figures, indent=1)
    sys.stdout.write(text + "\n")
    if not given.small:
        RESULTS.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
