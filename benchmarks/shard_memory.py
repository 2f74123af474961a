"""Peak memory of each process of a run whose weights are in shards, on one, two and four CPU processes.

    python benchmarks/shard_memory.py [sft|dpo] [processes ...]

Prints a table and writes its lines into shard_memory.json beside this file. Writes a model of 78 million weights (312 MB in 32 bits) into a temporary
folder and trains all of it for two steps, from loading to the saved folder: sft on rows of about 25 tokens, then sft and dpo on rows of 500,
of which dpo has a chosen and a rejected one. "held" is the peak of memory that the system cannot take back (RssAnon, read every 10 ms),
"resident" that of all (VmHWM); both above what a process holds that has imported everything and trained a model of a few thousand
weights. "counted" is what ``counterpoint plan`` says of a process; where a stage scores pairs, of the 8 that the two steps use. Freed memory goes back to the system at once (MALLOC_MMAP_THRESHOLD_),
so that what is used is seen, and not what malloc keeps.
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
from dataclasses import replace
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_suffix(".json")
SHORT = "worked-sums?size=16&validation=2&test=2&digits=1"
WORKLOADS = (("sft", "problems", 25), ("sft", "problems", 500), ("dpo", "preferences", 500))
"""Methods, the kind of data they learn from, and about how many tokens a sequence has."""
BATCH = 4
STEPS = 2


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


def rows(folder: Path, kind: str, length: int) -> str:
    """Data with sequences of so many characters, each a token."""
    if length < 100:
        return SHORT
    columns = ("completion",) if kind == "problems" else ("chosen", "rejected")
    lines = []
    for number in range(40):
        prompt = f"{number}+{number}="
        answers = {
            name: (str(number + at) * length)[: length - len(prompt) - 1] for at, name in enumerate(columns)
        }
        lines.append(json.dumps({"prompt": prompt, **answers}))
    path = folder / f"{kind}-{length}.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def counted(model: Path, key: str, length: int, processes: int) -> int:
    """What ``counterpoint plan`` says of a process, in MB."""
    from counterpoint.methods.catalog import load
    from counterpoint.models.activations import activations_of
    from counterpoint.models.sizes import sizes_of
    from counterpoint.study.memory import Demand, Setup, needed

    demand = Demand.of(load(key).settings(batch_size=BATCH))
    if demand.staged:  # the rows of the two steps are all that is scored
        demand = replace(demand, staged=min(demand.staged, STEPS * BATCH * demand.sequences))
    setup = Setup(processes=processes, shard=processes > 1, lora_rank=0, rows=BATCH, length=length)
    return round(sum(needed(sizes_of(model), setup, demand, activations_of(model)).values()) / 1e6)


def status(name: str) -> float:
    """A figure of this process, in MB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024 / 1e6


def one(key: str, kind: str, data: str, model: Path, out: Path) -> None:
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
    settings = {"batch_size": BATCH, "lora_rank": 0, "learning_rate": 1e-4}
    recipe = recipe_of(
        load(key).settings(**settings), kind, seed=1, shard="fsdp", data=data, model=str(model),
        budget={"steps": STEPS}, splits=(),
    )  # fmt: skip
    execute(recipe, out, progress=False, checkpoint_seconds=1e9)
    held, resident = peak[0] - before["RssAnon"], status("VmHWM") - before["VmRSS"]
    rank = int(os.environ.get("RANK", "0"))
    print(json.dumps({"rank": rank, "held": round(held), "resident": round(resident)}), flush=True)


def main() -> None:
    """Every number of processes, one after the other."""
    counts = [int(each) for each in sys.argv[1:] if each.isdigit()] or [1, 2, 4]
    keys = [each for each in sys.argv[1:] if not each.isdigit()] or [key for key, _, _ in WORKLOADS]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "MALLOC_MMAP_THRESHOLD_": str(2**20),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "model")
        print("| run | processes | held by each | resident, the largest | counted |\n|---|---|---|---|---|")
        for key, kind, length in WORKLOADS:
            if key not in keys:
                continue
            data = rows(folder, kind, length)
            for count in counts:
                start = (
                    ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
                    if count > 1
                    else []
                )
                what = [key, kind, data, str(folder / "model"), str(folder / f"{key}-{length}-{count}")]
                done = subprocess.run(
                    [sys.executable, *start, __file__, "--one", *what],
                    env=environment | {"COUNTERPOINT_CACHE": str(folder / f"cache-{key}-{length}-{count}")},
                    capture_output=True, text=True, check=True,
                )  # fmt: skip
                lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"rank"')]
                assert len(lines) == count, done.stdout
                held = [line["held"] for line in sorted(lines, key=lambda line: line["rank"])]
                record(
                    {
                        "key": key, "tokens": length, "processes": count, "held": held,
                        "resident": max(line["resident"] for line in lines),
                        "counted": counted(folder / "model", key, length, count),
                    }
                )  # fmt: skip


def record(run: dict[str, Any]) -> None:
    """Print a run's line, and put it into the file in the place of an earlier one."""
    held = ", ".join(map(str, run["held"]))
    print(
        f"| {run['key']}, {run['tokens']} tokens | {run['processes']} | {held} MB | {run['resident']} MB | {run['counted']} MB |",
        flush=True,
    )
    there = json.loads(RESULTS.read_text(encoding="utf-8"))["runs"] if RESULTS.exists() else []
    same = ("key", "tokens", "processes")
    others = [each for each in there if any(each[name] != run[name] for name in same)]
    runs = sorted([*others, run], key=lambda each: (each["tokens"], each["key"] != "sft", each["processes"]))
    RESULTS.write_text(json.dumps({"unit": "MB", "runs": runs}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(*sys.argv[2:5], Path(sys.argv[5]), Path(sys.argv[6]))
    else:
        main()
