"""A language model's weights in shards, one per process: torch's ``fully_shard``, and what it needs around it.

A sharded model computes as before; between steps its parameters are DTensors. Blocks are gathered one by one when they run.
Embedding, norm and head are one group, whole from a forward to its backward, so that vocabulary kernels read the head as a
plain tensor. Every forward is collective: processes call a model equally often (``most``), also one without rows, or run
it inside ``whole``, where nothing is collective.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from counterpoint.errors import CounterpointError
from counterpoint.models import deferred

M = TypeVar("M", bound=nn.Module)
RECORD = "_counterpoint_shards"


@dataclass
class Shards:
    """What a sharded module remembers of itself.

    Attributes:
        skeleton: the module as it was, its weights without storage.
        mesh: the processes that share the weights. policy: the types it computes and adds in.
        whole: whether all weights are there at present.
    """

    skeleton: nn.Module
    mesh: Any
    policy: Any
    whole: bool = False


def shards_of(module: Any) -> Shards | None:
    """The record of a sharded module; None of any other.

    >>> shards_of(nn.Linear(2, 1)) is None
    True
    """
    return vars(module).get(RECORD) if isinstance(module, nn.Module) else None


def apart(module: Any) -> bool:
    """Whether a module's weights are in shards now, so that a forward needs every process."""
    record = shards_of(module)
    return record is not None and not record.whole


def sharded_in(thing: Any) -> list[nn.Module]:
    """The sharded modules of a module, or of what holds one as ``model``."""
    held = thing if isinstance(thing, nn.Module) else getattr(thing, "model", None)
    return [each for each in held.modules() if shards_of(each)] if isinstance(held, nn.Module) else []


def to_device(module: M, device: torch.device) -> M:
    """Move a module to a device; shards are there already, and ``to`` would copy those that a teacher shares with its student."""
    if not sharded_in(module) and not deferred.sources(module):
        return module.to(device)
    for value in (*module.parameters(), *module.buffers()):
        if not is_shard(value) and value.device not in (device, torch.device("meta")):
            value.data = value.data.to(device)
    return module


def mesh_of(device: torch.device) -> Any:
    """All processes of the launch, as a mesh."""
    from torch.distributed.device_mesh import init_device_mesh

    return init_device_mesh(device.type, (dist.get_world_size(),))


def policy_of(precision: str) -> Any:
    """The types of a precision: "bf16" computes in bfloat16, over weights, sums and moments that stay as they are."""
    from torch.distributed.fsdp import MixedPrecisionPolicy

    if precision == "bf16":
        return MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    return MixedPrecisionPolicy()


def blocks_of(base: nn.Module) -> list[nn.Module]:
    """The layers that are gathered one by one: of the classes that transformers never splits over devices, outermost first.

    Raises:
        CounterpointError: the model names none.
    """
    names = set(getattr(base, "_no_split_modules", None) or ())
    blocks: list[nn.Module] = []
    inside: set[int] = set()
    for module in base.modules():
        if type(module).__name__ in names and id(module) not in inside:
            blocks.append(module)
            inside |= {id(each) for each in module.modules()}
    if not blocks:
        raise CounterpointError(
            f"{type(base).__name__} does not say which of its layers belong together (_no_split_modules), so it cannot be "
            "sharded; leave --shard out"
        )
    return blocks


def shard(model: Any, mesh: Any, policy: Any = None) -> Any:
    """Shard a language model in place over a mesh.

    Raises:
        CounterpointError: a model that must be run in a way that processes cannot do in step.
    """
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

    _check(model)
    skeleton = without_weights(model)
    deferred.forget(skeleton)
    given: dict[str, Any] = {"mesh": mesh, "mp_policy": policy or MixedPrecisionPolicy()}
    for block in blocks_of(model.base):
        fully_shard(block, **given)
    fully_shard(model, reshard_after_forward=False, **given)
    for part in _parts(
        model
    ):  # losses are shares of a sum over the global batch; neither setter is recursive
        part.set_gradient_divide_factor(1.0)
        part.set_force_sum_reduction_for_comms(True)
    model.set_reduce_scatter_unused_params(True)
    register_fsdp_forward_method(model, "decode")
    object.__setattr__(model, RECORD, Shards(skeleton, mesh, policy))
    _read_shards(model)
    return model


@torch.no_grad()
def _read_shards(model: nn.Module) -> None:
    """Fetch what is deferred: of each weight the rows that are this process's."""
    there, record = deferred.sources(model), _record(model)
    parameters: list[tuple[str, Any]] = list(model.named_parameters())
    for name, p in parameters:
        if name in there:
            count, rank = p.to_local().shape[0], record.mesh.get_local_rank()
            start = min(rank * -(-p.shape[0] // record.mesh.size()), p.shape[0])
            _set_shard(model, name, p, there[name].rows(start, start + count), p.requires_grad)
    deferred.forget(model)


def _set_shard(module: nn.Module, name: str, wanted: Any, here: Tensor, trained: bool) -> None:
    """Put this process's rows where a shard of the same layout stands."""
    from torch.distributed.tensor import DTensor

    mesh = wanted.device_mesh
    value = DTensor.from_local(
        here.to(mesh.device_type),
        mesh,
        wanted.placements,
        run_check=False,
        shape=wanted.shape,
        stride=wanted.stride(),
    )
    deferred.replace(module, module.get_parameter(name), nn.Parameter(value, requires_grad=trained))


def settle(*things: Any) -> None:
    """Put weights back into shards. A root left whole hides later changes of its shards, and changes to the whole copy are
    lost: what reads or changes shards comes after this.
    """
    for thing in things:
        for module in sharded_in(thing):
            if apart(module):
                for part in _parts(module):
                    part.reshard()


@contextmanager
def whole(*modules: Any) -> Iterator[None]:
    """All weights whole inside: forwards need no other process. Entering is collective, and changes inside are lost."""
    entered = [module for each in modules for module in sharded_in(each) if apart(module)]
    settings: list[tuple[list[Any], list[Any]]] = []
    for module in entered:
        # A block that runs before its model ever did would be a root of its own (``prefix.choice`` tries the backbone alone).
        module._get_fsdp_state()._lazy_init()  # type: ignore[operator]
        for part in _parts(module):
            groups = part._get_fsdp_state()._fsdp_param_groups
            settings.append((groups, [group.post_forward_mesh_info for group in groups]))
            part.set_reshard_after_forward(False, recurse=False)
            part.unshard()
        _record(module).whole = True
    try:
        yield
    finally:
        for groups, infos in settings:
            for group, info in zip(groups, infos, strict=True):
                group.post_forward_mesh_info = info
        for module in entered:
            _record(module).whole = False
            settle(module)


def copied(model: M) -> M:
    """A constant copy in shards: trained weights are copied, frozen ones share the model's memory. Not collective."""
    settle(model)
    record = _record(model)
    theirs: dict[str, Any] = dict(model.named_parameters())
    own = shard(without_weights(record.skeleton), record.mesh, record.policy)
    for name, p in list(own.named_parameters()):
        here = theirs[name].detach().to_local()
        here = here.clone() if theirs[name].requires_grad else here
        _set_shard(own, name, p, here, trained=False)
    return own.eval().requires_grad_(False)


@torch.no_grad()
def gathered(model: M) -> M:
    """A plain copy on the first process's CPU, brought there weight by weight; on the others its skeleton. Collective.

    A module without shards is returned as it is; one that holds sharded modules as a copy with theirs in their place.
    """
    if not shards_of(model):
        inner = {id(each): gathered(each) for each in sharded_in(model)}
        return copy.deepcopy(model, dict[int, Any](inner)) if inner else model
    settle(model)
    skeleton = _record(model).skeleton
    plain = without_weights(skeleton)
    parameters: list[tuple[str, Any]] = list(model.named_parameters())
    for name, p in parameters:
        value: Tensor = p.full_tensor()
        if dist.get_rank() == 0:
            wanted = skeleton.get_parameter(name).requires_grad
            old = plain.get_parameter(name)
            deferred.replace(plain, old, nn.Parameter(value.to("cpu", copy=True), requires_grad=wanted))
    for owner in plain.modules():
        for key, buffer in owner._buffers.items():
            owner._buffers[key] = None if buffer is None else buffer.detach().to("cpu", copy=True)
    return plain  # type: ignore[return-value]


def most(count: int, *modules: Any) -> int:
    """The largest of all processes' counts, where one of the modules is in shards and calls must match; else the count."""
    here = next((each for each in modules if apart(each)), None)
    if here is None:
        return count
    value = torch.tensor(count, device=_record(here).mesh.device_type)
    dist.all_reduce(value, op=dist.ReduceOp.MAX)
    return int(value)


def is_shard(value: Any) -> bool:
    """Whether a tensor is one process's part of a larger one."""
    from torch.distributed.tensor import DTensor

    return isinstance(value, DTensor)


def like(value: Tensor, wanted: Any) -> Tensor:
    """A whole tensor, the same on every process, laid out as another: cut into shards where that one is."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(wanted, DTensor) or isinstance(value, DTensor):
        return value
    mesh = wanted.device_mesh
    return distribute_tensor(value.to(mesh.device_type), mesh, wanted.placements, src_data_rank=None)


@torch.no_grad()
def clip(parameters: Iterable[nn.Parameter], limit: float) -> float:
    """Scale gradients so that their norm over all parameters and shards is at most ``limit``; return what it was."""
    grads = [p.grad for p in parameters if p.grad is not None]
    if not grads:
        return 0.0
    norms = [
        torch.nn.utils.get_total_norm([g for g in grads if is_shard(g) == kind]) for kind in (True, False)
    ]
    full = [n.full_tensor() if is_shard(n) else n for n in norms]  # type: ignore[attr-defined]
    norm = torch.linalg.vector_norm(torch.stack([n.to(full[0]) for n in full]))
    factor = (limit / (norm + 1e-6)).clamp(max=1.0)
    for g in grads:
        (g.to_local() if is_shard(g) else g).mul_(factor.to(g.device, g.dtype))  # type: ignore[attr-defined]
    return float(norm)


def _check(model: Any) -> None:
    base = model.base
    if getattr(base, "is_quantized", False):
        raise CounterpointError("quantized weights cannot be sharded here; leave --shard or quantization out")
    if (
        getattr(model, "pictures", None) is not None
        or getattr(model, "packs", False)
        or not model.runs.padded
    ):
        raise CounterpointError(
            f"{type(base).__name__}: rows with pictures, packed rows and models that no mask hides padding from are run in a "
            "number of passes that differs between processes; leave --shard out"
        )


def _record(module: Any) -> Shards:
    record = shards_of(module)
    assert record is not None
    return record


def _parts(module: nn.Module) -> list[Any]:
    from torch.distributed.fsdp import FSDPModule

    return [each for each in module.modules() if isinstance(each, FSDPModule)]


def without_weights(module: M) -> M:
    """The same module with its weights on the meta device, ties kept and buffers shared."""
    memo: dict[int, Any] = {
        id(p): nn.Parameter(p.detach().to("meta"), requires_grad=p.requires_grad) for p in module.parameters()
    }
    return copy.deepcopy(module, memo | {id(b): b for b in module.buffers()})
