"""Sampled answers in the terminal: a table a prompt, answers below one another, rewards beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from counterpoint.cli.output import show_table
from counterpoint.study.samples import prompt_text


def show(screen: Console, rows: Sequence[Mapping[str, Any]], requests: Mapping[str, float]) -> None:
    """Print the prompts with their answers, and what servers were asked."""
    for row in rows:
        screen.print(f"[dim]step {row['step']}[/]  [bold]{escape(prompt_text(row['prompt']))}[/]")
        show_table(screen, answers_table(row["answers"]))
        screen.print()
    if requests:
        counts = ", ".join(f"{value:,.6g} {name.replace('_', ' ')}" for name, value in requests.items())
        screen.print(f"[dim]asked of servers: {counts}[/]")


def answers_table(answers: Sequence[Mapping[str, Any]]) -> Table:
    """A row an answer: its text, each judge's reward, the advantage, and other texts where some answer has one."""
    judges = list(dict.fromkeys(name for each in answers for name in each.get("rewards", {})))
    texts = list(dict.fromkeys(name for each in answers for name in each.get("verdicts", {})))
    others = [
        name
        for name in dict.fromkeys(n for each in answers for n in each)
        if name not in ("text", "rewards", "verdicts")
    ]
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("answer", overflow="fold")
    for name in [*judges, *others]:
        table.add_column(escape(name), justify="left" if _words(answers, name) else "right", overflow="fold")
    for name in texts:
        table.add_column(escape(f"{name} wrote"), overflow="fold")
    for each in answers:
        cells = [each["text"], *(each.get("rewards", {}).get(name) for name in judges)]
        cells += [
            *(each.get(name) for name in others),
            *(each.get("verdicts", {}).get(name) for name in texts),
        ]
        table.add_row(*(_cell(value) for value in cells))
    return table


def _words(answers: Sequence[Mapping[str, Any]], name: str) -> bool:
    return any(isinstance(each.get(name), str) for each in answers)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float | int) else escape(str(value))
