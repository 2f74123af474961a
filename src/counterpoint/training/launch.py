"""What a run takes hold of when it starts: the processes and precision, through Accelerate, and its folder, alone."""

from __future__ import annotations

import fcntl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from counterpoint.errors import CounterpointError

REPLICATED = ("NO", "MULTI_CPU", "MULTI_GPU", "MULTI_NPU", "MULTI_XPU", "MULTI_MLU", "MULTI_HPU")


def accelerator(precision: str, trackers: Sequence[str], out: Path) -> Accelerator:
    """Accelerate's view of this process, on the CPU when there is nothing faster.

    Raises:
        CounterpointError: the launcher's configuration shards the model (FSDP, DeepSpeed); checkpoints and objectives
            read whole weights.
    """
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != precision:
        AcceleratorState._reset_state()
    made = Accelerator(
        mixed_precision=precision,
        cpu=not torch.accelerator.is_available(),
        log_with=list(trackers) or None,
        project_dir=str(out) if trackers else None,
        step_scheduler_with_optimizer=False,
    )
    if made.distributed_type.value not in REPLICATED:
        raise CounterpointError(
            f"the launch configuration asks for {made.distributed_type.value}; runs are data-parallel, with whole weights on "
            "every device: use accelerate launch --multi_gpu, or torchrun"
        )
    return made


def lock(out: Path) -> Any:
    """Hold a run's folder until the returned handle is closed, or the process ends in any way.

    Raises:
        CounterpointError: another process holds it.
    """
    handle = (out / ".lock").open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        raise CounterpointError(
            f"another process is running in {out}; wait for it, or choose another --out"
        ) from None
    return handle
