"""Which kind of data a file, a folder or a name is likely to be, from names and first lines alone. Loads no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from counterpoint.data.endings import UNREAD_PICTURES, UNREAD_SOUNDS
from counterpoint.data.walk import walk
from counterpoint.errors import CounterpointError
from counterpoint.tasks.sample import MOST_FILES, FileSample, FolderSample
from counterpoint.tasks.task import all_described, kinds


def kind_of(spec: str, options: Iterable[str] = ()) -> str:
    """The kind of data a spec is.

    ``options``: names of data options that were given; where content says nothing, the one kind that has them all is it.

    Raises:
        CounterpointError: it is neither a bundled name nor a path, or its content is of no kind that is known.
    """
    path = Path(spec)
    if not path.exists():
        from counterpoint.bundled.hub import HubName

        if HubName.of(spec) is not None and not any(each.recognises_name(spec) for each in all_described()):
            from counterpoint.data import hub

            return kind_of(str(hub.data(spec)), options)
        kind = next(
            (description.kind for description in all_described() if description.recognises_name(spec)), None
        )
        if kind is None:
            raise CounterpointError(
                f"'{spec}' is neither a file nor a bundled data set; counterpoint data list shows those"
            )
        return kind
    kind = _of_folder(FolderSample(path, _of_file)) if path.is_dir() else _of_file(FileSample(path))
    if kind is not None:
        return kind
    able = _taking(set(options))
    if len(able) != 1:
        raise CounterpointError(_unknown(spec, path, able))
    return able[0]


def _taking(options: set[str]) -> list[str]:
    """The kinds whose loader has all of these options; every kind where none has."""
    from counterpoint.tasks.documented import data_options

    able = [kind for kind in kinds() if options <= {each.name for each in data_options(kind).get("", ())}]
    return able or list(kinds())


def _of_folder(folder: FolderSample) -> str | None:
    kind = next((description.kind for description in all_described() if description.folder(folder)), None)
    return kind or folder.first_kind()


def _of_file(file: FileSample) -> str | None:
    return next((description.kind for description in all_described() if description.file(file)), None)


PACKED = {
    ".gz": "is compressed; unpack it (gunzip), and give the file that comes out",
    ".bz2": "is compressed; unpack it (bunzip2), and give the file that comes out",
    ".xz": "is compressed; unpack it (unxz), and give the file that comes out",
    ".zst": "is compressed; unpack it (unzstd), and give the file that comes out",
    ".zip": "is an archive; unpack it (unzip), and give the file or folder that comes out",
    ".tar": "is an archive; unpack it (tar -xf), and give the file or folder that comes out",
    ".tgz": "is an archive; unpack it (tar -xf), and give the file or folder that comes out",
    ".7z": "is an archive; unpack it, and give the file or folder that comes out",
    ".xlsx": "is a spreadsheet; save it as CSV (UTF-8), and give that file",
    ".xls": "is a spreadsheet; save it as CSV (UTF-8), and give that file",
    ".ods": "is a spreadsheet; save it as CSV (UTF-8), and give that file",
}
"""What to say of files that hold data in a wrapping."""


def _packed(path: Path) -> str | None:
    if not path.is_file():
        return None
    if path.stat().st_size == 0:
        return "is empty; expected rows"
    return PACKED.get(path.suffix.lower())


def _damage(path: Path) -> str | None:
    """What is wrong with a table that cannot be read, or is one object where rows were expected."""
    from counterpoint.data.tables import SUFFIXES, read_table

    if path.suffix.lower() not in SUFFIXES:
        return None
    try:
        table = read_table(path)
    except CounterpointError as error:
        return str(error)
    if path.suffix.lower() == ".json" and len(table) == 1:
        held = [name for name, cell in next(iter(table.rows())).items() if isinstance(cell, (list, dict))]
        if held:
            return (
                f"{path} holds one object, with all rows under {', '.join(map(repr, held[:3]))}; expected a list of objects, one a row: "
                "save that list alone, or a pandas table with to_json(path, orient='records')"
            )
    return None


def _unknown(spec: str, path: Path, able: Iterable[str]) -> str:
    """What to say of a path that no kind recognises, with the options that may read it; ``able``: the kinds that it may be."""
    hint = f"say it with --kind, one of {', '.join(able)}"
    if path.is_dir():
        endings = Counter(file.suffix or "no ending" for file in walk(path, limit=MOST_FILES).files)
        there = ", ".join(f"{count} {end}" for end, count in endings.most_common(4))
        phones = "; turn pictures into JPEG or PNG" if set(endings) & set(UNREAD_PICTURES) else ""
        phones += "; turn sounds into WAV or FLAC" if set(endings) & set(UNREAD_SOUNDS) else ""
        return f"{spec}: cannot tell what kind of data this is (files: {there or 'none'}{phones}); {hint}"
    if (what := _packed(path)) is not None:
        return f"{spec} {what}"
    if (damage := _damage(path)) is not None:
        return damage
    file = FileSample(path)
    shown = ", ".join(file.names[:8]) + (", ..." if len(file.names) > 8 else "")
    columns = f" from its columns {shown}" if len(file.names) > 1 and len(shown) < 200 else ""
    maybe = [options for description in all_described() if (options := description.maybe(file))]
    example = f"; for example {' or '.join(maybe)}" if maybe else ""
    return f"{spec}: cannot tell what kind of data this is{columns}; {hint}{example}"
