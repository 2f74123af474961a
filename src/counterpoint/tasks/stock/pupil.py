"""The pupil: a small character model, taught from scratch to add and to sort, that reads worked demonstrations well.

It adds three-digit numbers poorly by itself and almost perfectly when the worked solution stands in its prompt: the
precondition of every method that distils a model from itself with a hint. Made in about two minutes on first use (the
steps alone decide its weights on one machine), then kept in the cache.
"""

from __future__ import annotations

import inspect
import logging
import random
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from counterpoint.data.language.problems import Problem
from counterpoint.data.language.puzzles import sorting_problem, sum_problem
from counterpoint.data.language.reasoning import parse
from counterpoint.errors import CounterpointError, nearest
from counterpoint.kernels.vocabulary import log_probs
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import Language
from counterpoint.models.tokens import join
from counterpoint.objectives.preference.likelihood import nll
from counterpoint.tasks.stock.stored import stored
from counterpoint.training import Optimizer, Run

TEMPLATE = "{demonstration}#{prompt}"
"""How the pupil is shown a demonstration: in front of the problem, after a number sign."""
log = logging.getLogger("counterpoint")


@dataclass(frozen=True)
class Examples:
    """The pupil's training examples; every one follows from its number alone.

    Attributes:
        steps, size: optimiser steps and examples in each.
        seed: of weights and examples.
        layers, width: of the model.
        digits: of the hard sums.
    """

    steps: int = 900
    size: int = 32
    seed: int = 0
    layers: int = 2
    width: int = 128
    digits: int = 3

    def __len__(self) -> int:
        return self.steps * self.size

    def __getitem__(self, index: Iterable[int]) -> list[tuple[str, str]]:
        return [self.example(int(number)) for number in index]

    def example(self, number: int) -> tuple[str, str]:
        """Return (prompt, solution) number ``number``.

        A quarter is sorting (half of it with its demonstration), a fifth easy sums alone, a twentieth hard sums alone, a
        third hard sums with their demonstration, the rest easy sums with another problem's.
        """
        draw = random.Random(f"{self.seed}/{number}")
        kind = draw.random()
        if kind < 0.25:
            problem = sorting_problem("".join(draw.choices("abcdefghij", k=draw.randint(3, 6))))
            demonstration = problem.solution if draw.random() < 0.5 else ""
        elif kind < 0.45:
            problem, demonstration = self._easy(draw), ""
        elif kind < 0.5:
            problem, demonstration = self._hard(draw), ""
        elif kind < 0.85:
            problem = self._hard(draw)
            demonstration = problem.solution
        else:
            other = (self._hard if draw.random() < 0.5 else self._easy)(draw)
            problem, demonstration = self._easy(draw), other.solution
        shown = TEMPLATE.replace("{demonstration}", demonstration).replace("{prompt}", problem.question)
        return (shown if demonstration else problem.question), problem.solution

    def _hard(self, draw: random.Random) -> Problem:
        low, high = 10 ** (self.digits - 1), 10**self.digits - 1
        return sum_problem(draw.randint(low, high), draw.randint(low, high))

    def _easy(self, draw: random.Random) -> Problem:
        digits = draw.randint(1, self.digits - 1)
        low, high = (10 ** (digits - 1) if digits > 1 else 0), 10**digits - 1
        return sum_problem(draw.randint(low, high), draw.randint(low, high))


def load(spec: str = "pupil") -> Language:
    """Return the pupil of "pupil" or "pupil?steps=300&seed=1", taught now or taken from the cache.

    Raises:
        CounterpointError: an option that ``Examples`` does not have.
    """
    _, options = parse("model:" + spec)
    for name in options:
        if name not in asdict(Examples()):
            raise CounterpointError(f"pupil has no option '{name}'; {nearest(name, asdict(Examples()))}")
    examples = Examples(**options)
    identity = repr(examples) + inspect.getsource(Examples) + inspect.getsource(teach)

    def make() -> Language:
        log.warning("teaching the pupil: %d steps, about two minutes, once", examples.steps)
        with tempfile.TemporaryDirectory() as folder:
            return teach(examples, Path(folder))

    return stored("pupils", "pupil", identity, make)


def teach(examples: Examples, folder: Path) -> Language:
    """Train a fresh character model on the examples and return it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the same sums whatever the machine's number of cores
    try:
        with Run(folder, seed=examples.seed, progress=False) as run:
            fresh = tiny(
                seed=examples.seed, layers=examples.layers, width=examples.width, heads=examples.width // 32
            )
            model: Language = run.state(model=fresh)
            rule = Optimizer(
                learning_rate=3e-3,
                betas=(0.9, 0.98),
                schedule="cosine",
                warmup=0.05,
                weight_decay=0.01,
                max_grad_norm=1.0,
            )
            run.optimize(model, rule)
            for batch in run.batches(examples, examples.size, epochs=1, shuffle=False):
                prompts, completions = model.rows(*zip(*batch.items))
                both, mask = join(prompts, completions), completions.authored
                hidden = run.forward(model, both.ids, both.mask, last=completions.width)
                logp = log_probs(model.scores(hidden), completions.ids, mask=mask)
                run.step(nll(logp.sum(1), mask.sum(1)))
            return model
    finally:
        torch.set_num_threads(threads)
