"""Another choice of experts than a mixture's own, for as long as a context lasts, without a copy of any weight.

A router scores all N experts and picks the best k of them by ``topk``. Ordered by that score, experts have ranks 1 to N,
and a *routing* is the set of ranks that act: o = sum_{i in S} w_i E_i(h), w as the router itself weighs those it picks
(arXiv 2405.14507, eq. 3-4). ``find_routers`` says which
modules are routers. Does not know: decoding, contrast.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from counterpoint.errors import CounterpointError

TOPK = (torch.topk, Tensor.topk)


@dataclass(frozen=True)
class Routing:
    """Which experts act in a pass: "own" (as trained), "top-3", "rank-2" (that one alone), "random-1" (one drawn per token).

    Attributes:
        kind: own, top, rank or random. number: how many of the best, or which rank, from 1 on.

    >>> Routing.of("rank-2")
    Routing(kind='rank', number=2)
    >>> Routing.of("rank-2").ranks(8), Routing.of("top-3").ranks(8)
    ([1], [0, 1, 2])
    """

    kind: str = "own"
    number: int = 0

    @classmethod
    def of(cls, text: str) -> Routing:
        """Read a routing.

        Raises:
            CounterpointError: it is none.
        """
        match = re.fullmatch(r"(own)|(top|rank)-([1-9]\d*)|(random)-1", text)
        if match is None:
            raise CounterpointError(
                f"routing '{text}'; expected own, top-K (the best K experts), rank-K (the K-th best alone) or random-1"
            )
        if match[1] or match[4]:
            return cls(match[1] or match[4])
        return cls(match[2], int(match[3]))

    def __str__(self) -> str:
        return (
            "own"
            if self.kind == "own"
            else "random-1"
            if self.kind == "random"
            else f"{self.kind}-{self.number}"
        )

    def ranks(self, num: int) -> list[int]:
        """Positions, from 0 on, in the order of ``num`` experts; of a random one's there are none."""
        if self.number > num:
            raise CounterpointError(
                f"routing {self}, but a layer has {num} experts; give a number from 1 to {num}"
            )
        return (
            list(range(self.number))
            if self.kind == "top"
            else [self.number - 1]
            if self.kind == "rank"
            else []
        )


@dataclass
class Router:
    """A module that picks experts: ``call`` says which of its calls of ``topk``, ``num`` among how many experts."""

    name: str
    module: nn.Module
    call: int
    num: int
    own: int


@dataclass
class Routers:
    """All routers of a model, and the way to redirect them.

    Attributes:
        layers: one router of each layer of experts.
        draws: what "random-1" draws from; the same seed gives the same experts for the same batches.
    """

    layers: list[Router]
    draws: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(0))
    _stack: list[Routing] = field(default_factory=list)

    @contextmanager
    def use(self, routing: Routing, only: int | None = None) -> Iterator[None]:
        """Every forward pass inside takes this routing; uses nest, the innermost counts.

        Args:
            routing: which experts act.
            only: redirect the layer of this number alone.

        Raises:
            CounterpointError: a rank beyond the experts that there are.
        """
        for router in self.layers:
            routing.ranks(router.num)
        self._stack.append(routing)
        try:
            with ExitStack() as hooks:
                if len(self._stack) == 1:
                    for router in self.layers if only is None else [self.layers[only]]:
                        hooks.enter_context(self._watched(router))
                yield
        finally:
            self._stack.pop()

    @contextmanager
    def _watched(self, router: Router) -> Iterator[None]:
        """The module's forward, with its choice replaced by that of the routing in use."""
        active: list[_Choice] = []

        def begin(module: nn.Module, given: Any) -> None:
            active.append(_Choice(router, self._stack[-1], self.draws))
            active[-1].__enter__()

        def end(module: nn.Module, given: Any, out: Any) -> None:
            active.pop().__exit__(None, None, None)

        handles = [
            router.module.register_forward_pre_hook(begin),
            router.module.register_forward_hook(end, always_call=True),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


class _Choice(TorchFunctionMode):
    """Inside a router's forward: one call of ``topk`` gives the experts of a routing."""

    def __init__(self, router: Router, routing: Routing, draws: torch.Generator) -> None:
        super().__init__()
        self.router, self.routing, self.draws, self.calls = router, routing, draws, 0

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in TOPK:
            self.calls += 1
            if self.calls - 1 == self.router.call and self.routing.kind != "own":
                scores = args[0] if args else kwargs["input"]
                return torch.return_types.topk(self._chosen(scores))  # type: ignore[attr-defined]
        return func(*args, **kwargs)

    def _chosen(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """(scores, indices) [..., ranks] of the experts that act."""
        if self.routing.kind == "random":
            shape = (*scores.shape[:-1], 1)
            index = torch.randint(scores.shape[-1], shape, generator=self.draws).to(scores.device)
            return scores.gather(-1, index), index
        ranks = self.routing.ranks(scores.shape[-1])
        value, index = scores.sort(stable=True, dim=-1, descending=True)
        return value[..., ranks], index[..., ranks]
