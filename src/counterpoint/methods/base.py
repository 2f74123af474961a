"""What every method is: a dataclass of settings that default to the paper's, and a fit that reads from top to bottom."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

from pydantic import TypeAdapter, ValidationError

from counterpoint.errors import CounterpointError
from counterpoint.methods import groups

if TYPE_CHECKING:
    from torch import nn

    from counterpoint.training import Run

Model = TypeVar("Model", bound="nn.Module")
Data = TypeVar("Data")
Search = dict[str, tuple[float, float] | list[Any]]
"""For tuning: a setting's (dotted) name and its range, ``(low, high)`` on a log scale, or a list of choices."""
Ablations = dict[str, dict[str, Any]]
"""A part's name -> the settings that leave it out or put another in its place."""
AMOUNTS = ("answers", "at_once", "batch_size", "dim", "epochs", "max_new_tokens")
"""Last parts of settings' names of which 0 is no amount: a training without a pass would still make a step, and nobody asked for that."""


@dataclass(kw_only=True)
class Method(ABC, Generic[Model, Data]):
    """Settings and a fit. Subclasses are dataclasses; none inherits from another method.

    ``class SFT(Method[Language, ProblemData])`` says which model and data it takes.

    Class attributes:
        key: the catalog's key.
        search: for tuning, a setting's name and the paper's range: ``(low, high)`` for floats on a log scale,
            or a list of choices. A setting of a group is named ``group.setting``.
        ablations: the method's parts, each with the settings that change it: what ``counterpoint ablate`` runs, one at a time.
        also: other kinds of data that it can learn from, beside the catalog's.
        search_of: of such a kind, its own ranges in place of ``search``; ``ranges`` reads both.
        writes: settings that name a folder which the method writes to; of a run that is resumed elsewhere they stay where they were.
        shards: whether it trains a language model whose weights are in shards (``--shard fsdp``), which the tests have then seen
            to end as one process does; refused of any other.
        full_batches: whether it trains on full batches of ``batch_size`` alone, because the other rows are its negatives; fewer training
            rows than that are then refused at once.
        contrasts: kind of data -> the setting that holds a batch's rows, where the other rows are the negatives and an epoch's last batch
            may have fewer of them; fewer training rows than a batch are refused here, too.
        optional: of the ``AMOUNTS`` among its settings, those of which 0 leaves a part of it out.
        copies: of the language model that it holds beside it by default: teachers and references.
        moved: a setting's earlier name -> its name now, for those that still write the earlier one.
        taught_by: the setting that names the model learnt from; a search divides its figures by that model's.
        untaught: settings under which nothing is learnt from a teacher; a search measures them, too. Empty for none.
    """

    key: ClassVar[str]
    search: ClassVar[Search] = {}
    ablations: ClassVar[Ablations] = {}
    also: ClassVar[tuple[str, ...]] = ()
    search_of: ClassVar[dict[str, Search]] = {}
    writes: ClassVar[tuple[str, ...]] = ()
    shards: ClassVar[bool] = False
    full_batches: ClassVar[bool] = False
    contrasts: ClassVar[dict[str, str]] = {}
    optional: ClassVar[tuple[str, ...]] = ()
    copies: ClassVar[int] = 0
    moved: ClassVar[dict[str, str]] = {}
    taught_by: ClassVar[str] = ""
    untaught: ClassVar[dict[str, Any]] = {}

    def __post_init__(self) -> None:
        """Refuse a plain value in place of a group of settings, numbers that are negative or not finite, and amounts of nothing."""
        for name, group in groups.groups_of(type(self)).items():
            value = getattr(self, name)
            if not isinstance(value, group):
                raise CounterpointError(
                    f"{self.key}: {name}={value!r}, and '{name}' is a group of settings; write {type(self).__name__}("
                    f"{name}={group.__name__}(...)), or {type(self).__name__}.settings({name}={value!r}) for its first setting"
                )
        numbers = [
            n for n, v in groups.flat(self).items() if isinstance(v, int | float) and not isinstance(v, bool)
        ]
        amounts = [n for n in numbers if n.rpartition(".")[2] in AMOUNTS and n not in self.optional]
        self.demand(above_zero=amounts, not_negative=numbers)

    @abstractmethod
    def fit(self, model: Model, data: Data, run: Run) -> Model:
        """Train ``model`` on ``data`` inside ``run`` and return the model to keep."""

    def check(self, data: Data) -> None:
        """Refuse settings that contradict each other or the data: before anything is measured or trained, and again in ``fit``.

        Raises:
            CounterpointError: what does not fit, and what would.
        """
        return

    def sequences(self) -> float:
        """How many sequences a row of a batch becomes that pass the language model with gradient before a step."""
        return 1.0

    def staged(self) -> float:
        """How many sequences pass the model at once, without gradient, in a durable stage that samples or scores, where no micro-batch
        size is set; 0 where there is no such stage. With weights in shards the model and its ``copies`` are whole meanwhile.
        """
        return 0.0

    @classmethod
    def settings(cls, **given: Any) -> Self:
        """Build the method from loosely typed settings (strings from a command line or a file), strictly.

        A setting of a group is given as ``"group.setting"``, or the group as a mapping.

        Raises:
            CounterpointError: an unknown setting (with the nearest name), or a value of the wrong type.
        """
        chosen = groups.named(cls, given)
        try:
            return TypeAdapter(cls).validate_python(groups.nested(chosen))
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"] if str(part) in ".".join(chosen).split("."))
            raise CounterpointError(
                f"{cls.key}: {name or 'settings'}={chosen.get(name)!r}: {first['msg'].lower()}"
            ) from None

    @classmethod
    def ranges(cls, kind: str | None = None) -> Search:
        """What is tuned on data of a kind; None: of the catalog's."""
        return cls.search_of.get(kind or "", cls.search)

    def demand(self, above_zero: Iterable[str] = (), not_negative: Iterable[str] = ()) -> None:
        """Refuse settings that are no finite number above 0, or no finite number from 0 on; None is left alone.

        Raises:
            CounterpointError: with the setting, its value and what was expected.
        """
        bounds = [(name, True) for name in above_zero] + [(name, False) for name in not_negative]
        for name, strictly in bounds:
            value = groups.value_of(self, name)
            if value is None or (math.isfinite(value) and (value > 0 if strictly else value >= 0)):
                continue
            usual = groups.value_of(type(self)(), name)
            raise CounterpointError(
                f"{self.key}: {name}={value}; expected a number {'above 0' if strictly else 'from 0 on'}"
                + ("" if usual is None else f", for example {name}={usual}")
            )

    def changed(self) -> dict[str, tuple[Any, Any]]:
        """Settings that differ from the defaults: name -> (default, this value)."""
        paper, mine = groups.flat(type(self)()), groups.flat(self)
        return {name: (paper[name], mine[name]) for name in mine if paper[name] != mine[name]}
