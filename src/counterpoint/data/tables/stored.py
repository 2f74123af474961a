"""Typed tables: Parquet files, and folders saved by the `datasets` library. Class names are read with the columns."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from counterpoint import library_bars
from counterpoint.errors import CounterpointError, MissingExtra

ROW_NUMBERS = re.compile(r"__index_level_\d+__")
"""What pandas calls a nameless index in a Parquet file."""


def read_parquet(path: Path) -> tuple[pa.Table, tuple[str, ...]]:
    """Columns of a Parquet file, and the names of those that pandas wrote as a named index.

    Raises:
        CounterpointError: a damaged file.
    """
    try:
        # One file, whatever its folder is called: no partitions are read out of the path.
        with pyarrow.parquet.ParquetFile(path) as file:
            table = file.read()
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise CounterpointError(
            f"{path}: not a readable Parquet file ({_line(error)}); write it anew, it may be damaged or cut off"
        ) from None
    metadata = table.schema.metadata or {}
    named = _class_names(metadata.get(b"huggingface"))
    index = _pandas_index(metadata.get(b"pandas"))
    return prepared(table, named, path), tuple(
        name for name in index if name in table.column_names and not ROW_NUMBERS.fullmatch(name)
    )


def parquet_batches(path: Path, size: int) -> tuple[int, Iterator[pa.Table]]:
    """How many rows a Parquet file holds, and its columns as of ``read_parquet``, at most ``size`` rows at a time.

    Raises:
        CounterpointError: a damaged file; what is damaged further on, when it is read.
    """

    def damaged(error: BaseException) -> CounterpointError:
        return CounterpointError(
            f"{path}: not a readable Parquet file ({_line(error)}); write it anew, it may be damaged or cut off"
        )

    def batches() -> Iterator[pa.Table]:
        try:
            # Read ahead, the bytes of all row groups would stay in memory until the last.
            with pyarrow.parquet.ParquetFile(path, pre_buffer=False, buffer_size=2**20) as file:
                named = _class_names((file.schema_arrow.metadata or {}).get(b"huggingface"))
                for batch in file.iter_batches(batch_size=size):
                    yield prepared(pa.Table.from_batches([batch]), named, path)
        except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
            raise damaged(error) from None

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            return int(file.metadata.num_rows), batches()
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise damaged(error) from None


def is_saved(path: Path) -> bool:
    """Whether the `datasets` library saved a folder: a data set, or several by split.

    Raises:
        CounterpointError: it holds what that library writes, but not the file that says how it belongs together.
    """
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        return True
    parts = sorted(file.parent.name for file in path.glob("*/state.json") if any(file.parent.glob("*.arrow")))
    if parts:
        raise CounterpointError(
            f"{path} holds data sets of the datasets library ({', '.join(parts)}) and no dataset_dict.json; copy the folder whole, or "
            f"write that file: {json.dumps({'splits': parts})}"
        )
    arrow = sorted(file.name for file in path.glob("*.arrow"))
    if arrow:
        raise CounterpointError(
            f"{path} holds {arrow[0]} of the datasets library and no state.json; copy the folder whole, or save it with "
            f"datasets.Dataset.from_file({str(path / arrow[0])!r}).save_to_disk(FOLDER), and give that folder"
        )
    return False


def read_saved(path: Path) -> dict[str, pa.Table]:
    """Columns of each split of a folder saved by the `datasets` library; "" where it holds no splits.

    Raises:
        CounterpointError: a damaged folder. MissingExtra: the library is not installed.
    """
    return {name: prepared(table, classes, path) for name, (table, classes) in saved_columns(path).items()}


def saved_columns(path: Path) -> dict[str, tuple[pa.Table, dict[str, list[str]]]]:
    """The same as they lie on disk, memory-mapped, each with the names of its classes by column."""
    try:
        import datasets
    except ImportError:
        raise MissingExtra("datasets", "language") from None
    library_bars.hide("datasets")
    try:
        saved = datasets.load_from_disk(str(path))
        parts = {"": saved} if isinstance(saved, datasets.Dataset) else dict(saved)
        columns = {
            name: (part.with_format("arrow")[:], _feature_names(part.features))
            for name, part in parts.items()
            if len(part)
        }
    except Exception as error:  # whatever a damaged folder makes the library raise becomes one line
        raise CounterpointError(
            f"{path}: not a readable folder of the datasets library ({type(error).__name__}: {_line(error)}); save it anew "
            "with save_to_disk"
        ) from None
    if not columns:
        raise CounterpointError(f"{path} holds no rows; expected one example per row")
    return columns


def prepared(table: pa.Table, names: dict[str, list[str]], path: Path) -> pa.Table:
    """Columns of plain types: classes by name, dictionaries unpacked, decimals as numbers; nameless row numbers dropped.

    Args:
        table: as read.
        names: of the classes, by column.
        path: for messages.
    """
    twice = {name for name in table.column_names if table.column_names.count(name) > 1}
    if twice:
        raise CounterpointError(f"{path}: the column '{min(twice)}' occurs twice; rename one")
    try:
        table.validate(full=True)  # also that text is UTF-8
    except pa.ArrowException as error:
        raise CounterpointError(f"{path}: damaged ({_line(error)}); write it anew") from None
    columns = {}
    for name in table.column_names:
        if ROW_NUMBERS.fullmatch(name):
            continue
        try:
            column = _plain(table.column(name))
            columns[name] = _named(column, names[name]) if name in names else column
        except (pa.ArrowException, NotImplementedError, IndexError) as error:
            raise CounterpointError(
                f"{path}: column '{name}' of type {table.schema.field(name).type} cannot be read ({_line(error)})"
            ) from None
    return pa.table(columns) if columns else table.select([])


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], kind.storage_type)
        kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_run_end_encoded(kind):
        column = pa.chunked_array([pc.run_end_decode(chunk) for chunk in column.chunks], kind.value_type)
        kind = column.type
    if pa.types.is_decimal(kind):
        if kind.scale <= 0 and kind.precision <= 18:
            return column.cast(pa.int64())
        return column.cast(pa.float64(), safe=False)
    if pa.types.is_large_string(kind) or str(kind) == "string_view":
        return column if column.nbytes > 2**31 - 2 else column.cast(pa.string())
    if str(kind) == "halffloat":
        return column.cast(pa.float32())
    # Python's own times know microseconds; what is finer would need another library.
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return column.cast(pa.timestamp("us", kind.tz), safe=False)
    if pa.types.is_duration(kind) and kind.unit == "ns":
        return column.cast(pa.duration("us"), safe=False)
    return column


def _named(column: pa.ChunkedArray, names: list[str]) -> pa.ChunkedArray:
    """Whole numbers become the names of their classes, also within lists; -1 is no class."""
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        listed = pa.list_(pa.int64()) if not pa.types.is_large_list(kind) else pa.large_list(pa.int64())
        parts = []
        for chunk in column.cast(listed).chunks:
            inner = _take(pa.chunked_array([chunk.values]), names).combine_chunks()
            made = type(chunk).from_arrays(chunk.offsets, inner)
            parts.append(pc.if_else(pc.is_valid(chunk), made, None) if chunk.null_count else made)
        return pa.chunked_array(parts, pa.list_(pa.string()) if not pa.types.is_large_list(kind) else None)
    return _take(column, names) if pa.types.is_integer(kind) else column


def _take(column: pa.ChunkedArray, names: list[str]) -> pa.ChunkedArray:
    codes = column.cast(pa.int64())
    codes = pc.if_else(pc.less(codes, 0), None, codes)
    return pa.chunked_array(
        [pc.take(pa.array(names, pa.string()), chunk) for chunk in codes.chunks], pa.string()
    )


def _feature_names(features: Any) -> dict[str, list[str]]:
    """Class names by column, of the `datasets` library's features."""
    result = {}
    for name, feature in features.items():
        inner = getattr(feature, "feature", None)
        names = getattr(feature, "names", None) or getattr(inner, "names", None)
        if isinstance(names, list):
            result[name] = [str(one) for one in names]
    return result


def _class_names(metadata: bytes | None) -> dict[str, list[str]]:
    """The same out of a Parquet file that the `datasets` library wrote."""
    result = {}
    features = _content(metadata).get("info", {})
    features = features.get("features", {}) if isinstance(features, dict) else {}
    for name, feature in features.items() if isinstance(features, dict) else ():
        for part in (feature, feature.get("feature")) if isinstance(feature, dict) else ():
            if isinstance(part, dict) and isinstance(part.get("names"), list):
                result[name] = [str(one) for one in part["names"]]
    return result


def _pandas_index(metadata: bytes | None) -> list[str]:
    columns = _content(metadata).get("index_columns", [])
    return [name for name in columns if isinstance(name, str)] if isinstance(columns, list) else []


def _content(metadata: bytes | None) -> dict[str, Any]:
    try:
        content = json.loads(metadata or b"{}")
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
