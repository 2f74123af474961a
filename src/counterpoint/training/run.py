"""The Run: who is updated, when, and what survives a crash.

``fit`` reads from top to bottom; the Run makes it resumable. The same command executes ``fit`` again: deterministic
initialisation is repeated, finished loops, stages and ``once`` bodies are passed over, the loop at hand goes on at its
next batch, with bit-identical state. Everything that changes must therefore be registered with ``state``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from counterpoint.errors import CounterpointError
from counterpoint.models import passes, sharding
from counterpoint.objectives.reduction import Loss
from counterpoint.training import distributed
from counterpoint.training.batches import Batch, BatchPlan, ItemRandom, Order, fetch, send, share
from counterpoint.training.durable_run import DurableRun, Interrupted
from counterpoint.training.internals.cursor import Loop
from counterpoint.training.microbatch import forward_in_pieces
from counterpoint.training.optimizer import Optimizer
from counterpoint.training.report import Row
from counterpoint.training.sample_log import Row as SampleRow
from counterpoint.training.seeds import derive, generator, seed_everything

T = TypeVar("T")
M = TypeVar("M", bound=nn.Module)

__all__ = ["Interrupted", "Run"]


class Run(DurableRun):
    """One training run in one folder.

    Args:
        out: the run's folder; checkpoints, stages and events live in it.
        seed: every random number of the run derives from it.
        budget: when given, it replaces the methods' own number of epochs, shared evenly among remaining rounds.
        micro_batch_size: rows whose activations are held at once, in training and in passes without gradient (sampling,
            judging, references); the loss is the whole batch's, whatever it is.
        micro_batch_tokens: the same as a number of tokens, for language models; give one of the two.
        precision: "no" (fp32), "bf16" or "fp16" autocast.
        checkpoint_seconds, checkpoint_steps: save when either has passed since the last save.
        keep: whole checkpoints kept on disk.
        progress: None shows a bar on a terminal, False none; a rich Progress is shared.
        trackers: names Accelerate knows ("tensorboard", "wandb", ...). configuration: what they are given of the run.
        evaluator: measures the model every so many steps, keeps the best, may end the training.
        audit: check after every step that all changing tensors are registered (slow; for tests).
        shard: over several processes, each holds a part of every language model (FSDP2); one process holds it whole.
    """

    def constant(self, module: M) -> M:
        """Move a module that never changes to the device: evaluation mode, no gradient, not saved."""
        module = sharding.to_device(module, self.device).eval().requires_grad_(False)
        self._shard(module)
        return module

    def optimize(self, model: nn.Module, optimizer: Optimizer, name: str = "optimizer") -> None:
        """Build and register the optimiser that ``step`` uses for ``model``'s trainable parameters.

        Raises:
            CounterpointError: a name under which something else is registered.
        """
        self._require_free(name, f"run.optimize(..., name='{name}')", optimizer=True)
        self._register(name, self._updates.add(name, model, optimizer))
        if self._evaluator is not None and name == "optimizer":
            parts = ((key, thing) for key, thing in self._registry.things.items() if thing is model)
            self._evaluator.train(model, next((key for key, _ in parts), ""))
        if self.accelerator.scaler is not None:
            self._register("scaler", self.accelerator.scaler)

    def rounds(self, count: int) -> Iterator[int]:
        """Rounds of generate, judge, train. A resumed run starts in the round it was in."""
        self._open()
        key = self._key("rounds")
        for number in range(self.cursor.rounds.get(key, 0), count):
            self.cursor.rounds[key] = number
            self.cursor.rounds_left = count - number
            scope = f"{key}-{number}/"
            outer = self._names.enter(scope)
            seed_everything(derive(self.seed, scope))
            yield number
            self.cursor.forget(scope)
            self._registry.forget(scope)
            self._names.leave(outer)
        self.cursor.rounds[key] = count
        self.cursor.rounds_left = 1

    def batches(
        self,
        source: Any,
        size: int,
        *,
        epochs: float | None = None,
        shuffle: bool = True,
        drop_last: bool = False,
        order: Order | None = None,
        collate: Callable[[list[Any]], Any] | None = None,
        name: str = "train",
    ) -> Iterator[Batch]:
        """Seeded, resumable batches over ``source`` until ``epochs``, or the budget when one is given, is used up.

        Args:
            source: has a length and gives rows for a [N] index tensor; a plain sequence is read item by item.
            size: rows of the global batch, over all ranks.
            order: ``(epoch, generator) -> positions`` for a sampler of one's own (class-balanced, curriculum).
            collate: turns a list of items into a batch, for sources that are read item by item.
        """
        self._open()
        if self._walking is not None:
            raise CounterpointError(
                f"loop '{name}' inside loop '{self._walking.key}': loops do not nest; use run.rounds around them"
            )
        key = self._key(name)
        plan = BatchPlan(len(source), size, self.seed, key, shuffle, drop_last, order)
        loop = self.cursor.enter(key, plan.steps_per_epoch, epochs, self.budget)
        if loop is not None:
            self._walking = loop
            self._say_grown(loop)
            try:
                yield from self._walk(loop, plan, source, collate)
            finally:
                self._walking = None
        seed_everything(derive(self.seed, key, "end"))
        self.rng = generator(derive(self.seed, key, "end"))

    def rows_ahead(
        self,
        source: Sequence[Any],
        size: int,
        *,
        epochs: float | None = None,
        drop_last: bool = False,
        order: Order | None = None,
        tokens: Callable[[int], int] | None = None,
        name: str = "train",
    ) -> list[int]:
        """Rows that the next ``batches`` of these arguments will draw, sorted: those that a pass beforehand is worth.

        Seconds end no loop here: where only they are limited, every row may be drawn. Call it in a durable stage, whose
        result a resumed run reads.

        Args:
            tokens: what a row will count as in ``step(tokens=...)``; without it a limit on tokens is no limit here, either.
        """
        key = self._names.ahead(name)
        plan = BatchPlan(len(source), size, self.seed, key, True, drop_last, order)
        loop = self.cursor.begin(key, plan.steps_per_epoch, epochs, self.budget)
        spent = dict(self.cursor.spent)

        def finished(position: int, rows: Tensor) -> bool:
            loop.position = position
            if loop.finished(spent):
                return True
            spent["steps"] += 1
            spent["examples"] += len(rows)
            if tokens is not None and "tokens" in loop.limits:
                spent["tokens"] += sum(map(tokens, rows.tolist()))
            return False

        return plan.drawn(finished)

    def prepared(self, whole: bool) -> None:
        """Say whether what was computed beforehand is about every row, or only about those that the budget will use: a finished
        run can then be given no larger one. Call it in every session.
        """
        self._open()
        self.cursor.foreseen |= not whole

    def _say_grown(self, loop: Loop) -> None:
        if not self.cursor.grown:
            return
        self.cursor.grown = False
        progress = loop.progress(self.cursor.spent)
        for name, rate, constant in self._updates.rates(progress):
            how = (
                "which is constant, as one longer run's"
                if constant
                else "by the schedule of the larger budget; the steps before were made under that of the smaller one"
            )
            which = "the learning rate" if name == "optimizer" else f"the learning rate of {name}"
            self.say(
                f"goes on after {int(self.cursor.spent['steps'])} steps; {which} goes on at {rate:.3g}, {how}"
            )

    def _walk(self, loop: Loop, plan: BatchPlan, source: Any, collate: Any) -> Iterator[Batch]:
        epoch, order = -1, torch.empty(0)
        while not self._finished(loop):
            position = loop.position
            if position // plan.steps_per_epoch != epoch:
                epoch = position // plan.steps_per_epoch
                order = plan.epoch_order(epoch)
            rows = plan.rows(position, order)
            mine = share(len(rows), self.rank, self.world)
            seed_everything(derive(self.seed, plan.loop, "step", position, self.rank))
            self.rng = generator(derive(self.seed, plan.loop, "shared", position))
            self.row_offset = mine.start
            draws = ItemRandom(derive(self.seed, plan.loop, "rows", position), len(rows), mine, self.device)
            items = fetch(source, rows[mine], collate)
            if self.device.type != "cpu":
                items = send(items, self.device)
            try:
                with passes.limits(self.micro_batch_size, tokens=self.micro_batch_tokens):
                    yield Batch(items, rows[mine], len(rows), mine.start, draws, position, epoch)
            except GeneratorExit:  # the method left the loop on its own
                self._advance(loop, len(rows))
                self.cursor.finish(loop)
                raise
            self._advance(loop, len(rows))
            self._after_step(loop, plan)
        self.cursor.finish(loop)

    @property
    def progress(self) -> float:
        """How far the loop at hand has come, in [0, 1]."""
        return self.cursor.loop.progress(self.cursor.spent) if self.cursor.loop else 0.0

    def forward(self, model: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """``model(*args, **kwargs)`` under the run's precision and in its micro-batches; the outputs are the whole batch's."""
        with self.accelerator.autocast():
            if self.micro_batch_size is None and self.micro_batch_tokens is None:
                return model(*args, **kwargs)
            tokens = self.micro_batch_tokens
            return forward_in_pieces(model, self.micro_batch_size, *args, tokens=tokens, **kwargs)

    def gather(self, rows: Tensor) -> Tensor:
        """[n, ...] -> [N, ...] over ranks, differentiable; this rank's rows start at ``run.row_offset``."""
        return distributed.gather(rows)

    @torch.no_grad()
    def gather_constant(self, rows: Tensor) -> Tensor:
        """As ``gather``, without gradient."""
        return distributed.gather(rows.detach())

    def step(
        self,
        losses: Tensor | Loss | Mapping[str, Tensor | Loss],
        *,
        tokens: int = 0,
        optimizer: str = "optimizer",
    ) -> float:
        """Reduce per-item losses over the global batch, back-propagate, clip, update. Returns the total loss.

        Raises:
            CounterpointError: the loss is not finite, or nothing was given to optimise.
        """
        report = self._updates.apply(optimizer, losses, self.progress)
        sharding.settle(*self._sharded)  # teachers that answered give their whole copies back
        # Every rank adds, also one whose rows have no tokens: a collective that some skip holds the others up.
        self.cursor.spent["tokens"] += float(distributed.total(torch.tensor(int(tokens), device=self.device)))
        self._metrics |= {**report, "learning_rate": self._updates.rate(optimizer, self.progress)}
        if self.cursor.spent["tokens"]:
            self._metrics["tokens"] = self.cursor.spent["tokens"]
        return report["loss"]

    def stage(
        self, name: str, fn: Callable[..., T], *, over: Sequence[Any] | None = None, size: int = 64
    ) -> T:
        """Durable work: ``fn()`` once, or ``fn(shard)`` per durable shard of ``over``. Its result is read back from disk.

        Results are plain data with tensors. ``fn`` must not train, register or call collectives: across processes the
        shards are divided, and a result without shards is made by the first one.
        """
        self._open()
        key = self._key(name)
        limits = passes.limits(self.micro_batch_size, self._between_passes, tokens=self.micro_batch_tokens)
        with sharding.whole(*self._sharded), limits:
            result = self.stages.run(key, fn, over, size, settled=key in self.cursor.done)
        if self._walking is None and key not in self.cursor.done:
            self.cursor.done.append(key)
        return result

    def once(self, name: str, fn: Callable[[], Any]) -> None:
        """Run code that changes registered state between loops (refresh a reference), exactly once in the run's history."""
        self._open()
        key = self._key(name)
        if key not in self.cursor.done:
            seed_everything(derive(self.seed, key))
            self._in_once = True
            try:
                with passes.limits(self.micro_batch_size, tokens=self.micro_batch_tokens):
                    fn()
            finally:
                self._in_once = False
            self.cursor.done.append(key)
        seed_everything(derive(self.seed, key, "after"))

    def log(self, **scalars: float) -> None:
        """Add figures to the event of the step at hand; outside a loop, write an event of their own, once in the run."""
        values = {k: float(v) for k, v in scalars.items()}
        if self._walking is not None:
            self._metrics |= values
            return
        self._open()
        key = self._key("log")
        if key not in self.cursor.done:
            self.events.emit(step=int(self.cursor.spent["steps"]), **values)
            self.cursor.done.append(key)

    def report(self, **named: float | Sequence[Row] | Mapping[str, Sequence[Any]]) -> None:
        """Hand on what training learnt about itself: a figure, rows of a table, or a table's columns; once in the run's history.

        It is saved with the run, written beside the model, and given to measurements and pages (``training.report.Report``).

        ``run.report(mean_coupling=0.4)``, ``run.report(stages=[{"stage": 1, "accuracy": 0.9}])``,
        ``run.report(temperatures={"row": [0, 1], "temperature": [0.1, 0.2]})``
        """
        if (
            self._walking is not None or self._in_once
        ):  # the step, or the body, is repeated only where its effects were lost
            self.reported.add(**named)
            return
        self._open()
        key = self._key("report")
        if key not in self.cursor.done:
            self.reported.add(**named)
            self.cursor.done.append(key)

    def record_samples(self, rows: Iterable[SampleRow]) -> None:
        """Keep what was sampled and how it was judged, to be read (``counterpoint show-samples``): a row a prompt, once in the
        run's history, in ``samples.jsonl``.

        ``run.record_samples([{"prompt": "2+2=", "answers": [{"text": "4", "rewards": {"verifier": 1.0}}]}])``
        """
        if self._walking is None and not self._in_once:
            self._open()
            key = self._key("samples")
            if key in self.cursor.done:
                return
            self.cursor.done.append(key)
        self.samples.add(rows, int(self.cursor.spent["steps"]))

    def _after_step(self, loop: Loop, plan: BatchPlan) -> None:
        step = int(self.cursor.spent["steps"])
        if self._metrics:
            self.events.emit(
                step=step, loop=loop.key, epoch=(loop.position - 1) // plan.steps_per_epoch, **self._metrics
            )
            if self.accelerator.trackers:
                self.accelerator.log(self._metrics, step=step)
        note = f"loss {self._metrics['loss']:.4f}" if "loss" in self._metrics else ""
        self._bar.show(loop.key, *loop.fraction(self.cursor.spent), note)
        self._metrics = {}
        if self._audit is not None:
            self._audit.look(self._registry.things)
        due = self._pace.due(step)
        self._evaluate(step, loop)
        if self._finished(loop):
            # A resumed run passes a finished loop over even when a larger budget is given meanwhile. Nothing is saved for
            # its last step alone: where the run ends here, the checkpoint would be deleted at once.
            self.cursor.finish(loop)
            due = False
        self._save_or_stop(due)

    def _finished(self, loop: Loop) -> bool:
        stopped = self._evaluator is not None and self._evaluator.stopped
        return stopped or loop.finished(self.cursor.spent)

    def _evaluate(self, step: int, loop: Loop) -> None:
        """Measure the model where that is due; the time it takes is not the training's."""
        if self._evaluator is None or not self._evaluator.due(step):
            return
        figures = dict(self._evaluator.look(step, self.rank == 0))
        if self.rank == 0:
            self.events.emit(step=step, loop=loop.key, evaluation=figures)
            self.reported.add(evaluations=[{"step": step, **figures}])
            if self.accelerator.trackers:
                self.accelerator.log({f"validation/{name}": v for name, v in figures.items()}, step=step)
        if self._evaluator.stopped:
            self.say(
                f"stopped after {step} steps: {self._evaluator.patience} measurements in a row were no better than that of step "
                f"{self._evaluator.step}"
            )
        self._clock = time.monotonic()
