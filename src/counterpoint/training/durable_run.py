"""What of a Run survives a crash: its folder, what is registered, where it is; opened, saved and closed here.

``Run`` adds what ``fit`` calls. A checkpoint holds every registered object, the position in loops, rounds and stages, and how long
the logs were; whatever is begun after it is done again from the same random numbers.
"""

from __future__ import annotations

import json
import logging
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import torch
from rich.progress import Progress
from torch import nn

from counterpoint.errors import CounterpointError
from counterpoint.models import sharding
from counterpoint.training import distributed, launch
from counterpoint.training.budget import Budget
from counterpoint.training.checkpoint import Checkpoints
from counterpoint.training.durable import write_file
from counterpoint.training.evaluator import Evaluator
from counterpoint.training.events import Bar, Events
from counterpoint.training.internals.audit import Audit
from counterpoint.training.internals.cursor import Cursor, Loop
from counterpoint.training.internals.names import Names
from counterpoint.training.internals.pace import Pace
from counterpoint.training.internals.registry import Registry
from counterpoint.training.internals.signals import Signals
from counterpoint.training.report import Report
from counterpoint.training.sample_log import SampleLog
from counterpoint.training.seeds import derive, generator, seed_everything
from counterpoint.training.stages import Stages
from counterpoint.training.state import Stateful
from counterpoint.training.update import Updates

logger = logging.getLogger("counterpoint")
M = TypeVar("M", bound=nn.Module)
OWN = ("reported", "evaluator", "scaler")
"""Names of what a run registers by itself."""
ENDED = "ended.json"
"""Beside the checkpoints of a run that is done: what it spent, and why it cannot be given more, if so."""


class Interrupted(SystemExit):
    """Raised after a signal, once everything is saved. Exits with 128 + the signal's number; the same command goes on."""

    def __init__(self, out: Path, number: int = signal.SIGINT) -> None:
        super().__init__(128 + number)
        self.message = f"stopped and saved in {out}; the same command goes on from here"


class DurableRun:
    """One run's folder and state; see ``Run`` for the arguments."""

    def __init__(
        self,
        out: str | Path,
        *,
        seed: int = 0,
        budget: Budget | None = None,
        micro_batch_size: int | None = None,
        micro_batch_tokens: int | None = None,
        precision: Literal["no", "bf16", "fp16"] = "no",
        checkpoint_seconds: float = 120.0,
        checkpoint_steps: int | None = None,
        keep: int = 2,
        progress: Progress | bool | None = None,
        trackers: Sequence[str] = (),
        configuration: Mapping[str, Any] = {},
        audit: bool = False,
        shard: bool = False,
        evaluator: Evaluator | None = None,
    ) -> None:
        self.out, self.seed, self.budget = Path(out), seed, budget or Budget()
        self.micro_batch_size, self.micro_batch_tokens, self.keep = micro_batch_size, micro_batch_tokens, keep
        if micro_batch_size is not None and micro_batch_tokens is not None:
            raise CounterpointError(
                f"micro_batch_size={micro_batch_size} rows and micro_batch_tokens={micro_batch_tokens} both say how much is held "
                "at once; give one of them"
            )
        self.out.mkdir(parents=True, exist_ok=True)
        self.accelerator = launch.accelerator(precision, trackers, self.out)
        self.device: torch.device = self.accelerator.device
        self.rank, self.world = distributed.world()
        launch.agree(self.out)
        self.mesh = launch.mesh(shard, precision, self.device, self.world)
        self._sharded: list[Any] = []
        self._lock = launch.hold(self.out)
        self.events = Events(self.out / "events.jsonl", write=self.rank == 0)
        self.samples = SampleLog(self.out, write=self.rank == 0)
        self.checkpoints = Checkpoints(self.out / "checkpoints", keep, self.say, self.mesh)
        self.stages = Stages(
            self.out / "stages",
            seed,
            self.say,
            self._pause_between,
            lambda name, done, n: self._bar.show(name, done, n),
        )
        self.cursor = Cursor()
        self.row_offset = 0
        self.rng = generator(derive(seed, "start"))
        self._registry, self._names = Registry(), Names()
        self.reported = Report()
        self._registry.add("reported", self.reported)
        self._evaluator = evaluator
        if evaluator is not None:
            self._registry.add("evaluator", evaluator)
        self._in_once = False
        self._updates = Updates(self.accelerator)
        self._bar = Bar(progress if self.rank == 0 else False)
        self._audit = Audit() if audit else None
        self._walking: Loop | None = None
        self._signals = Signals()
        self._pace = Pace(checkpoint_seconds, checkpoint_steps)
        self._clock = time.monotonic()
        self._metrics: dict[str, float] = {}
        if trackers:
            launch.begin_trackers(self.accelerator, trackers, configuration)
            if self.rank == 0:
                for name in trackers:
                    logger.warning(launch.where_tracked(name, self.out))
        seed_everything(derive(seed, "start"))

    def state(self, **named: Any) -> Any:
        """Register what must survive: modules, teachers, memories. Returns them, on the device; a tuple if several.

        Registered objects are restored when the run opens (its first batch, round, stage or ``once``), so that the code
        at the top of ``fit`` always sees the initial state. What is registered later is restored at once.

        Raises:
            CounterpointError: an object without ``state_dict`` and ``load_state_dict``, or the name of something of the run's own.
        """
        for name, thing in named.items():
            self._require_free(name, f"run.state({name}=...)")
            if not isinstance(thing, Stateful):
                raise CounterpointError(
                    f"run.state({name}={type(thing).__name__}): it has no state_dict/load_state_dict; register a module, "
                    "an optimiser, a PerSample memory or an object with these two methods"
                )
            if isinstance(thing, nn.Module):
                thing = named[name] = launch.prepare(thing, self.device, self.world)
                self._shard(thing)
            self._register(name, thing)
        values = tuple(named.values())
        return values[0] if len(values) == 1 else values

    def _require_free(self, name: str, call: str, optimizer: bool = False) -> None:
        """Refuse a name under which something else would be saved: it would be replaced, and lost when the run is resumed."""
        there = self._registry.things.get(self._names.scope + name)
        owned = name in OWN or (name in self._updates.names) != optimizer
        if there is not None and owned:
            what = "an optimiser" if name in self._updates.names else type(there).__name__
            raise CounterpointError(
                f"{call}: '{name}' is {what} of this run already, which would be lost when it is resumed; give another name"
            )

    def _shard(self, thing: Any) -> None:
        held = launch.sharded(thing, self.mesh, self.accelerator.mixed_precision)
        self._sharded += [each for each in held if not any(each is other for other in self._sharded)]

    def gathered(self, model: M) -> M:
        """The model with whole weights: itself, or of a sharded one a copy on the first process (elsewhere without weights)."""
        return sharding.gathered(model)

    def say(self, line: str) -> None:
        """Tell the person one line, and keep it in the events."""
        logger.warning(line)
        if self.rank == 0:
            with (self.out / "messages.log").open("a", encoding="utf-8") as file:
                file.write(line + "\n")

    def save(self) -> None:
        """Write a checkpoint of everything registered, now."""
        self._tick()
        self.cursor.budget = self.budget.limits()
        began = time.monotonic()
        states, step = self._registry.capture(), int(self.cursor.spent["steps"])
        state = {"cursor": self.cursor.state_dict(), "events": self.events.lines, "states": states}
        state["samples"] = self.samples.lines
        if self.rank == 0 or self.mesh is not None:
            self.checkpoints.save(step, state)
        self._pace.saved(step, began)

    def save_to_grow(self) -> None:
        """Save the run at its end, and write beside its checkpoint what it spent and whether it can be given more."""
        self.save()
        if self.rank == 0:
            ended = {"spent": self.cursor.spent, "closed": self.cursor.closed()}
            write_file(self.checkpoints.folder / ENDED, json.dumps(ended, indent=1))

    def pause(self) -> None:
        """Stop here when a signal came: save, close and raise ``Interrupted``. For long work outside loops and stages."""
        self._save_or_stop()

    def close(self) -> None:
        """Release the folder, the signals and the bar."""
        self._bar.close()
        self.events.close()
        self._signals.close()
        if self.accelerator.trackers:
            self.accelerator.end_training()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> None:
        if self._registry.opened:
            return
        checkpoint = self.checkpoints.newest()
        self.events.cut(0 if checkpoint is None else checkpoint["events"])
        self.samples.cut(0 if checkpoint is None else checkpoint.get("samples", 0))
        if checkpoint is not None:
            self.cursor.load_state_dict(checkpoint["cursor"])
            self.cursor.grow(self.budget)
            self._pace.resumed(int(self.cursor.spent["steps"]))
        self._registry.open({} if checkpoint is None else checkpoint["states"])
        if self._evaluator is not None and self.cursor.grown:
            self._evaluator.go_on()
        self._clock = time.monotonic()

    def _register(self, name: str, thing: Stateful) -> None:
        # By scope: what is registered inside a round belongs to it, so the next round's starts fresh, resumed or not.
        self._registry.add(self._names.scope + name, thing)

    def _key(self, name: str) -> str:
        # Inside a loop's body a name belongs to the step, elsewhere to the round; a name used again gets a number.
        if self._walking is not None:
            return f"{self._walking.key}@{self._walking.position}/{name}"
        return self._names.key(name)

    def _advance(self, loop: Loop, size: int) -> None:
        self.cursor.advance(loop, size)
        self._tick()

    def _tick(self) -> None:
        now = time.monotonic()
        self.cursor.spent["seconds"] += now - self._clock
        self._clock = now

    def _save_or_stop(self, due: bool = False) -> None:
        stop = self._signals.requested
        if self.world > 1:  # all ranks save, or stop, together
            due, stop = (
                distributed.total(torch.tensor([due, stop], dtype=torch.int32, device=self.device))
                .bool()
                .tolist()
            )
        if due or stop:
            self.save()
        if stop:
            self.close()
            raise Interrupted(self.out, self._signals.number)

    def _between_passes(self, done: int, rows: int) -> None:
        if self.world == 1:  # elsewhere the others would wait for this process in the stage
            self._pause_between()

    def _pause_between(self) -> None:
        if self._walking is None:  # in the middle of a step there is nothing consistent to save
            self._save_or_stop(self._pace.due(int(self.cursor.spent["steps"])))
