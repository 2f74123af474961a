"""What a run takes hold of when it starts: the processes and precision, through Accelerate, its modules, and its folder, alone."""

from __future__ import annotations

import atexit
import contextlib
import errno
import fcntl
import gc
import logging
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import GradientAccumulationPlugin, LoggerType
from torch import nn

from counterpoint.errors import CounterpointError, FolderInUse, nearest
from counterpoint.models import sharding
from counterpoint.training import distributed, meeting
from counterpoint.training.microbatch import refuse_batch_norm

REPLICATED = ("NO", "MULTI_CPU", "MULTI_GPU", "MULTI_NPU", "MULTI_XPU", "MULTI_MLU", "MULTI_HPU")
SHARDING = (
    *("ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_FSDP", "ACCELERATE_USE_MEGATRON_LM"),
    "ACCELERATE_USE_PARALLELISM_CONFIG",
)
"""What accelerate launch sets for engines that shard the model; of FSDP the second version is ours (``sharded_launch``)."""
ACCUMULATION = "ACCELERATE_GRADIENT_ACCUMULATION_STEPS"
"""What a launcher's configuration says of micro-batches. Accelerate divides every loss by it, whether or not steps are accumulated."""

M = TypeVar("M", bound=nn.Module)
logger = logging.getLogger("counterpoint")


def versions() -> dict[str, str]:
    """Of what decides how a run is computed."""
    return {name: version(name) for name in ("counterpoint", "torch", "transformers", "accelerate")}


def agree(out: Path) -> None:
    """See that all processes of a launch have the same versions, and see the folder that the first one writes.

    Raises:
        CounterpointError: on all of them, when one has others, or another folder.
    """
    rank, world = meeting.meet()
    if world == 1:
        return
    token = out / f".seen-{secrets.token_hex(8)}"
    fresh = [path for path in (out, *out.parents) if not path.exists()]
    written = rank == 0
    if written:
        try:
            out.mkdir(parents=True, exist_ok=True)
            token.touch()
        except OSError:  # what is wrong with the folder is said where it is claimed
            written = False
    name = meeting.exchange(token.name if written else None)[0]
    answers = meeting.exchange([versions(), name is None or (out / name).exists()])
    if written:
        token.unlink()
        for path in fresh:
            with contextlib.suppress(OSError):  # something else is in it by now
                path.rmdir()
    own = answers[0][0]
    for other, (theirs, seen) in enumerate(answers):
        unlike = [f"{name} {theirs[name]}" for name in own if theirs[name] != own[name]]
        if unlike:
            raise CounterpointError(
                f"process {other} has {', '.join(unlike)}, and the first has {', '.join(f'{name} {own[name]}' for name in own)}: "
                "install the same versions on every machine"
            )
        if not seen:
            raise CounterpointError(
                f"process {other} does not see what the first process writes in {out}; --out must lie on a disk that all machines share"
            )


def _leave() -> None:
    """End the process group's threads before the interpreter ends.

    A thread of the group drops the tensors of a collective when it is through with it, and waits for the interpreter's lock to
    do so. If the interpreter is shut down meanwhile, CPython ends the waiting thread by unwinding it, which C++ answers with
    std::terminate: "terminate called without an active exception". The threads end with the last reference to the group.
    """
    if dist.is_initialized():
        group = dist.group.WORLD
        dist.destroy_process_group()
        _let_go(group)
        del group
        gc.collect()  # cycles, such as a run and its modules, may hold the group and so its threads


def _let_go(group: Any) -> None:
    """Take the group out of default arguments: functions defined after it was made have it as ``group=group.WORLD``."""
    module = sys.modules.get("torch.distributed.nn.functional")
    for function in tuple(vars(module).values()) if module else ():
        defaults = getattr(function, "__defaults__", None) or ()
        if any(value is group for value in defaults):
            function.__defaults__ = tuple(None if value is group else value for value in defaults)


def check_trackers(trackers: Sequence[str]) -> None:
    """See that trackers are known and installed.

    Raises:
        CounterpointError: an unknown name, with the nearest one, or a tracker that is not installed.
    """
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    names = [str(LoggerType(name).value) for name in LOGGER_TYPE_TO_CLASS]
    there = {str(LoggerType(name).value) for name in get_available_trackers()}
    for name in trackers:
        if name not in names:
            raise CounterpointError(f"there is no tracker '{name}'; {nearest(name, names)}")
        if name not in there:
            raise CounterpointError(f"the tracker '{name}' is not installed: pip install {name}")


def _on(name: str) -> bool:
    return os.environ.get(name, "").lower() in ("1", "true", "yes")


def sharded_launch() -> bool:
    """Whether the launcher's configuration asks for FSDP2. It is read once: Accelerate must not prepare models for it itself."""
    if _on("ACCELERATE_USE_FSDP") and os.environ.get("FSDP_VERSION") == "2":
        os.environ["COUNTERPOINT_SHARD"] = "fsdp"
        del os.environ["ACCELERATE_USE_FSDP"]
    return os.environ.get("COUNTERPOINT_SHARD") == "fsdp"


def mesh(shard: bool, precision: str, device: torch.device, world: int) -> Any:
    """The processes over which weights are sharded; None where nothing is.

    Raises:
        CounterpointError: a precision that cannot be had, or a torch too old for it.
    """
    if not (shard or sharded_launch()) or world == 1:
        return None
    if precision == "fp16":
        raise CounterpointError("precision fp16 is not for sharded weights; use bf16")
    if tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2]) < (2, 13):
        raise CounterpointError(f"sharded weights need torch 2.13 or later, and this is {torch.__version__}")
    return sharding.mesh_of(device)


def sharded(thing: Any, mesh: Any, precision: str) -> list[Any]:
    """Shard every language model in a thing that is not yet; return all that are."""
    from counterpoint.models.language.running import Running

    if mesh is None:
        return []
    held = thing if isinstance(thing, nn.Module) else getattr(thing, "model", None)
    for module in list(held.modules()) if isinstance(held, nn.Module) else ():
        if isinstance(module, Running) and not sharding.shards_of(module):
            sharding.shard(module, mesh, sharding.policy_of(precision))
    return sharding.sharded_in(thing)


def shard_like(thing: M, other: nn.Module) -> M:
    """Shard every language model in a thing over the processes, and in the types, of another one."""
    from counterpoint.models.language.running import Running

    record = sharding.shards_of(other)
    assert record is not None
    for module in list(thing.modules()):
        if isinstance(module, Running):
            sharding.shard(module, record.mesh, record.policy)
    return thing


def tracked(configuration: Mapping[str, Any]) -> dict[str, str | int | float | bool]:
    """A run's configuration as every tracker takes it: names with numbers, truth values or text.

    >>> tracked({"temperature": 0.1, "betas": [0.9, 0.99], "teacher": None})
    {'temperature': 0.1, 'betas': '[0.9, 0.99]', 'teacher': 'None'}
    """
    return {
        name: value if isinstance(value, str | int | float) else str(value)
        for name, value in configuration.items()
    }


def begin_trackers(
    accelerator: Accelerator, trackers: Sequence[str], configuration: Mapping[str, Any]
) -> None:
    """Start the trackers of a run as project ``counterpoint``.

    Raises:
        CounterpointError: one of them refuses to start, such as a store that cannot be reached.
    """
    try:
        accelerator.init_trackers("counterpoint", config=tracked(configuration))
    except Exception as error:  # each program has errors of its own
        reason = " ".join(str(error).split())[:400]
        raise CounterpointError(
            f"--tracker {' '.join(trackers)} could not be started: {type(error).__name__}: {reason}"
        ) from error


def where_tracked(name: str, out: Path) -> str:
    """A line on where a tracker's figures go: into the run's folder, or where the tracker's own configuration says."""
    if name == "tensorboard":
        return f"tracker tensorboard: tensorboard --logdir {out / 'counterpoint'}"
    settings = {
        "wandb": "WANDB_ENTITY, WANDB_MODE, WANDB_DIR",
        "mlflow": "MLFLOW_TRACKING_URI",
        "trackio": "TRACKIO_DIR, TRACKIO_SPACE_ID",
    }.get(name, "its own settings")
    return f"tracker {name}: project 'counterpoint', where {settings} say"


def accelerator(precision: str, trackers: Sequence[str], out: Path) -> Accelerator:
    """Accelerate's view of this process, on the CPU when there is nothing faster.

    Raises:
        CounterpointError: the launcher's configuration shards the model (FSDP, DeepSpeed); checkpoints and objectives
            read whole weights; a tracker that is not there.
    """
    check_trackers(trackers)
    _, size = meeting.meet()
    sharded_launch()
    for name in SHARDING:
        if _on(name):
            raise CounterpointError(
                f"the environment holds {name}={os.environ[name]}; weights are sharded by FSDP2 alone (fsdp_version: 2 in the "
                "launcher's configuration, or --shard fsdp under torchrun), else whole on every device: unset it"
            )
    if os.environ.get(ACCUMULATION, "1").strip() not in ("", "1", "auto"):
        logger.warning(
            "%s=%s changes nothing: a step is a method's whole batch, and --micro-batch-size says how much of it is held at once",
            ACCUMULATION, os.environ[ACCUMULATION],
        )  # fmt: skip
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != precision:
        AcceleratorState._reset_state()
    if distributed.world()[1] == 1:
        meeting.together()  # torch would wait half an hour for one that is gone
    made = Accelerator(
        mixed_precision=precision,
        cpu=not torch.accelerator.is_available(),
        log_with=list(trackers) or None,
        project_dir=str(out) if trackers else None,
        step_scheduler_with_optimizer=False,
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
    )
    if size > 1:
        meeting.part()
        atexit.unregister(_leave)
        atexit.register(_leave)
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
    module = sharding.to_device(module, device)
    if world > 1:
        if device.type == "cuda":
            module = nn.SyncBatchNorm.convert_sync_batchnorm(module)
        else:
            refuse_batch_norm(module, f"{world} processes")
        distributed.broadcast(module)
    return module


def hold(out: Path) -> Any:
    """Hold a run's folder until the handle that the first process is given is closed, or that process ends in any way.

    Raises:
        FolderInUse: on all processes of a launch, when another one holds it.
    """
    handle, refused = None, None
    if distributed.world()[0] == 0:
        try:
            handle = lock(out)
        except FolderInUse as error:
            refused = str(error)
    refused = meeting.exchange(refused)[0]
    if refused is not None:
        raise FolderInUse(refused)
    return handle


def lock(out: Path) -> Any:
    """As ``hold``, by this process for itself."""
    handle = (out / ".lock").open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            logger.warning(
                "the disk of %s cannot lock files (%s): nothing keeps a second process from running in it", out, error.strerror
            )  # fmt: skip
            return handle
        handle.close()
        raise FolderInUse(
            f"another process is running in {out}; wait for it, or choose another --out"
        ) from None
    return handle
