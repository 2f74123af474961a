"""A commented configuration file for a method and a person's data: every option and setting with what it does, at its default. No torch
but for the method's own module."""

from __future__ import annotations

import dataclasses
import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from counterpoint.methods.catalog import load, row
from counterpoint.methods.groups import settings_of
from counterpoint.study.options import RunOptions
from counterpoint.tasks.documented import data_options

WIDTH = 110
ELSEWHERE = ("data_options", "model_options", "kind", "seed", "steps")
"""Run options that stand in a place of their own."""


def text(
    key: str,
    *,
    file: str,
    data: str,
    understood: Sequence[str],
    kind: str,
    default_model: str,
    out: str,
    words: Mapping[str, str],
    types: Mapping[str, str],
    spans: Mapping[str, str],
    model: str | None = None,
    chosen: Mapping[str, str] = {},
) -> str:
    """The file's content.

    Args:
        key: of the method. file: the name that it will have. data, model, out: as typed. understood: what the data hold, a line each.
        kind: of the data. default_model: what is taken where none is given.
        words, types, spans: what each setting does, its type in words, its tuning range. chosen: data options that were given.
    """
    method = row(key)
    lines = [
        *comment(f"{method.title} (arXiv {method.paper}, {method.year}). {method.line}"),
        *comment(
            "What is commented out is at its default; take the # away to change it. Options on the command line win over this file."
        ),
        f"#   counterpoint run {key} --config {file}",
        "",
        f"method = {value(key)}",
        "",
        *(each for line in understood for each in comment(line)),
        f"data = {value(data)}",
        f"kind = {value(kind)}",
        "",
        *comment("Where the run, and the trained model in its folder model/, are written."),
        f"out = {value(out)}",
        "",
        *comment("A name that counterpoint knows, a save_pretrained folder, or the folder of another run."),
        f"model = {value(model)}" if model else f"# model = {value(default_model)}",
        "",
        *comment("Optimiser steps. Without it, or another limit, the method's own number of epochs."),
        "steps = 300",
        *comment("Every random number derives from it."),
        "seed = 0",
        "",
        *_options(),
        "",
        "[data_options]",
        *(f"{name} = {value(given)}" for name, given in chosen.items()),
        *_data_options(kind, chosen),
        "",
        "[settings]",
        *_settings(key, words, types, spans),
    ]
    return "\n".join(lines) + "\n"


def value(given: Any) -> str:
    """A value as TOML; tuples are lists.

    >>> value(0.1), value(True), value((1, 2.0)), value({"a": 1})
    ('0.1', 'true', '[1, 2.0]', '{"a" = 1}')
    """
    if isinstance(given, Mapping):
        return "{" + ", ".join(f"{json.dumps(name)} = {value(each)}" for name, each in given.items()) + "}"
    if isinstance(given, list | tuple):
        return "[" + ", ".join(map(value, given)) + "]"
    if isinstance(given, float):
        return {"inf": "inf", "-inf": "-inf", "nan": "nan"}.get(repr(given), repr(given))
    return json.dumps(given, ensure_ascii=False, default=str)


def comment(line: str) -> list[str]:
    """A sentence as comment lines."""
    return textwrap.wrap(
        line, WIDTH, initial_indent="# ", subsequent_indent="# ", break_long_words=False
    ) or ["#"]


def _options() -> list[str]:
    lines = []
    for each in dataclasses.fields(RunOptions):
        if each.name in ELSEWHERE:
            continue
        lines += comment(f"{each.metadata['help'][:1].upper()}{each.metadata['help'][1:]}.")
        default = "" if each.default is None else value(each.default)
        expected = f"  # {each.metadata['expected']}" if not default else ""
        lines.append(f"# {each.name} = {default or '...'}{expected}")
    return lines


def _data_options(kind: str, chosen: Mapping[str, str]) -> list[str]:
    lines = []
    for option in data_options(kind).get("", []):
        if option.name not in chosen:
            lines += comment(option.what)
            lines.append(f"# {option.name} = {value(option.typed.partition('=')[2])}")
    return lines


def _settings(
    key: str, words: Mapping[str, str], types: Mapping[str, str], spans: Mapping[str, str]
) -> list[str]:
    lines: list[str] = []
    for name, setting in settings_of(load(key)).items():
        about = [types.get(name, ""), f"tuned over {spans[name]}" if spans.get(name) else ""]
        does = words.get(name, "") or name.replace("_", " ").replace(".", ", ")
        lines += comment(f"{does[:1].upper()}{does[1:].rstrip('.')} ({'; '.join(filter(None, about))}).")
        default = setting.default
        lines.append(f"# {name} = {value(default)}" if default is not None else f"# {name} = ...  # none")
    return lines
