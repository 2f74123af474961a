"""What is said where several columns of a table have a usual name for one thing."""

from __future__ import annotations

from collections.abc import Sequence

from counterpoint.errors import data_option


def several_columns(matching: Sequence[str], option: str) -> list[str]:
    """A note on the columns that could be meant, too; the first is taken.

    >>> several_columns(["label", "class"], "label")
    ["the label is column 'label'; there is a column 'class', too: --data-option label=class reads that one"]
    >>> several_columns(["label"], "label")
    []
    """
    if len(matching) < 2:
        return []
    others = " and ".join(f"'{name}'" for name in matching[1:])
    return [
        f"the {option} is column '{matching[0]}'; there is a column {others}, too: {data_option(option, matching[1])} reads that one"
    ]
