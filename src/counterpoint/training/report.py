"""What training learnt about itself: figures and tables that leave by one door, ``run.report(...)``.

A running mean of a statistic, the temperature of every training row, what was measured after each stage: no part of the
model, and yet what a measurement, a page or a person asks for afterwards. A Run saves it with its checkpoints; a finished run
has it in ``training/``, and the tables beside the model's weights, too.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from counterpoint.errors import CounterpointError

FIGURES = "figures.json"
Row = Mapping[str, Any]


class Report:
    """Figures by name, and tables by name: rows of named cells.

    >>> report = Report()
    >>> report.add(share=0.5, stages=[{"stage": 1, "accuracy": 1.0}])
    >>> report.add(stages=[{"stage": 2, "accuracy": 0.5, "forgetting": 0.5}])
    >>> report.figures, len(report.rows("stages")), report.rows("temperatures")
    ({'share': 0.5}, 2, [])
    """

    def __init__(self) -> None:
        self.figures: dict[str, float] = {}
        self.tables: dict[str, list[dict[str, Any]]] = {}

    def add(self, **named: float | Sequence[Row] | Mapping[str, Sequence[Any]]) -> None:
        """Add to what is there: a number is a figure, rows go below a table's rows, columns replace a whole table.

        Raises:
            CounterpointError: something else, or columns of different lengths.
        """
        for name, value in named.items():
            if isinstance(value, int | float) or (isinstance(value, torch.Tensor) and value.ndim == 0):
                self.figures[name] = float(value)
            elif isinstance(value, Mapping) and len({len(column) for column in value.values()}) == 1:
                self.tables[name] = [dict(zip(value, cells)) for cells in zip(*value.values(), strict=True)]
            elif isinstance(value, list | tuple) and all(isinstance(row, Mapping) for row in value):
                self.tables[name] = [*self.tables.get(name, []), *map(dict, value)]
            else:
                raise CounterpointError(
                    f"run.report({name}={type(value).__name__}): give a number, a list of rows [{{'stage': 1, ...}}], or a mapping "
                    "of columns of one length {'row': [...], 'temperature': [...]}"
                )

    def rows(self, name: str) -> list[dict[str, Any]]:
        """A table's rows; none where there is no such table."""
        return self.tables.get(name, [])

    def column(self, table: str, name: str) -> list[Any]:
        """One column of a table, over the rows that have it."""
        return [row[name] for row in self.rows(table) if name in row]

    def state_dict(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {"figures": self.figures, "tables": self.tables}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put everything back."""
        self.figures = dict(state["figures"])
        self.tables = {name: [dict(row) for row in rows] for name, rows in state["tables"].items()}

    def write(self, folder: Path) -> None:
        """Write the figures as JSON and each table as CSV; nothing where there is nothing."""
        if self.figures or self.tables:
            folder.mkdir(parents=True, exist_ok=True)
        if self.figures:
            finite = {n: v if math.isfinite(v) else None for n, v in self.figures.items()}
            (folder / FIGURES).write_text(json.dumps(finite, indent=1) + "\n", encoding="utf-8")
        self.write_tables(folder)

    def write_tables(self, folder: Path) -> None:
        """Write each table as ``<name>.csv``; a cell that a row does not have is empty."""
        for name, rows in self.tables.items():
            names = list(dict.fromkeys(each for row in rows for each in row))
            with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerows([names, *([row.get(each, "") for each in names] for row in rows)])

    @classmethod
    def read(cls, folder: Path) -> Report:
        """What ``write`` wrote: whole numbers, numbers and text by how the cells look.

        Raises:
            CounterpointError: damaged figures.
        """
        report = cls()
        if (folder / FIGURES).exists():
            try:
                figures = dict(json.loads((folder / FIGURES).read_text(encoding="utf-8")))
            except (TypeError, ValueError):
                raise CounterpointError(
                    f"{folder / FIGURES} is damaged: expected an object of figures; put it back, or remove it"
                ) from None
            report.figures = {name: math.nan if value is None else value for name, value in figures.items()}
        for path in sorted(folder.glob("*.csv")):
            with path.open(encoding="utf-8", newline="") as file:
                report.tables[path.stem] = [
                    {name: _cell(text) for name, text in row.items() if text != ""}
                    for row in csv.DictReader(file)
                ]
        return report


def _cell(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
