"""Checkpoints that all processes write and read: each its own shards, through torch.distributed.checkpoint, as safetensors.

The folder is published as every other one is: written aside, checksummed, renamed. Any number of processes reads it, also
one; ``structure.json`` is that of ``tree``, and ``shards.json`` says the shape and type of every tensor.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.models import sharding
from counterpoint.training import tree
from counterpoint.training.durable import MANIFEST, checksum, publish

SHARDS = "shards.json"


def write_folder(target: Path, fill: Callable[[Path], object]) -> None:
    """As ``durable.write_folder``, by all processes: ``fill`` is called by each, every one sums its part of the files.

    Raises:
        CounterpointError: on every process, when one of them could not write. What was saved before is whole.
    """
    rank, world = dist.get_rank(), dist.get_world_size()
    aside = target.parent / f".writing-{target.name}-together"

    def fresh() -> None:
        for stale in target.parent.glob(f".writing-{target.name}-*"):
            shutil.rmtree(stale, ignore_errors=True)
        aside.mkdir(parents=True)

    def finish() -> None:
        named = dict(pair for part in sums for pair in part)
        (aside / MANIFEST).write_text(json.dumps(named, indent=1), encoding="utf-8")
        publish(aside, target)

    _agree(fresh if rank == 0 else None, target)
    _agree(lambda: fill(aside), target)
    files = sorted(path for path in aside.rglob("*") if path.is_file())[rank::world]
    sums: list[Any] = [None] * world
    dist.all_gather_object(sums, [(str(path.relative_to(aside)), checksum(path)) for path in files])
    _agree(finish if rank == 0 else None, target)


def write(state: Any, folder: Path) -> None:
    """Write a tree of state: of sharded tensors every process its part, of what all hold one copy."""
    import torch.distributed.checkpoint as dcp

    structure, tensors = tree.encode(state)
    notes = {name: _note(tensor) for name, tensor in tensors.items()}
    whole = {
        name: each if sharding.is_shard(each) else each.cpu().contiguous() for name, each in tensors.items()
    }
    dcp.save(whole, storage_writer=dcp.HuggingFaceStorageWriter(str(folder), save_distributed=True))
    if dist.get_rank() == 0:
        (folder / tree.STRUCTURE).write_text(json.dumps(structure), encoding="utf-8")
        (folder / SHARDS).write_text(json.dumps(notes), encoding="utf-8")


def read(folder: Path, mesh: Any = None) -> Any:
    """Read what ``write`` wrote: with a mesh each process the shards that are its own now, without one everything, whole."""
    import torch.distributed.checkpoint as dcp
    from torch.distributed.tensor import Shard, empty

    try:
        structure = json.loads((folder / tree.STRUCTURE).read_text(encoding="utf-8"))
        notes = json.loads((folder / SHARDS).read_text(encoding="utf-8"))
        tensors: dict[str, Tensor] = {}
        for name, note in notes.items():
            kind, shape = getattr(torch, note["dtype"]), note["shape"]
            if note["sharded"] and mesh is not None:
                tensors[name] = empty(*shape, dtype=kind, device_mesh=mesh, placements=[Shard(0)])
            else:
                tensors[name] = torch.empty(shape, dtype=kind)
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message=".*assuming the intent is to load in a single process.*"
            )
            dcp.load(tensors, storage_reader=dcp.HuggingFaceStorageReader(str(folder)), no_dist=mesh is None)
        return tree.decode(structure, tensors)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        raise CounterpointError(f"{folder} cannot be read as saved state ({reason}); remove it") from None


def newest(
    folders: list[Path], damage: Callable[[Path], str | None]
) -> tuple[Path | None, list[tuple[Path, str]]]:
    """The newest whole folder, as the first process finds it, and the later ones with their faults."""
    result: list[Any] = [None]
    if dist.get_rank() == 0:
        faults, good = [], None
        for folder in reversed(folders):
            fault = damage(folder)
            if fault is None:
                good = folder
                break
            faults.append((folder, fault))
        result = [(good, faults)]
    dist.broadcast_object_list(result, src=0)
    return result[0]


def _agree(action: Callable[[], object] | None, target: Path) -> None:
    """Do something on each process, and leave together when it failed on one: nobody waits for a process that is gone."""
    problem: str | None = None
    try:
        if action is not None:
            action()
    except Exception as error:  # whatever it is, every process has to know
        problem = f"{type(error).__name__}: {error}"
    problems: list[str | None] = [None] * dist.get_world_size()
    dist.all_gather_object(problems, problem)
    first = next((each for each in problems if each), None)
    if first is not None:
        raise CounterpointError(f"{target} could not be written ({first}); what was saved before is whole")


def _note(tensor: Tensor) -> dict[str, Any]:
    return {
        "shape": list(tensor.shape),
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "sharded": sharding.is_shard(tensor),
    }
