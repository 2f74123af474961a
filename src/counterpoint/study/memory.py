"""What a run of a method on a language model needs of memory, process by process, before anything is loaded.

Weights, gradients, moments and copies are counted from the model's configuration, and what a forward keeps for its backward by
running it without storage (``models.activations``). Of a model that cannot be run so, that is estimated: 34 bytes a token, layer and unit of
width in 16 bits (Korthikanti et al., 2205.05198, eq. 2, without attention scores, which fused attention never writes), twice that in 32.
Logits, what a backward works with, buffers of the allocator and what loading and libraries hold are not counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch

from counterpoint.errors import CounterpointError
from counterpoint.models.activations import Activations
from counterpoint.models.sizes import Sizes

ACTIVATIONS = 34 / 2
"""Of a token, layer and unit of width, in elements, where a model cannot say it."""
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
SENT = 2
"""Blocks' gradients that are whole at once in a sharded backward: a block's own, and the buffer that they are sent from."""


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
        if wrong or self.lora_rank < 0 or self.dtype not in TYPES:
            raise CounterpointError(
                f"{self}: processes, rows, micro and length are 1 or more, lora_rank 0 or more, dtype fp32 or bf16"
            )


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What a method does with a model.

    Attributes:
        copies: of the model that it holds beside it. samples: whether it lets the model write.
        sequences: that a row becomes, ``Method.sequences``: 2 of a pair, as many as there are answers of a group.
        staged: sequences that pass the model at once in a durable stage, ``Method.staged``.
    """

    copies: int = 0
    samples: bool = False
    sequences: float = 1.0
    staged: float = 0.0

    @classmethod
    def of(cls, method: Any) -> Self:
        """A method's, by its settings."""
        return cls(
            copies=method.copies,
            samples=hasattr(method, "max_new_tokens"),
            sequences=method.sequences(),
            staged=method.staged(),
        )


def peaks(
    sizes: Sizes, setup: Setup, demand: Demand | None = None, activations: Activations | None = None
) -> dict[str, dict[str, float]]:
    """Bytes of one process, part by part, at every time that may need most.

    Args:
        sizes: of the model. demand: the method's; one that trains the model on rows as they are where it is None.
        activations: what the model keeps of a batch, in the weights' type; estimated where it is None.

    >>> sizes = Sizes(total=1100, root=100, block=100, blocks=10, width=8, vocabulary=10, linear=40)
    >>> list(peaks(sizes, Setup(), Demand(samples=True, staged=128)))
    ['forward', 'backward begins', 'backward ends', 'step', 'sampling', 'scoring']
    """
    demand = demand or Demand()
    parts, kind = setup.processes if setup.shard else 1, TYPES[setup.dtype].itemsize
    trained = sizes.linear * setup.lora_rank if setup.lora_rank else sizes.total
    base = sizes.total + (trained if setup.lora_rank else 0)
    width = 4 if setup.lora_rank else kind  # adapters are in 32 bits over any base
    saved = activations or Activations(ACTIVATIONS * sizes.blocks * sizes.width * kind, 0.0, 0.0)
    here = math.ceil(-(-setup.rows // setup.processes) * demand.sequences)
    at_once = min(here, setup.micro or here)

    def pass_of(sequences: float) -> float:
        """What blocks keep of so many sequences for the backward."""
        return sequences * setup.length * (saved.token + setup.length * saved.square)

    block = pass_of(at_once) / sizes.blocks
    whole = pass_of(at_once)
    if setup.recompute:  # the states before every block, and what one keeps
        whole = at_once * setup.length * sizes.blocks * sizes.width * kind + block
    # Hidden states of every sequence, for losses over the whole batch.
    states = here * setup.length * sizes.width * kind
    held = {
        "weights": sizes.total * kind / parts + (trained * width / parts if setup.lora_rank else 0.0),
        "moments": 2.0 * trained * width / parts,
        "copies": demand.copies * trained * width / parts,
    }
    gradients = trained * width / parts
    early = gradients if at_once < here else 0.0  # those of the pieces that went before
    gathered, first, last = 0.0, 0.0, 0.0
    if setup.shard:  # blocks come and go; embedding and head are whole from a forward to its backward, and their gradients are
        gathered = float((sizes.root + 2 * sizes.block) * kind * (1 + demand.copies))
        of_block = width * (trained / sizes.blocks if setup.lora_rank else sizes.block)
        of_root = 0.0 if setup.lora_rank else width * sizes.root
        first, last = SENT * of_block + of_root, SENT * of_block + 2 * of_root
    times: dict[str, dict[str, float]] = {
        "forward": {"gradients": early, "activations": whole + states, "gathered": gathered},
        "backward begins": {
            "gradients": max(early, gradients / sizes.blocks),
            "activations": whole - (0.0 if setup.recompute else block) + states,
            "gathered": gathered + first,
        },
        "backward ends": {"gradients": gradients, "activations": block, "gathered": gathered + last},
        # The optimiser makes one tensor more for every trained weight.
        "step": {"gradients": gradients, "step": trained * width / parts},
    }
    times = {name: held | each for name, each in times.items()}

    def without_gradient(sequences: float, models: int) -> dict[str, float]:
        """Keys and values of sequences, what one block works with, and the weights that are whole."""
        blocks = pass_of(sequences) / sizes.blocks + sequences * setup.length * saved.cached
        return {"activations": blocks, "gathered": float(models * base * kind) if setup.shard else 0.0}

    if demand.samples:
        times["sampling"] = held | without_gradient(at_once, 1)
    if demand.staged:
        # Rows go together, so that a limit is one of rows. Nothing was trained before, where nothing is sampled.
        staged = min(demand.staged, (setup.micro or math.inf) * max(demand.sequences, 1.0))
        before = held if demand.samples else held | {"moments": 0.0}
        times["scoring"] = before | without_gradient(staged, 1 + demand.copies)
    return times


def needed(
    sizes: Sizes, setup: Setup, demand: Demand | None = None, activations: Activations | None = None
) -> dict[str, float]:
    """Bytes of one process, part by part, at the time that needs most; ``sum`` of the values is the whole. See ``peaks``.

    >>> sizes = Sizes(total=1100, root=100, block=100, blocks=10, width=8, vocabulary=10, linear=40)
    >>> alone = needed(sizes, Setup(lora_rank=0, rows=1, length=1))
    >>> alone["weights"], alone["gradients"], alone["moments"], alone["step"]
    (4400.0, 4400.0, 8800.0, 4400.0)
    >>> spread = needed(sizes, Setup(lora_rank=0, rows=4, length=1, processes=4, shard=True))
    >>> spread["weights"], spread["gathered"]
    (1100.0, 2400.0)
    """
    return max(peaks(sizes, setup, demand, activations).values(), key=lambda each: sum(each.values()))


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
