"""What a measurement is: figures of a model on a split of data, and which models and data it applies to.

A kind of data lists its measurements; those that apply are taken, so that no task asks a model what it is.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from torch import nn

from counterpoint.errors import CounterpointError

SPLITS = ("validation", "test")

M = TypeVar("M", bound=nn.Module)
D = TypeVar("D")
ReadM = TypeVar("ReadM", bound=nn.Module, covariant=True)
ReadD = TypeVar("ReadD", covariant=True)
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Subject(Generic[ReadM, ReadD]):
    """A model, data, the split to measure on, and the seed of whatever is drawn."""

    model: ReadM
    data: ReadD
    split: str
    seed: int = 0
    _computed: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    @property
    def part(self) -> Any:
        """The split itself."""
        return getattr(self.data, self.split)

    def once(self, name: Hashable, compute: Callable[[], T]) -> T:
        """What ``compute`` gives, computed by the first measurement that needs it under this name."""
        if name not in self._computed:
            self._computed[name] = compute()
        value: T = self._computed[name]
        return value


@dataclass(frozen=True, kw_only=True)
class Measurement(Generic[M, D]):
    """Some figures.

    Attributes:
        applies: whether a model and data can be measured so.
        measure: the figures by name; none of a split that lacks what they need.
        through: figure -> what stands between the model and it, such as "probe"; figures that are the model's own are left out.
    """

    applies: Callable[[nn.Module, D], bool]
    measure: Callable[[Subject[M, D]], dict[str, float]]
    through: Mapping[str, str] = field(default_factory=dict)


def is_a(*classes: type[nn.Module]) -> Callable[[nn.Module, Any], bool]:
    """What applies to models of these classes, whatever the data.

    >>> is_a(nn.Linear)(nn.Linear(1, 1), None)
    True
    """
    return lambda model, data: isinstance(model, classes)


def everything(model: nn.Module, data: Any) -> bool:
    """What applies to every model and all data of a kind."""
    return True


def measured(
    measurements: Iterable[Measurement[Any, Any]], model: nn.Module, data: Any, split: str, seed: int = 0
) -> dict[str, float]:
    """The figures of all measurements that apply, in their order.

    Args:
        split: "validation" or "test".

    Raises:
        CounterpointError: another split, a model that none applies to, or a measurement's own.
    """
    if split not in SPLITS:
        raise CounterpointError(f"split='{split}'; expected 'validation' or 'test'")
    subject = Subject(model, data, split, seed)
    fitting = [one for one in measurements if one.applies(model, data)]
    if not fitting:
        raise CounterpointError(
            f"no measurement applies to a {type(model).__name__} on this {type(data).__name__}; run with --no-evaluate, or give a model "
            "of a class that this kind of data knows"
        )
    return {name: value for one in fitting for name, value in one.measure(subject).items()}


def ways(measurements: Iterable[Measurement[Any, Any]], model: nn.Module, data: Any) -> dict[str, str]:
    """Figure -> what stands between the model and it, of all measurements that apply."""
    return {
        name: way
        for one in measurements
        if one.through and one.applies(model, data)
        for name, way in one.through.items()
    }
