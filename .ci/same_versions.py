"""Exits 1 when an installed package has another version than the lock says, or when the lock does not name it."""

from __future__ import annotations

import sys
from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

BROUGHT_BY_VENV = {"pip", "setuptools", "wheel", "counterpoint"}
OF_A_GPU_BUILD = ("nvidia-", "cuda-")


def main(lock: Path) -> int:
    """Compare this environment with the lock."""
    wanted = {}
    for line in lock.read_text().splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate():
                wanted[canonicalize_name(requirement.name)] = requirement
    wrong = []
    for package in distributions():
        name = canonicalize_name(package.metadata["Name"])
        if name in BROUGHT_BY_VENV or name.startswith(OF_A_GPU_BUILD):
            continue
        if name not in wanted:
            wrong.append(f"{name} {package.version} is installed and not locked")
        elif not wanted[name].specifier.contains(Version(package.version).public, prereleases=True):
            wrong.append(f"{name} {package.version} is installed; the lock says {wanted[name]}")
    print("\n".join(wrong) or f"{len(wanted)} versions as locked")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
