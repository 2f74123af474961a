"""Durable stages: expensive work that is not a gradient step, done once and kept on disk, in shards if asked."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from counterpoint.errors import CounterpointError
from counterpoint.training import distributed, tree
from counterpoint.training.durable import damage, write_folder
from counterpoint.training.seeds import derive, seed_everything


class Stages:
    """The stages of one run, one folder each.

    Args:
        folder: where results are kept. seed: of the run. say: told when a stored result is damaged and made anew.
        pause: called after each shard; it may save and raise when a signal came.
        show: called with (name, shards done, shards in all).
    """

    def __init__(
        self,
        folder: Path,
        seed: int,
        say: Callable[[str], None],
        pause: Callable[[], None],
        show: Callable[[str, int, int], None],
    ) -> None:
        self.folder, self.seed, self.say, self.pause, self.show = folder, seed, say, pause, show
        self._settled = False

    def run(
        self, key: str, fn: Callable[..., Any], over: Sequence[Any] | None, size: int, settled: bool = False
    ) -> Any:
        """Result of ``fn()``, or the joined lists of ``fn(shard)`` over shards of ``over``; from disk where it is there.

        ``settled`` says that the restored state is later than this stage, so that it cannot be made anew.
        """
        self._settled = settled
        if over is None:
            result = self._one(key, fn, owner=0)
        else:
            shards = [over[i : i + size] for i in range(0, len(over), size)]
            _, world = distributed.world()
            with self._parallel():
                for number, shard in enumerate(shards):
                    self._compute(f"{key}/{number:05d}", partial(fn, shard), owner=number % world)
                    self.show(key, number + 1, len(shards))
                    if world == 1:
                        self.pause()
            parts = [self._load(f"{key}/{number:05d}") for number in range(len(shards))]
            result = [item for part in parts for item in part]
        seed_everything(derive(self.seed, key, "after"))
        return result

    def _one(self, key: str, fn: Callable[[], Any], owner: int) -> Any:
        with self._parallel():
            self._compute(key, fn, owner)
        return self._load(key)

    @contextlib.contextmanager
    def _parallel(self) -> Iterator[None]:
        yield
        if distributed.world()[1] > 1:
            torch.distributed.barrier()

    def _compute(self, key: str, fn: Callable[[], Any], owner: int) -> None:
        if distributed.world()[0] != owner:
            return
        target = self.folder / key
        if self._settled and not target.exists():
            target.mkdir(parents=True)  # an empty folder is a damaged one
        if target.exists():
            fault = damage(target)
            if fault is None:
                return
            if self._settled:
                raise CounterpointError(
                    f"the result of stage {key} cannot be used: {fault}; the run has trained on since, so it cannot be made "
                    f"anew from the same state: put the folder {target} back, or start again in another --out"
                )
            self.say(f"stage {key} is made anew: {fault}")
        seed_everything(derive(self.seed, key))
        result = fn()
        write_folder(target, lambda folder: tree.write(result, folder))

    def _load(self, key: str) -> Any:
        # Always from disk, also right after computing: what a resumed run sees is what the unbroken one saw.
        return tree.read(self.folder / key)
