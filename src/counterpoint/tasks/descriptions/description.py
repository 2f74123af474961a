"""The form of a description: how a kind of data is recognised, and which data it brings along."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from counterpoint.tasks.sample import FileSample, FolderSample


def _no(look: FileSample | FolderSample | str) -> bool:
    return False


def _nothing(look: FileSample) -> str:
    return ""


@dataclass(frozen=True, kw_only=True)
class Description:
    """A kind of data, as far as it is recognised before loading any.

    Attributes:
        kind: the catalog's name of the kind. looks: by what it is recognised, in words, for docs/data.md.
        bundled: name of a data set that comes along -> one line that says what it is, for ``counterpoint data list``. A name
            with a colon stands for all that begin with what is before the colon.
        loaders: the functions whose parameters are the data options, as "module:function": under "" the one of a person's own
            data, under a bundled name one of its own. ``tasks.documented`` reads them without importing any.
        inputs: data options that name the columns of what a model reads, so that predicting reads the same ones.
        file: whether a file is of this kind.
        folder: whether a folder is, by what only a folder has; a folder is also of the kind of the first file in it that is of one.
        name: whether a name that is no path and not bundled is of this kind.
        maybe: options with which a file that was not recognised could be read as this kind; empty where it could not.
    """

    kind: str
    looks: str = ""
    bundled: Mapping[str, str] = field(default_factory=dict)
    loaders: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    file: Callable[[FileSample], bool] = _no
    folder: Callable[[FolderSample], bool] = _no
    name: Callable[[str], bool] = _no
    maybe: Callable[[FileSample], str] = _nothing

    def recognises_name(self, name: str) -> bool:
        """Whether a name that is no path stands for data of this kind.

        >>> Description(kind="problems", bundled={"gym:sums": "sums"}).recognises_name("gym:products?size=3")
        True
        """
        families = tuple(entry.split(":")[0] + ":" for entry in self.bundled if ":" in entry)
        return name in self.bundled or (bool(families) and name.startswith(families)) or self.name(name)
