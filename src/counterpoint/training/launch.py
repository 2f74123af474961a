"""What a run takes hold of when it starts: the processes and precision, through Accelerate, its modules, and its folder, alone."""

from __future__ import annotations

import fcntl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from counterpoint.errors import CounterpointError
from counterpoint.training import distributed
from counterpoint.training.microbatch import refuse_batch_norm

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


def prepare(module: nn.Module, device: torch.device, world: int) -> nn.Module:
    """Move a trained module to the device; over several processes, give all of them the first one's weights.

    Raises:
        CounterpointError: batch normalisation where its statistics cannot be shared over processes.
    """
    module = module.to(device)
    if world > 1:
        if device.type == "cuda":
            module = nn.SyncBatchNorm.convert_sync_batchnorm(module)
        else:
            refuse_batch_norm(module, f"{world} processes")
        distributed.broadcast(module)
    return module


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
