"""The options of one run: each is declared here once, for the command line, the Python API and the stored recipe. No torch.

A new option is a new field, and its use. The command line makes a flag of every field of ``RunOptions``, a --config file may
name it, ``counterpoint.run`` takes it as a keyword, and a ``Recipe`` stores it if it is a field of ``Recorded``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from counterpoint.errors import CounterpointError, nearest
from counterpoint.evaluation.benchmarks.names import EXPECTED, benchmarks_of

OF_THE_DATA = ("max_length", "too_long")
"""Run options that are short for an option of the data's loader."""
Identity = Literal["always", "unless default", "never"]
"""Whether an option is part of what makes two runs the same run. "unless default" lets runs begun before the option was there
go on; "always" is for those that every run.json has."""


def option(
    default: Any = None,
    *,
    help: str,
    expected: str = "",
    valid: Callable[[Any], bool] = lambda value: True,
    identity: Identity = "unless default",
    limit: bool = False,
) -> Any:
    """A field of ``RunOptions``.

    Args:
        default: its value when it is not given; a type, such as ``dict``, makes a new one each time.
        help: as the command line shows it. expected: what an error says that the value may be.
        valid: whether a value of the right type is allowed; None is not put to it.
        identity: whether it is part of the run's identity. limit: whether it is stored in the run's budget.
    """
    notes = {"help": help, "expected": expected, "valid": valid, "identity": identity, "limit": limit}
    if isinstance(default, type):
        return field(default_factory=default, metadata=notes)
    return field(default=default, metadata=notes)


def _limit(unit: str) -> Any:
    return option(
        help=f"budget in {unit}",
        expected="a number above 0, or leave it out",
        valid=lambda value: value > 0,
        limit=True,
    )


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """Options that a recipe stores under their own names. ``RunOptions`` checks them; a study's recipes go beyond (seeds)."""

    data_options: Mapping[str, Any] = option(
        dict,
        help="option of the data's loader, see counterpoint check --help; may be repeated",
        expected="names with values",
        identity="always",
    )
    model_options: Mapping[str, Any] = option(
        dict,
        help="option of the model's loader (dtype=bf16, attention=eager, recompute=true, quantization=4bit); may be repeated",
        expected="names with values",
    )
    save: Literal["merged", "adapter", "both"] = option(
        "merged",
        help="what is written of a model with adapters: merged, adapter or both",
        expected="merged, adapter or both",
        identity="never",
    )
    seed: int = option(
        0,
        help="every random number derives from it",
        expected="a whole number from 0 to 999 (larger ones are for tuning)",
        valid=lambda value: 0 <= value < 1000,
        identity="always",
    )
    precision: Literal["auto", "no", "bf16", "fp16"] = option(
        "auto",
        help="no (fp32), bf16 or fp16; auto: bf16 for language models on a GPU that computes in it, else fp32",
        expected="auto, no (fp32), bf16 or fp16",
        identity="always",
    )
    eval_every: int | None = option(
        help="measure the model on validation every so many steps; the best one is what is saved",
        expected="a whole number of steps above 0, or leave it out",
        valid=lambda value: value > 0,
    )
    patience: int | None = option(
        help="stop after so many of these measurements in a row without a better one",
        expected="a whole number above 0, with eval_every, or leave it out",
        valid=lambda value: value > 0,
    )
    keep_model: Literal["best", "last"] = option(
        "best",
        help="of a run with --eval-every, what is saved and measured: the best model or the last",
        expected="best or last",
    )
    reply_tokens: int | None = option(
        help="longest reply when answers are measured; default: by the length of the solutions",
        expected="a whole number above 0, or leave it out",
        valid=lambda value: value > 0,
    )
    benchmarks: tuple[str, ...] = option(
        (),
        help="measure this on test as well, before and after: mteb:TASK, lm-eval:TASK or beir:FOLDER; may be repeated",
        expected=EXPECTED,
    )
    micro_batch_size: int | None = option(
        help="rows held in memory at once; the result is the same",
        expected="a whole number above 0, or leave it out",
        valid=lambda value: value > 0,
        identity="never",
    )
    micro_batch_tokens: int | None = option(
        help="the same in tokens, for language models: one row at least",
        expected="a whole number above 0, or leave it out",
        valid=lambda value: value > 0,
        identity="never",
    )
    shard: Literal["no", "fsdp"] = option(
        "no",
        help="fsdp: each process of the launch holds a part of the model's weights, gradients and moments",
        expected="no or fsdp",
        identity="never",
    )


@dataclass(frozen=True, kw_only=True)
class RunOptions(Recorded):
    """What a person may choose about a run besides its method, model and data.

    Raises:
        CounterpointError: a value that is not allowed.
    """

    kind: str | None = option(
        help="kind of data, where it is not the method's", expected="the name of a kind"
    )
    max_length: int | None = option(
        help="longest row in tokens, prompt and answer together; the same as --data-option max_length=N",
        expected="a whole number of 2 or more, or leave it out",
        valid=lambda value: value > 1,
    )
    too_long: Literal["drop", "truncate"] | None = option(
        help="longer rows are left out (drop) or cut at their end (truncate); the same as --data-option too_long=...",
        expected="drop or truncate",
    )
    steps: int | None = _limit("optimiser steps")
    examples: int | None = _limit("training examples")
    tokens: int | None = _limit("tokens")
    seconds: float | None = _limit("seconds")

    def __post_init__(self) -> None:
        """Refuse a value that its field does not allow."""
        for each in dataclasses.fields(self):
            value = getattr(self, each.name)
            if value is not None and not each.metadata["valid"](value):
                raise _refused(each.name, value)
        benchmarks_of(self.benchmarks)
        if self.eval_every is None and (self.patience is not None or self.keep_model != "best"):
            name = "patience" if self.patience is not None else "keep_model"
            raise CounterpointError(
                f"{name}={getattr(self, name)} rests on measurements during the training; give eval_every, for example --eval-every 50"
            )

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """From keywords, a file or a command line; None stands for the default.

        Raises:
            CounterpointError: an unknown name (with the nearest), a value of the wrong type, or one that is not allowed.

        >>> RunOptions.of({"steps": 300, "seed": None}).budget
        {'steps': 300}
        >>> RunOptions.of({"step": 300})
        Traceback (most recent call last):
        counterpoint.errors.CounterpointError: a run has no option 'step'; did you mean 'steps'?
        """
        from pydantic import (
            TypeAdapter,
            ValidationError,
        )  # here: --help reads this module, and loads nothing heavy

        for name in given:
            if name not in cls.names():
                raise CounterpointError(f"a run has no option '{name}'; {nearest(name, cls.names())}")
        chosen = {name: value for name, value in given.items() if value is not None}
        try:
            return TypeAdapter(cls).validate_python(chosen)
        except ValidationError as error:
            name = str(error.errors()[0]["loc"][0])
            raise _refused(name, chosen[name]) from None

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Every option's name."""
        return tuple(each.name for each in dataclasses.fields(cls))

    @property
    def budget(self) -> dict[str, float]:
        """The limits that are given, by name."""
        limits = [each.name for each in dataclasses.fields(self) if each.metadata["limit"]]
        return {name: getattr(self, name) for name in limits if getattr(self, name) is not None}

    def recorded(self) -> dict[str, Any]:
        """The options that a recipe stores under their own names; those that are short for one of the data's among these.

        Raises:
            CounterpointError: an option of the data that is given twice, as different values.

        >>> RunOptions(max_length=512).recorded()["data_options"]
        {'max_length': '512'}
        """
        stored = {each.name: getattr(self, each.name) for each in dataclasses.fields(Recorded)}
        # As text, as --data-option has it: both spellings are one run.
        short = {name: str(getattr(self, name)) for name in OF_THE_DATA if getattr(self, name) is not None}
        for name, value in short.items():
            given = self.data_options.get(name, value)
            if str(given) != value:
                raise CounterpointError(
                    f"{name}={value}, and {name}={given} among the data options; give one of them"
                )
        return {**stored, "data_options": {**self.data_options, **short}}


def identifying(recorded: Recorded) -> list[str]:
    """Names of the stored options that are part of the run's identity."""
    names = []
    for each in dataclasses.fields(Recorded):
        part = each.metadata["identity"]
        made = each.default_factory
        default = each.default if made is dataclasses.MISSING else made()
        if part == "always" or (part == "unless default" and getattr(recorded, each.name) != default):
            names.append(each.name)
    return names


def _refused(name: str, value: Any) -> CounterpointError:
    (refused,) = (each for each in dataclasses.fields(RunOptions) if each.name == name)
    return CounterpointError(f"{name}={value!r}; expected {refused.metadata['expected']}")
