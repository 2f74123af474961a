"""Stock models are taught once: made where the cache has none or an altered one, whole or not at all, and read from it afterwards."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from filelock import FileLock

from counterpoint.models.language import language
from counterpoint.models.language.language import Language
from counterpoint.training.durable import MANIFEST, damage, write_folder

M = TypeVar("M")
log = logging.getLogger("counterpoint")


def stored(group: str, name: str, identity: str, make: Callable[[], Language]) -> Language:
    """Return the language model of this identity; arguments as for ``stored_as``."""
    return stored_as(group, name, identity, make, lambda model, folder: model.save(folder), language.load)


def stored_as(
    group: str,
    name: str,
    identity: str,
    make: Callable[[], M],
    save: Callable[[M, Path], object],
    load: Callable[[Path], M],
) -> M:
    """Return the model of this identity, made now or read from the cache.

    Args:
        group: folder of the cache. name: what the model's own folder begins with.
        identity: everything that decides the weights; another text is another model.
        make: teaches it. Runs on one thread, so that the sums are the same whatever the machine's number of cores; processes
            that want the same model wait for the first of them, and a model whose saving was cut off does not stay.
        save, load: write it to a folder that does not exist yet, and open that folder.
    """
    from counterpoint.bundled.cache import root

    path: Path = root() / group / f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:10]}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(path.name + ".lock")):
        fault = damage(path) if (path / MANIFEST).exists() else None if path.is_dir() else "it is not there"
        if fault is not None:
            log.warning("%s is taught now, once, and kept in %s: %s", name, path, fault)
            threads = torch.get_num_threads()
            torch.set_num_threads(1)
            try:
                model = make()

                def fill(folder: Path) -> None:
                    folder.rmdir()  # savers make their folder
                    save(model, folder)

                write_folder(path, fill)
            finally:
                torch.set_num_threads(threads)
    return load(path)
