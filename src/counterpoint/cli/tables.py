"""Results in the terminal, in plain words: figures with intervals, differences, and what they do not show."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterpoint.cli.output import hanging, show_table
from counterpoint.errors import counted
from counterpoint.evaluation.benchmarks.names import of_a_benchmark
from counterpoint.study.wording import duration, interval, number, only_before, sentence, signed, won

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from counterpoint.study.store import Result


def result_table(screen: Console, result: Result) -> None:
    """One run: its figures before and after, its cost, where the model is."""
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    screen.print(f"[bold]{result.key}[/] on {escape(result.data['spec'])}, seed {result.seed}")
    for line in result.data["describe"]:
        hanging(screen, Text(line, style="dim"))
    for split, figures in result.metrics.items():
        before = result.before.get(split, {})
        table = Table(box=None, pad_edge=False, title=f"\n{split}", title_justify="left", title_style="bold")
        for column in ("metric", *(("before", "after", "change") if before else ("figure",))):
            table.add_column(column, header_style="dim", justify="left" if column == "metric" else "right")
        for name in (*figures, *(other for other in before if other not in figures)):
            value = figures.get(name)
            style = "bold" if name == result.primary else ""
            cells = (
                [number(before.get(name)), number(value), _change(before.get(name), value)]
                if before
                else [number(value)]
            )
            table.add_row(name, *cells, style=style)
        show_table(screen, table)
        if set(before) - set(figures):
            hanging(screen, Text(only_before(before, figures), style="dim"))
    cost = result.cost
    spent = ", ".join(f"{value:,.0f} {name}" for name, value in result.spent.items() if name != "seconds")
    screen.print(
        f"\n{spent or 'no steps'}; {cost['wall_seconds']:.1f} s wall, {cost['cpu_seconds']:.1f} s CPU, "
        f"{cost['peak_rss_bytes'] / 2**20:,.0f} MiB at the peak"
    )
    model = result.folder / "model"
    if model.exists():
        screen.print(f"model: {model}", soft_wrap=True)


def _change(before: float | None, after: float | None) -> str:
    return "" if before is None or after is None else signed(after - before)


def study_table(screen: Console, summary: Mapping[str, Any], out: Path, metrics: Sequence[str] = ()) -> None:
    """A study: every arm's figure with its interval, differences from the baseline, cost, and one honest sentence each.

    ``metrics``: more of the summary's metrics, each with a table of its own; those of benchmarks always have one.
    """
    from rich.text import Text

    primary, baseline = summary["primary"], summary["baseline"]
    differences = summary["differences"][primary]
    not_run = summary.get("not_run", {})
    more = [name for name in summary["metrics"] if name in metrics or of_a_benchmark(name)]
    for metric in dict.fromkeys((primary, *more)):
        table = _metric_table(summary, metric)
        for name in not_run if metric == primary else ():
            table.add_row(name, "not run", style="dim")
        show_table(screen, table)
    screen.print()
    for name in summary["ranked"]:
        if name in differences:
            hanging(screen, Text("· " + sentence(name, baseline, differences[name])), 0)
    for name, reason in not_run.items():
        hanging(screen, Text(f"· {name} was not run: {reason}"), 0)
    if summary["baseline_is_best"] and any(each["mean"] != 0 for each in differences.values()):
        best = f"· {baseline} is the best of these seeds, chosen after seeing them; name a --baseline to test one"
        hanging(screen, Text(best), 0)
    command = shlex.join(["counterpoint", "report", str(out)])
    screen.print(Text(f"\n{command}   draws it", style="dim"), soft_wrap=True)


def _metric_table(summary: Mapping[str, Any], metric: str) -> Table:
    """Every arm's figure of one metric, best first by the study's own; cost where it is that one."""
    from rich.table import Table

    first, baseline, differences = (
        metric == summary["primary"],
        summary["baseline"],
        summary["differences"][metric],
    )
    lower = metric in summary["lower_is_better"]
    seeds = len(summary["seeds"])
    title = f"{summary['what']}: {metric} on test, {counted(seeds, 'seed')}, data {summary['data']['spec']}"
    table = Table(
        title=title if first else f"\n{metric}",
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
    )
    columns = ("", "mean", "95% interval", f"minus {baseline}", "95% interval", "seeds won", "s/run", "MiB")
    for column in columns if first else columns[:-2]:
        table.add_column(
            column, header_style="dim", justify="left" if column == "" else "right", no_wrap=column == ""
        )
    for name in summary["ranked"]:
        arm, difference = summary["arms"][name], differences.get(name)
        figure, cost = arm["metrics"].get(metric), arm["cost"]
        if figure is None:
            continue
        cells = ["", "", ""]
        if difference is not None:
            count = won(difference, lower).replace(" seeds", "")
            cells = [signed(difference["mean"]), interval(difference, plus=True), count]
        costs = [
            duration(cost["wall_seconds"]["mean"]) if "wall_seconds" in cost else "",
            f"{cost['peak_rss_bytes']['mean'] / 2**20:,.0f}" if "peak_rss_bytes" in cost else "",
        ]
        better = {"above": "red", "below": "green"} if lower else {"above": "green", "below": "red"}
        table.add_row(
            f"[bold]{name}[/]" if name != baseline else f"{name} [dim](baseline)[/]",
            number(figure["mean"]),
            interval(figure),
            *cells,
            *(costs if first else ()),
            style=better.get((difference or {}).get("verdict", ""), ""),
        )
    return table
