"""Regression: tables with a numeric column called target; under another name the person says which it is."""

from __future__ import annotations

from counterpoint.tasks.descriptions.description import Description
from counterpoint.tasks.sample import FileSample, is_number


def file(look: FileSample) -> bool:
    """Whether a table has a column called target."""
    return look.has("target")


def maybe(look: FileSample) -> str:
    """A table with a column of numbers, gaps aside: the last of them may be the target."""
    from counterpoint.data.tables.cells import NUMBER_GAPS

    def is_numeric(name: str) -> bool:
        cells = [str(row.get(name, "")).strip() for row in look.rows]
        numbers = [cell for cell in cells if cell not in NUMBER_GAPS]
        return bool(numbers) and all(map(is_number, numbers))

    numeric = [name for name in look.names if is_numeric(name)]
    return f"--kind regression --data-option target={numeric[-1]}" if len(look.names) > 1 and numeric else ""


DESCRIPTION = Description(
    kind="regression",
    looks="a table with a column `target`",
    loaders={"": "counterpoint.data.regression.load:load_regression"},
    bundled={
        "film-years": "1,152 films of MovieLens 100k: who rated them how, and genres; the year they came out",
        "garment-angles": "2,000 garments of Fashion-MNIST, each turned by some degrees; most stand nearly upright",
        "diabetes": "442 patients with ten measurements; how far the illness went in a year",
    },
    file=file,
    maybe=maybe,
    inputs=("images",),
)
