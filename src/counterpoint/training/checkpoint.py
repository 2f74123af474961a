"""Checkpoints: one folder per saved step, newest whole one wins, bounded in number. Knows trees, not what they mean."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.distributed as dist

from counterpoint.training import together, tree
from counterpoint.training.durable import damage, write_folder


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: where they are kept, one subfolder ``step-000000012`` each.
        keep: how many whole checkpoints stay on disk (at least 1; 2 lets a damaged newest one be survived).
        say: called with one line when something is worth telling (a damaged checkpoint).
        mesh: the processes over which weights are sharded: all of them then write and read every checkpoint.
    """

    def __init__(self, folder: Path, keep: int, say: Callable[[str], None], mesh: Any = None) -> None:
        self.folder, self.keep, self.say, self.mesh = folder, max(keep, 1), say, mesh

    def save(self, step: int, state: Any) -> None:
        """Write the checkpoint of a step atomically, then remove the oldest beyond ``keep``."""
        target = self.folder / f"step-{step:09d}"
        if self.mesh is None:
            write_folder(target, lambda folder: tree.write(state, folder))
        else:
            together.write_folder(target, lambda folder: together.write(state, folder))
            if dist.get_rank():
                return
        for old in self._all()[: -self.keep]:
            shutil.rmtree(old, ignore_errors=True)

    def newest(self) -> Any | None:
        """Read the newest whole checkpoint; a torn or altered one is named, set aside and passed over."""
        if self.mesh is not None:
            return self._newest_together()
        for leftover in self.folder.glob(".writing-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        for folder in reversed(self._all()):
            fault = damage(folder)
            if fault is None:
                return self._read(folder)
            self.say(f"checkpoint {folder.name} cannot be used: {fault}; trying the one before it")
            aside = folder.with_name(f"damaged-{folder.name}")
            shutil.rmtree(aside, ignore_errors=True)
            folder.rename(aside)
        return None

    def _newest_together(self) -> Any | None:
        good, faults = together.newest(self._all(), damage)
        if dist.get_rank() == 0:
            for folder, fault in faults:
                self.say(f"checkpoint {folder.name} cannot be used: {fault}; trying the one before it")
        return None if good is None else self._read(good)

    def _read(self, folder: Path) -> Any:
        return together.read(folder, self.mesh) if (folder / together.SHARDS).exists() else tree.read(folder)

    def _all(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"))
