"""Which version of the code and of a case made a piece of evidence: the commit and a hash of the case's source."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import Any


def source_of(path: Path) -> dict[str, Any]:
    """Sha256 of a case's file, and in a repository the commit and whether the file differs from it.

    Returns:
        ``case`` (file name), ``case_sha256``, ``commit`` (None outside a repository), ``uncommitted`` (None there, too).
    """
    source: dict[str, Any] = {
        "case": path.name,
        "case_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "commit": None,
        "uncommitted": None,
    }
    if _git(path, "ls-files", "--error-unmatch", path.name) is None:
        return source  # no repository, or one that does not hold this file (an installed package inside some project)
    source["commit"] = _git(path, "rev-parse", "HEAD")
    source["uncommitted"] = bool(_git(path, "status", "--porcelain", "--", path.name))
    return source


def _git(path: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *words], cwd=path.parent, capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
