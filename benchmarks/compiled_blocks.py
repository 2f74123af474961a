"""What torch.compile makes of a training step's blocks: processor seconds a step with and without, in turns, in one process.

    python benchmarks/compiled_blocks.py > benchmarks/compiled_blocks.json

SmolLM2-135M-Instruct in float32, one thread, forward and backward of the completions' log-likelihood, eight batches of four rows
a turn. The first pass over the batches, which compiles, is not counted. Needs a C++ compiler.
"""

from __future__ import annotations

import json
import time
import warnings

import torch

from counterpoint.models.language.language import Language, load
from counterpoint.models.language.likelihood import completion_log_probs
from counterpoint.models.sharding import blocks_of

MODEL, BATCHES, TURNS = "smollm2-135m-instruct", 8, 3


def main() -> None:
    """Measure, print JSON."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    plain, compiled = load(MODEL), load(MODEL)
    for block in blocks_of(compiled.base):
        block.compile(dynamic=True)
    rows = [
        plain.rows(
            [f"What is {n} plus {n + batch}?" for n in range(4)],
            [f"It is {n * batch}, of course, as everybody knows." for n in range(4)],
        )
        for batch in range(BATCHES)
    ]

    def step(model: Language, batch: int) -> float:
        loss = -completion_log_probs(model, *rows[batch]).sum()
        loss.backward()
        model.zero_grad()
        return float(loss.detach())

    gap = max(abs(step(plain, batch) - step(compiled, batch)) for batch in range(BATCHES))
    seconds: dict[str, list[float]] = {"plain": [], "compiled": []}
    for _ in range(TURNS):
        for name, model in (("plain", plain), ("compiled", compiled)):
            start = time.process_time()
            for batch in range(BATCHES):
                step(model, batch)
            seconds[name].append(round((time.process_time() - start) / BATCHES, 3))
    print(json.dumps({
        "model": MODEL, "torch": torch.__version__, "threads": 1, "rows": 4, "tokens": rows[0][0].width + rows[0][1].width,
        "processor_seconds_a_step": seconds, "largest_difference_of_losses": gap,
    }, indent=1))  # fmt: skip


if __name__ == "__main__":
    main()
