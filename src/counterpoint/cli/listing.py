"""``counterpoint list`` and ``show``: what there is. ``list`` loads no torch."""

from __future__ import annotations

from typing import Annotated

import typer

from counterpoint.cli.options import complete_key
from counterpoint.cli.shell import command, console


@command
def list_methods(
    kind: Annotated[
        str | None, typer.Option(help="only methods for this kind of data", show_default=False)
    ] = None,
    family: Annotated[
        str | None, typer.Option(help="only methods of this family", show_default=False)
    ] = None,
    ready: Annotated[bool, typer.Option("--ready", help="only what can be run now")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the same as JSON")] = False,
) -> None:
    """List all methods and the baselines they are compared with; planned ones are marked."""
    from rich.table import Table

    from counterpoint.cli.output import show_table
    from counterpoint.errors import CounterpointError, nearest
    from counterpoint.methods.catalog import rows

    every = list(rows().values())
    for name, given in (("kind", kind), ("family", family)):
        values = {getattr(row, name) for row in every}
        if given is not None and given not in values:
            raise CounterpointError(f"no method has {name} '{given}'; {nearest(given, values)}")
    shown = [
        row
        for row in every
        if kind in (None, row.kind) and family in (None, row.family) and (row.ready or not ready)
    ]
    if as_json:
        import json
        from dataclasses import asdict

        typer.echo(json.dumps([asdict(row) | {"ready": row.ready} for row in shown], indent=1))
        return
    screen = console()
    for baseline, title in ((False, "Methods"), (True, "Baselines")):
        part = [row for row in shown if row.baseline is baseline]
        if not part:
            continue
        table = Table(
            title=f"{title} ({len(part)})", title_justify="left", title_style="bold", box=None, pad_edge=False
        )
        for column, options in (
            ("key", {"no_wrap": True}),
            ("", {}),
            ("data", {}),
            ("use", {"ratio": 1}),
            ("paper", {"no_wrap": True}),
        ):
            table.add_column(column, header_style="dim", **options)  # type: ignore[arg-type]
        for row in part:
            state, style = ("ready", "green") if row.ready else ("planned", "dim")
            paper = f"[dim]{row.paper}[/] {row.year}"
            table.add_row(
                f"[bold]{row.key}[/]" if row.ready else f"[dim]{row.key}[/]",
                f"[{style}]{state}[/]",
                row.kind,
                row.line,
                paper,
            )
        show_table(screen, table)
        screen.print()
    count = sum(row.ready for row in shown)
    screen.print(
        f"{count} of {len(shown)} can be run now; counterpoint show KEY tells more, counterpoint run KEY runs one"
    )


@command
def show(
    key: Annotated[
        str, typer.Argument(help="a method's key, see counterpoint list", autocompletion=complete_key)
    ],
    as_json: Annotated[bool, typer.Option("--json", help="print the same as JSON")] = False,
) -> None:
    """Show a method: its paper, what it needs, and every setting: what it does, its type, its default and whose it is, its range."""
    import inspect
    from dataclasses import asdict

    from rich.markup import escape
    from rich.table import Table

    from counterpoint.cli.output import described, emit, in_words, show_table, span
    from counterpoint.methods.catalog import load, row
    from counterpoint.methods.groups import settings_of
    from counterpoint.methods.ours import origin

    method, screen = row(key), console()
    if as_json:
        cls = load(key) if method.ready else None
        texts = described(cls) if cls is not None else {}
        emit(asdict(method) | {"ready": method.ready, "settings": [
            {"name": each.name, "what": texts.get(each.name, ""), "type": in_words(each.hint), "default": each.default,
             "origin": origin(key, each.name), "tuning": getattr(cls, "search", {}).get(each.name)}
            for each in (settings_of(cls).values() if cls is not None else ())
        ]})  # fmt: skip
        return
    screen.print(f"[bold]{method.key}[/]  {method.title}")
    screen.print(f"{method.line}")
    screen.print(
        f"[dim]arXiv {method.paper} ({method.year}) · {method.family} · learns from {method.kind}[/]"
    )
    if method.needs:
        screen.print(f"[dim]needs: pip install 'counterpoint\\[{method.needs}]'[/]")
    if not method.ready:
        screen.print("\nplanned: it cannot be run yet")
        return
    cls = load(key)
    screen.print("\n" + inspect.cleandoc(cls.__doc__ or "").split("\n\nAttributes")[0], markup=False)
    table = Table(box=None, pad_edge=False, title="\nSettings", title_justify="left", title_style="bold")
    for column in ("setting", "type", "default", "from", "tuning range", "what it does"):
        table.add_column(column, header_style="dim", no_wrap=column == "setting")
    texts = described(cls)
    for setting in settings_of(cls).values():
        table.add_row(
            f"--{setting.name.replace('_', '-')}",
            escape(in_words(setting.hint)),
            escape(str(setting.default)),
            escape(origin(key, setting.name)),
            escape(span(cls.search.get(setting.name))),
            escape(texts.get(setting.name, "")),
        )
    show_table(screen, table)
    screen.print(f"\ncounterpoint run {key} --data DATA --out OUT --steps 300")
