"""Tasks of lm-evaluation-harness: a language model's figures by the program's own code and data.

``lm-eval:TASK`` is a task or a group by name, whose data it fetches; ``lm-eval:file.yaml`` a task of a person's own, as that program
reads it. Prompts are as the task writes them, without a chat template, which is the program's own default.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

from torch import nn

from counterpoint.errors import CounterpointError, MissingExtra, nearest
from counterpoint.imported import in_a_line
from counterpoint.models import passes
from counterpoint.models.language.language import Language

AT_ONCE = 16
FEWSHOT_SEED = 1234
"""The program's own, by which the examples in a prompt are drawn."""
PLAIN = "none"
"""What the program calls a figure that no filter stands before."""


def require(task: str, name: str) -> None:
    """See that the program is there and knows the task.

    Raises:
        MissingExtra: without lm-eval. CounterpointError: no such task or file.
    """
    manager = _manager(task)
    if _is_file(task):
        if not Path(task).is_file():
            raise CounterpointError(f"{name}: there is no file {task}; give a task of lm-eval in YAML")
    elif task not in manager.all_tasks:
        close = nearest(task, manager.all_tasks)
        hint = (
            close
            if close.startswith("did")
            else "lm-eval ls tasks lists those it has, file.yaml is one of yours"
        )
        raise CounterpointError(f"{name}: lm-eval has no task '{task}'; {hint}")


def require_model(model: nn.Module, name: str) -> None:
    """See that the model writes.

    Raises:
        CounterpointError: it is no language model.
    """
    if not isinstance(model, Language):
        raise CounterpointError(
            f"{name} is of language models, and this model is a {type(model).__name__}; give a method that trains one (counterpoint list)"
        )


def figures(model: nn.Module, task: str, name: str) -> dict[str, float]:
    """The task's figures (``acc``, ``acc_norm``, ``exact_match``), without their standard errors; a group's own where it has some.

    Raises:
        CounterpointError: the program's own errors, in a line.
    """
    require_model(model, name)
    assert isinstance(model, Language)
    manager = _manager(task)
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM

    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            net = HFLM(
                pretrained=model.causal,
                tokenizer=model.tokenizer,
                max_length=model.limit,
                batch_size=passes.at_once(AT_ONCE),
            )
            chosen = manager.load([task])
            for one in chosen["tasks"].values():
                one.set_config(key="num_fewshot", value=one.get_config("num_fewshot") or 0)
                one.set_fewshot_seed(seed=FEWSHOT_SEED)
            result = evaluate(net, chosen, log_samples=False, bootstrap_iters=0)
    except Exception as error:  # no network, no such data, a file that is no task
        raise CounterpointError(f"{name}: lm-eval could not measure it: {in_a_line(error)}") from error
    assert result is not None
    return _read(result["results"], task)


def _read(results: dict[str, dict[str, Any]], task: str) -> dict[str, float]:
    """Figures by name; of several tasks with the task's before it.

    >>> _read({"sums": {"alias": "sums", "acc,none": 0.5, "acc_stderr,none": 0.1, "em,strict": 0.25}}, "sums")
    {'acc': 0.5, 'em (strict)': 0.25}
    """
    rows = {task: results[task]} if task in results else results
    measures: dict[str, float] = {}
    for one, row in rows.items():
        before = f"{one}/" if len(rows) > 1 else ""
        for key, value in row.items():
            metric, _, applied = key.partition(",")
            if not applied or metric.endswith("_stderr") or not isinstance(value, int | float):
                continue
            measures[before + (metric if applied == PLAIN else f"{metric} ({applied})")] = float(value)
    return measures


def _is_file(task: str) -> bool:
    return task.endswith((".yaml", ".yml"))


def _manager(task: str) -> Any:
    try:
        from lm_eval.tasks import TaskManager
    except ImportError:
        raise MissingExtra("lm-eval", "lm-eval") from None
    return TaskManager(include_defaults=not _is_file(task))
