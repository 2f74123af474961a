"""Which kind of data a file, a folder or a name is likely to be, from names and first lines alone. Loads no torch."""

from __future__ import annotations

from pathlib import Path

from counterpoint.errors import CounterpointError
from counterpoint.tasks.sample import FileSample, FolderSample
from counterpoint.tasks.task import all_described, kinds


def kind_of(spec: str) -> str:
    """The kind of data a spec is.

    Raises:
        CounterpointError: it is neither a bundled name nor a path, or its content is of no kind that is known.
    """
    path = Path(spec)
    if not path.exists():
        from counterpoint.bundled.hub import HubName

        if HubName.of(spec) is not None and not any(each.recognises_name(spec) for each in all_described()):
            from counterpoint.data import hub

            return kind_of(str(hub.data(spec)))
        kind = next(
            (description.kind for description in all_described() if description.recognises_name(spec)), None
        )
        if kind is None:
            raise CounterpointError(
                f"'{spec}' is neither a file nor a bundled data set; counterpoint data list shows those"
            )
        return kind
    kind = _of_folder(FolderSample(path, _of_file)) if path.is_dir() else _of_file(FileSample(path))
    if kind is None:
        raise CounterpointError(_unknown(spec, path))
    return kind


def _of_folder(folder: FolderSample) -> str | None:
    kind = next((description.kind for description in all_described() if description.folder(folder)), None)
    return kind or folder.first_kind()


def _of_file(file: FileSample) -> str | None:
    return next((description.kind for description in all_described() if description.file(file)), None)


def _unknown(spec: str, path: Path) -> str:
    """What to say of a path that no kind recognises, with the options that may read it."""
    hint = f"say it with --kind, one of {', '.join(kinds())}"
    if path.is_dir():
        return f"{spec}: cannot tell what kind of data this is; {hint}"
    file = FileSample(path)
    shown = ", ".join(file.names[:8]) + (", ..." if len(file.names) > 8 else "")
    columns = f" from its columns {shown}" if len(file.names) > 1 and len(shown) < 200 else ""
    maybe = [options for description in all_described() if (options := description.maybe(file))]
    example = f"; for example {' or '.join(maybe)}" if maybe else ""
    return f"{spec}: cannot tell what kind of data this is{columns}; {hint}{example}"
