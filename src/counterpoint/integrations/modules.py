"""Objectives as ``nn.Module`` losses: for a loop of one's own, for Lightning, for lightly.

``objective("decoupled", temperature=0.1)(first, second)`` is a scalar to go backward from. What an objective has to remember
(proxies, a queue, temperatures per row) is in the module's ``state_dict``. On several processes contrast runs over the rows of all;
``reduce`` says why the gradients are those of one process. Shapes: n rows, D dimensions, V views, C classes.
"""

from __future__ import annotations

import inspect
import math
from typing import Any

import torch
from torch import Tensor, nn

from counterpoint.errors import CounterpointError, nearest
from counterpoint.integrations.catalog import form_of, function_of
from counterpoint.integrations.reduce import reduced
from counterpoint.objectives.contrast.global_contrast import Robust, descend
from counterpoint.objectives.contrast.neighbours import nearest_neighbours
from counterpoint.objectives.reduction import Loss
from counterpoint.objectives.tokens import aggregate, masked
from counterpoint.training import distributed


def objective(name: str, /, *, gather: bool = True, **settings: Any) -> Objective:
    """The module of an objective.

    Args:
        name: as in docs/trainers.md.
        gather: on several processes, contrast with the rows of all. settings: the objective's own; of proxies also ``num_classes``,
            ``dimension`` (and ``centers``); of robust_views and robust_pairs ``num_rows``; of nnclr ``queue``.

    Raises:
        CounterpointError: no such objective, or an unknown or missing setting.

    >>> loss = objective("nt_xent", temperature=1.0)
    >>> round(float(loss(torch.eye(2), torch.eye(2))), 4)
    0.5514
    """
    made = {"proxies": ProxyObjective, "remembered": RememberedObjective, "neighbours": NeighbourObjective}
    return made.get(form_of(name), Objective)(name, gather=gather, **settings)


class Objective(nn.Module):
    """An objective with its settings; ``objective`` picks the class.

    Attributes:
        name: of the objective. form: how it is called. settings: what the function gets.
    """

    def __init__(self, name: str, /, *, gather: bool = True, **settings: Any) -> None:
        super().__init__()
        self.name, self.form, self.gather = name, form_of(name), gather
        self.function = function_of(name)
        parameters = inspect.signature(self.function).parameters
        for key in settings:
            if key not in parameters:
                raise CounterpointError(
                    f"{name} has no setting '{key}'; {nearest(key, self._open(parameters))}"
                )
        self.settings = settings

    def _open(self, parameters: Any) -> list[str]:
        return [
            key
            for key, each in parameters.items()
            if each.kind is each.KEYWORD_ONLY or each.default is not each.empty
        ]

    def extra_repr(self) -> str:
        """Name and settings, as ``print(model)`` shows them."""
        return ", ".join([repr(self.name), *(f"{key}={value!r}" for key, value in self.settings.items())])

    def _several(self) -> bool:
        return self.gather and distributed.world()[1] > 1

    def losses(self, *tensors: Any, **named: Any) -> Any:
        """What the function returns: losses per item."""
        if self.form in ("tokens", "divergence"):
            return self._of_tokens(*tensors, **named)
        if self._several() and self.form in _GATHERED:
            tensors, more = _GATHERED[self.form](self, *tensors)
            named = {**more, **named}
        if self.form == "keys" and len(tensors) == 3:  # hard negatives: keys that no query owns
            tensors = (tensors[0], torch.cat(tensors[1:]))
        return self.function(*self._leading(), *tensors, **{**self._keywords(), **named})

    def _leading(self) -> tuple[Any, ...]:
        return (self.settings["name"],) if "name" in self.settings else ()

    def _keywords(self) -> dict[str, Any]:
        return {key: value for key, value in self.settings.items() if key != "name"}

    def _of_tokens(self, *tensors: Any, mask: Tensor | None = None, **named: Any) -> Loss:
        """Values per token, as a mean over the tokens that count."""
        parameters = inspect.signature(self.function).parameters
        if mask is not None and "mask" in parameters:
            named["mask"] = mask.bool()
        elif mask is not None and "mask_BT" in parameters:
            named["mask_BT"] = mask
        values = self.function(*tensors, **{**self._keywords(), **named})
        counted = torch.ones_like(values) if mask is None else mask.to(values.dtype)
        return aggregate(masked(values, counted), counted, "token_mean")

    def forward(self, *tensors: Any, **named: Any) -> Tensor:
        """The scalar loss; docs/trainers.md says what each is called with."""
        return reduced(self.losses(*tensors, **named), self.gather)


def _offset(rows: int, device: torch.device) -> int:
    return sum(distributed.sizes(rows, device)[: distributed.world()[0]])


def _pair(self: Objective, first: Tensor, second: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
    everyone = (distributed.gather(first), distributed.gather(second))
    return (first, second), {"candidates": everyone, "offset": _offset(len(first), first.device)}


def _keys(
    self: Objective, queries: Tensor, keys: Tensor, *more: Tensor
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    everyone = [distributed.gather(each) for each in (keys, *more)]
    return (queries, *everyone), {"offset": _offset(len(queries), queries.device)}


def _views(self: Objective, views: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
    everyone = distributed.gather(views.transpose(0, 1).contiguous()).transpose(0, 1)
    return (views,), {"candidates": everyone, "offset": _offset(views.shape[1], views.device)}


def _samples(
    self: Objective, views: Tensor, labels: Tensor | None = None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    named: dict[str, Any] = {
        "candidates": distributed.gather(views),
        "offset": _offset(len(views), views.device),
    }
    if labels is None:
        return (views,), named
    return (views, labels), {**named, "candidate_labels": distributed.gather(labels)}


def _labelled(self: Objective, rows: Tensor, labels: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
    label = "candidate_values" if self.form == "valued" else "candidate_labels"
    everyone = {"candidates": distributed.gather(rows), label: distributed.gather(labels)}
    return (rows, labels), {**everyone, "offset": _offset(len(rows), rows.device)}


def _graded(
    self: Objective, first: Tensor, second: Tensor, scores: Tensor
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if self.name != "cosent":  # the others are of each row alone
        return (first, second, scores), {}
    return (first, second, scores), {"candidates": tuple(map(distributed.gather, (first, second, scores)))}


_GATHERED: dict[str, Any] = {
    "pair": _pair, "keys": _keys, "views": _views, "samples": _samples, "labelled": _labelled, "valued": _labelled,
    "graded": _graded,
}  # fmt: skip


class ProxyObjective(Objective):
    """Rows [n, D] against learnable vectors of classes, which are this module's parameter: give it to the optimiser, too.

    Args:
        num_classes: C. dimension: D. centers: of soft_triple, how many a class.
    """

    def __init__(
        self,
        name: str,
        /,
        *,
        num_classes: int,
        dimension: int,
        centers: int = 1,
        gather: bool = True,
        **settings: Any,
    ) -> None:
        super().__init__(name, gather=gather, **settings)
        several = (centers,) if name == "soft_triple" else ()
        if centers != 1 and not several:
            raise CounterpointError(
                f"{name} has one proxy a class and got centers={centers}; soft_triple has several"
            )
        self.proxies = nn.Parameter(torch.empty(num_classes, *several, dimension))
        nn.init.kaiming_normal_(self.proxies.view(-1, dimension), mode="fan_out")

    def losses(self, *tensors: Any, **named: Any) -> Any:
        """Losses of the rows, of proxy_anchor of the classes."""
        rows, labels = tensors
        if self._several() and self.name == "proxy_anchor":  # a class's sums run over the whole batch
            rows, labels = distributed.gather(rows), distributed.gather(labels)
        return self.function(rows, labels, self.proxies, **self._keywords(), **named)


class RememberedObjective(Objective):
    """Global contrast with a temperature and an average per training row, which this module holds and moves while it trains.

    Args:
        num_rows: of the training data. temperature: where each begins. lowest, highest, step, beta: of the temperatures' descent;
            step=0 leaves them as they are (SogCLR).
    """

    def __init__(
        self,
        name: str,
        /,
        *,
        num_rows: int,
        temperature: float = 0.1,
        lowest: float = 0.05,
        highest: float = 1.0,
        step: float = 0.03,
        beta: float = 0.5,
        gather: bool = True,
        **settings: Any,
    ) -> None:
        super().__init__(name, gather=gather, **settings)
        self.moves = {
            "step": step,
            "beta": beta,
            "low": lowest,
            "high": highest,
            "clip": 3.0 if name == "robust_views" else 5.0,
        }
        sides = 1 if name == "robust_views" else 2
        self.register_buffer("temperature", torch.full((sides, num_rows), temperature))
        self.register_buffer("log_average", torch.full((sides, num_rows), -math.inf))
        self.register_buffer("momentum", torch.zeros(sides, num_rows))

    def losses(self, *tensors: Any, **named: Any) -> Any:
        """Losses of both views, or of both sides of pairs."""
        first, second, index = tensors
        sides = [(first, second)] if self.name == "robust_views" else [(first, second), (second, first)]
        return {str(side): self._side(side, *rows, index, **named) for side, rows in enumerate(sides)}

    def _side(self, side: int, first: Tensor, second: Tensor, index: Tensor, **named: Any) -> Robust:
        temperature, log_average = self.get_buffer("temperature")[side], self.get_buffer("log_average")[side]
        if self._several():
            everyone = (distributed.gather(first), distributed.gather(second))
            named["candidates"] = everyone if self.name == "robust_views" else everyone[1]
            named["offset"] = _offset(len(first), first.device)
        before = log_average[index]
        seen = self.function(
            first, second, temperature[index], before, fresh=before == -math.inf, **self._keywords(), **named
        )
        if self.training and torch.is_grad_enabled():
            self._move(side, index, seen)
        return seen

    @torch.no_grad()
    def _move(self, side: int, index: Tensor, seen: Robust) -> None:
        temperature, momentum = self.get_buffer("temperature")[side], self.get_buffer("momentum")[side]
        moved = descend(temperature[index], momentum[index], seen.temperature_gradient, **self.moves)
        values = [index, seen.log_average, *moved]
        if self._several():  # every process writes every row, so that all hold the same
            values = [distributed.gather(value.detach()) for value in values]
        rows = values[0]
        self.get_buffer("log_average")[side, rows] = values[1].to(temperature.dtype)
        if self.moves["step"]:
            temperature[rows], momentum[rows] = (value.to(temperature.dtype) for value in values[2:])


class NeighbourObjective(Objective):
    """NNCLR with its queue of past rows, which fills while it trains; until it holds a row, a row is its own neighbour.

    Args:
        queue: how many rows it holds. dimension: D.
    """

    def __init__(
        self, name: str, /, *, queue: int, dimension: int, gather: bool = True, **settings: Any
    ) -> None:
        super().__init__(name, gather=gather, **settings)
        self.register_buffer("bank", torch.zeros(queue, dimension))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    def losses(self, *tensors: Any, **named: Any) -> Any:
        """Losses of first, second and their predictions, each [n, D]."""
        first, second, *predictions = tensors
        filled = min(int(self.get_buffer("filled")), len(self.get_buffer("bank")))
        bank = self.get_buffer("bank")[:filled] if filled else torch.cat([first, second]).detach()
        near = tuple(nearest_neighbours(rows, bank) for rows in (first, second))
        if self._several():
            named["candidates"] = tuple(distributed.gather(each) for each in predictions)
            named["offset"] = _offset(len(first), first.device)
        values = self.function(near, tuple(predictions), **self._keywords(), **named)
        if self.training and torch.is_grad_enabled():
            self._enter(distributed.gather(first.detach()) if self._several() else first.detach())
        return values

    @torch.no_grad()
    def _enter(self, rows: Tensor) -> None:
        bank, filled = self.get_buffer("bank"), self.get_buffer("filled")
        rows = rows[-len(bank) :].to(bank.dtype)
        bank[(filled + torch.arange(len(rows), device=bank.device)) % len(bank)] = rows
        filled += len(rows)
