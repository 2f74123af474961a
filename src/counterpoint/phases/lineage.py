"""The lineage of prompts: every proposal with its answers, votes and cost, and which of them was the best one when. A Run keeps it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PROMPT, ROWS, READABLE = "prompt.txt", "lineage.jsonl", "lineage.md"
COUNTS = ("calls", "prompt_tokens", "completion_tokens", "cost")


class Lineage:
    """Rows of a search, one a round: prompt, parent, answers, votes, whether it was accepted and why, and what the round used.

    >>> lineage = Lineage()
    >>> lineage.spend(0, {"calls": 3, "prompt_tokens": 30, "completion_tokens": 9, "cost": 0.0})
    >>> lineage.add({"round": 0, "parent": None, "prompt": "Think.", "answers": ["4"], "accepted": True, "why": ""})
    >>> lineage.prompt, lineage.best, lineage.used(1)
    ('Think.', 0, {'calls': 3, 'tokens': 39})
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self._spent: dict[int, dict[str, float]] = {}

    def spend(self, number: int, counts: Mapping[str, float]) -> None:
        """Count calls of a round that is under way."""
        spent = self._spent.setdefault(number, dict.fromkeys(COUNTS, 0))
        for name in COUNTS:
            spent[name] += counts[name]

    def add(self, row: Mapping[str, Any]) -> None:
        """Close a round."""
        self.rows.append({**row, **self._spent.get(row["round"], dict.fromkeys(COUNTS, 0))})

    def used(self, number: int) -> dict[str, float]:
        """Calls and tokens of the rounds before this one, and of this one so far."""
        earlier = [row for row in self.rows if row["round"] < number]
        parts = [*earlier, *([self._spent[number]] if number in self._spent else [])]
        return {
            "calls": sum(part["calls"] for part in parts),
            "tokens": sum(part["prompt_tokens"] + part["completion_tokens"] for part in parts),
        }

    def holds(self, number: int) -> bool:
        """Whether this round is closed."""
        return any(row["round"] == number for row in self.rows)

    @property
    def best(self) -> int | None:
        """The newest accepted round."""
        return next((row["round"] for row in reversed(self.rows) if row["accepted"]), None)

    @property
    def prompt(self) -> str:
        """The newest accepted prompt."""
        return next(str(row["prompt"]) for row in reversed(self.rows) if row["accepted"])

    @property
    def answers(self) -> list[str]:
        """Its answers."""
        return next(list(row["answers"]) for row in reversed(self.rows) if row["accepted"])

    @property
    def stopped(self) -> bool:
        """Whether a limit ended the search."""
        return any(str(row["why"]).startswith("stopped") for row in self.rows)

    def figures(self) -> dict[str, float]:
        """What the search used in all, and how many proposals were accepted."""
        used = {name: float(sum(row[name] for row in self.rows)) for name in COUNTS}
        return {**used, "accepted": float(sum(bool(row["accepted"]) for row in self.rows[1:]))}

    def table(self) -> list[dict[str, Any]]:
        """One row a round, as a table's cells."""
        names = ("round", "parent", "accepted", "why", "prompt", "modification", *COUNTS)
        return [
            {name: int(row[name]) if name == "accepted" else row[name] for name in names if row.get(name) is not None}
            for row in self.rows
        ]  # fmt: skip

    def write(self, folder: Path, requirements: str) -> None:
        """Write the best prompt, all rows as JSON lines, and both to be read; each file whole or not at all."""
        texts = {
            PROMPT: self.prompt + "\n",
            ROWS: "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in self.rows),
            READABLE: self.readable(requirements),
        }
        for name, text in texts.items():
            partial = folder / f"{name}.partial"
            partial.write_text(text, encoding="utf-8")
            os.replace(partial, folder / name)

    def readable(self, requirements: str) -> str:
        """The lineage as Markdown: the best prompt first, then every round."""
        figures = self.figures()
        cost = f", cost {figures['cost']:.4f}" if figures["cost"] else ""
        lines = [
            "# Lineage of a prompt",
            f"Best so far, of round {self.best}:",
            _block(self.prompt),
            f"Requirement: {requirements}",
            f"Used: {figures['calls']:.0f} calls, {figures['prompt_tokens']:.0f} prompt and "
            f"{figures['completion_tokens']:.0f} completion tokens{cost}; {figures['accepted']:.0f} of {len(self.rows) - 1} "
            "proposals accepted.",
        ]
        for row in self.rows:
            done = "accepted" if row["accepted"] else "rejected"
            origin = "the start" if row["parent"] is None else f"from round {row['parent']}, {done}"
            lines.append(f"## Round {row['round']}: {origin}")
            lines += [f"Change: {row['modification']}"] if row.get("modification") else []
            lines += [f"Decision: {row['why']}."] if row["why"] else []
            lines += [_block(row["prompt"])] if row["prompt"] is not None else []
            lines += [f"Answer {at}:\n\n{_block(text)}" for at, text in enumerate(row.get("answers", ()), 1)]
        return "\n\n".join(lines) + "\n"

    def state_dict(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put everything back; what a round under way had used is counted again when its stages are read."""
        self.rows, self._spent = [dict(row) for row in state["rows"]], {}


def _block(text: str) -> str:
    """Text as it stands, whatever it holds."""
    return "\n".join(f"    {line}" for line in str(text).split("\n"))
