"""Who may read a model's files: whoever the process's umask lets."""

from __future__ import annotations

import os
from pathlib import Path


def give_ordinary_modes(folder: Path) -> None:
    """Let a folder's files be read as new files are: safetensors 0.8 writes weights for their owner alone, whom a server or a
    colleague is not.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> file = folder / "model.safetensors"
    >>> _ = file.write_bytes(b""), file.chmod(0o600), (folder / "config.json").write_text("{}")
    >>> give_ordinary_modes(folder)
    >>> file.stat().st_mode == (folder / "config.json").stat().st_mode
    True
    """
    mask = os.umask(0o077)
    os.umask(mask)
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink():
            file.chmod(0o666 & ~mask)
