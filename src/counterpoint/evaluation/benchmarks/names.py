"""How a benchmark is named, and which of its figures are better when lower. No torch.

>>> Benchmark.of("beir:data/scifact/").label
'beir:scifact'
>>> Benchmark.of("mteb:own.py:Letters").label
'mteb:Letters'
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from counterpoint.errors import CounterpointError, nearest

PROGRAMS = ("mteb", "lm-eval", "beir")
EXPECTED = "mteb:TASK, lm-eval:TASK or beir:FOLDER, each once"
LESS_IS_BETTER = (
    "perplexity",
    "word_perplexity",
    "byte_perplexity",
    "bits_per_byte",
    "brier_score",
    "ter",
    "nonzeros",
)
"""Metrics of which less is better."""


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    Attributes:
        program: one of ``PROGRAMS``. task: the rest of its name: a task, a file or a folder.
    """

    program: str
    task: str

    @classmethod
    def of(cls, text: str) -> Benchmark:
        """Read a name.

        Raises:
            CounterpointError: it begins with no program's name, or nothing follows.

        >>> Benchmark.of("mtep:Banking77Classification")
        Traceback (most recent call last):
        counterpoint.errors.CounterpointError: benchmark 'mtep:Banking77Classification': expected mteb:TASK, ...; did you mean 'mteb'?
        """
        program, _, task = text.partition(":")
        if program not in PROGRAMS or not task:
            hint = "name the task after the colon" if program in PROGRAMS else nearest(program, PROGRAMS)
            raise CounterpointError(f"benchmark '{text}': expected {EXPECTED}; {hint}")
        return cls(program, task)

    @property
    def label(self) -> str:
        """What stands before its figures: a folder or a file by its name alone."""
        name = self.task if self.program == "mteb" else Path(self.task).name.removesuffix(".yaml")
        source, _, own = name.rpartition(":")
        return f"{self.program}:{own if source else name}"


def benchmarks_of(names: Sequence[str]) -> list[Benchmark]:
    """All of them.

    Raises:
        CounterpointError: one that cannot be read, or two whose figures would have the same name.
    """
    read = [Benchmark.of(name) for name in names]
    labels = [one.label for one in read]
    for label in labels:
        if labels.count(label) > 1:
            raise CounterpointError(
                f"benchmark {label} is given twice; give each once, folders with names of their own"
            )
    return read


def of_a_benchmark(metric: str) -> bool:
    """Whether a figure is a benchmark's.

    >>> of_a_benchmark("beir:food ndcg@10"), of_a_benchmark("ndcg@10")
    (True, False)
    """
    return metric.partition(":")[0] in PROGRAMS and " " in metric


def less_is_better(metric: str) -> bool:
    """Whether less of a benchmark's figure is better.

    >>> less_is_better("lm-eval:wikitext word_perplexity"), less_is_better("lm-eval:arc acc")
    (True, False)
    """
    return of_a_benchmark(metric) and metric.split(" ")[1] in LESS_IS_BETTER
