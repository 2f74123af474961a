"""One strict reader of tables under every kind of data: CSV, TSV, JSON, JSON lines, Parquet and `datasets` folders.

``encodings`` turns bytes into text, ``delimited``, ``json_rows`` and ``stored`` read a format each, ``cells`` says what
cells mean, ``read`` opens files and folders. A damaged file ends in one ``CounterpointError`` that names it.
"""

from counterpoint.data.tables.on_disk import RowsOnDisk
from counterpoint.data.tables.read import (
    SPLITS,
    SUFFIXES,
    Rows,
    read_file,
    read_splits,
    read_table,
    row_at,
    row_name,
    split_of,
    splits_named,
)
from counterpoint.data.tables.stored import read_parquet
from counterpoint.data.tables.table import Row, Table

__all__ = [
    "SPLITS",
    "SUFFIXES",
    "Row",
    "Rows",
    "RowsOnDisk",
    "Table",
    "read_file",
    "read_parquet",
    "read_splits",
    "read_table",
    "row_at",
    "row_name",
    "split_of",
    "splits_named",
]
