"""What a run of a method on a language model needs of memory, process by process, before anything is loaded.

Weights, gradients, moments and copies are counted from the model's configuration. Activations are estimated: 34 bytes a token,
layer and unit of width in 16 bits (Korthikanti et al., 2205.05198, eq. 2, without attention scores, which fused attention
never writes), twice that in 32. Buffers of the allocator and of the communication are not counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from counterpoint.errors import CounterpointError
from counterpoint.models.sizes import Sizes

ACTIVATIONS = 34 / 2
"""Of a token, layer and unit of width, in elements."""
BYTES: dict[str, int] = {"fp32": 4, "bf16": 2}


@dataclass(frozen=True, kw_only=True)
class Setup:
    """How a run is spread.

    Attributes:
        processes: of the launch. shard: whether each holds a part of the weights only.
        dtype: of the weights. lora_rank: 0 trains every weight.
        rows: of the global batch. micro: sequences of a process at once. length: tokens of a sequence. recompute: of activations by block.
    """

    processes: int = 1
    shard: bool = False
    dtype: Literal["fp32", "bf16"] = "fp32"
    lora_rank: int = 64
    rows: int = 32
    micro: int | None = None
    length: int = 1024
    recompute: bool = False

    def __post_init__(self) -> None:
        wrong = [n for n in ("processes", "rows", "length") if getattr(self, n) < 1]
        wrong += ["micro"] if self.micro is not None and self.micro < 1 else []
        if wrong or self.lora_rank < 0 or self.dtype not in BYTES:
            raise CounterpointError(
                f"{self}: processes, rows, micro and length are 1 or more, lora_rank 0 or more, dtype fp32 or bf16"
            )


def needed(
    sizes: Sizes, setup: Setup, *, copies: int = 0, samples: bool = False, sequences: float = 1.0
) -> dict[str, float]:
    """Bytes of one process, part by part, at the moment that needs most; ``sum`` of the values is the whole.

    Args:
        sizes: of the model. copies: of it that the method holds beside it. samples: whether the method lets the model write.
        sequences: that a row becomes, ``Method.sequences``: 2 of a pair, as many as there are answers of a group.

    >>> sizes = Sizes(total=1100, root=100, block=100, blocks=10, width=8, vocabulary=10, linear=40)
    >>> alone = needed(sizes, Setup(lora_rank=0, rows=1, length=1))
    >>> alone["weights"], alone["gradients"], alone["moments"]
    (4400.0, 4400.0, 8800.0)
    >>> spread = needed(sizes, Setup(lora_rank=0, rows=4, length=1, processes=4, shard=True))
    >>> spread["weights"], spread["gathered"]
    (1100.0, 1200.0)
    """
    parts, kind = setup.processes if setup.shard else 1, BYTES[setup.dtype]
    trained = sizes.linear * setup.lora_rank if setup.lora_rank else sizes.total
    base = sizes.total + (trained if setup.lora_rank else 0)
    width = 4 if setup.lora_rank else kind  # adapters are in 32 bits over any base
    here = math.ceil(-(-setup.rows // setup.processes) * sequences)
    at_once = min(here, setup.micro or here)
    tokens = at_once * setup.length
    layers = 1 + 2 / ACTIVATIONS * sizes.blocks if setup.recompute else sizes.blocks
    states = (
        here * setup.length * sizes.width * kind
    )  # hidden states of every sequence, for losses over the whole batch
    needs = {
        "weights": sizes.total * kind / parts + (trained * width / parts if setup.lora_rank else 0.0),
        "gradients": trained * width / parts,
        "moments": 2.0 * trained * width / parts,
        "copies": copies * trained * width / parts,
        "activations": tokens * layers * sizes.width * ACTIVATIONS * kind + states,
    }
    if setup.shard:
        around = (sizes.root + 2 * sizes.block) * kind * (1 + copies)
        # While it trains, blocks come and go; while it samples, all weights are there, and no activations.
        writing = base * kind if samples else 0.0
        needs["gathered"] = float(max(around, writing - needs["activations"]))
    # The optimiser's step makes one tensor more for every trained weight, when activations are gone.
    needs["step"] = max(trained * width / parts - needs["activations"], 0.0)
    return needs


def fits(needs: Mapping[str, float], memory: float) -> bool:
    """Whether a process with so many bytes holds them, with a tenth left for what is not counted."""
    return sum(needs.values()) <= 0.9 * memory


def launch(key: str, model: str, setup: Setup, data: str = "DATA") -> str:
    """The command line that runs a method so."""
    options = [
        f"--data {data} --model {model} --out OUT --lora-rank {setup.lora_rank} --batch-size {setup.rows}"
    ]
    options += [f"--micro-batch-size {setup.micro}"] if setup.micro else []
    options += ["--model-option recompute=true"] if setup.recompute else []
    options += ["--model-option dtype=bf16"] if setup.dtype == "bf16" else []
    options += ["--shard fsdp"] if setup.shard else []
    start = f"torchrun --nproc-per-node {setup.processes} -m " if setup.processes > 1 else ""
    return f"{start}counterpoint run {key} {' '.join(options)}"
