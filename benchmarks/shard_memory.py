"""Peak memory of each process of a run whose weights are in shards, on one, two and four CPU processes.

    python benchmarks/shard_memory.py [processes ...]

Prints a table and writes shard_memory.json beside this file. Writes a model of 78 million weights (312 MB in 32 bits) into a temporary folder and trains all of it for two steps of sft, from
loading to the saved folder. "held" is the peak of memory that the system cannot take back (RssAnon, read every 10 ms), "resident" that
of all (VmHWM); both above what a process holds that has imported everything and trained a model of a few thousand weights.
Freed memory goes back to the system at once (MALLOC_MMAP_THRESHOLD_), so that what is used is seen, and not what malloc keeps.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

RESULTS = Path(__file__).with_suffix(".json")
DATA = "worked-sums?size=16&validation=2&test=2&digits=1"


def write(folder: Path) -> None:
    """The model, untrained."""
    import torch
    from transformers import AutoModelForCausalLM

    from counterpoint.models.language.characters import tiny
    from counterpoint.models.language.language import Language

    small = tiny(seed=0)
    config = copy.deepcopy(small.config)
    config.hidden_size, config.intermediate_size, config.num_hidden_layers = 768, 2048, 11
    config.num_attention_heads = config.num_key_value_heads = 12
    config.head_dim, config.layer_types = 64, None
    torch.manual_seed(0)
    Language(AutoModelForCausalLM.from_config(config), small.tokenizer).save(folder)


def status(name: str) -> float:
    """A figure of this process, in MB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024 / 1e6


def one(model: Path, out: Path) -> None:
    """A process of the run: train, then print its peaks."""
    import torch
    import torch.distributed.checkpoint
    import torch.distributed.fsdp

    from counterpoint.methods.catalog import load
    from counterpoint.models.language.characters import tiny
    from counterpoint.study.recipe import recipe_of
    from counterpoint.study.single import execute

    torch.set_num_threads(1)
    small, ids = tiny(seed=0), torch.ones(1, 4, dtype=torch.long)
    small(ids, ids).sum().backward()
    torch.optim.AdamW(small.parameters()).step()
    before, peak = {name: status(name) for name in ("RssAnon", "VmRSS")}, [0.0]

    def watch() -> None:
        while True:
            peak[0] = max(peak[0], status("RssAnon"))
            time.sleep(0.01)

    threading.Thread(target=watch, daemon=True).start()
    settings = {"batch_size": 4, "lora_rank": 0, "learning_rate": 1e-4}
    recipe = recipe_of(
        load("sft").settings(**settings), "problems", seed=1, shard="fsdp", data=DATA, model=str(model),
        budget={"steps": 2}, splits=(),
    )  # fmt: skip
    execute(recipe, out, progress=False, checkpoint_seconds=1e9)
    held, resident = peak[0] - before["RssAnon"], status("VmHWM") - before["VmRSS"]
    rank = int(os.environ.get("RANK", "0"))
    print(json.dumps({"rank": rank, "held": round(held), "resident": round(resident)}), flush=True)


def main() -> None:
    """Every number of processes, one after the other."""
    counts = [int(each) for each in sys.argv[1:]] or [1, 2, 4]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "MALLOC_MMAP_THRESHOLD_": str(2**20),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "model")
        print("| processes | held by each | resident, the largest |\n|---|---|---|")
        found = {}
        for count in counts:
            start = (
                ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
                if count > 1
                else []
            )
            command = [sys.executable, *start, __file__, "--one", f"{folder}/model", f"{folder}/{count}"]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"rank"')]
            assert len(rows) == count, done.stdout
            held = ", ".join(str(row["held"]) for row in sorted(rows, key=lambda row: row["rank"]))
            print(f"| {count} | {held} MB | {max(row['resident'] for row in rows)} MB |", flush=True)
            found[count] = sorted(rows, key=lambda row: row["rank"])
    RESULTS.write_text(json.dumps({"unit": "MB", "processes": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
