"""Tasks of MTEB: the task's main score of a text encoder, by the program's own code and data.

``mteb:TASK`` is one of its tasks by name, which it fetches; ``mteb:package.module:NAME`` or ``mteb:file.py:NAME`` a task of a
person's own, an ``AbsTask`` or its class.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

from torch import Tensor, nn

from counterpoint.errors import CounterpointError, MissingExtra, nearest
from counterpoint.evaluation.benchmarks.encoding import Encode, encoder_of
from counterpoint.imported import imported, in_a_line
from counterpoint.models import passes


def require(task: str, name: str) -> None:
    """See that the program is there and knows the task.

    Raises:
        MissingExtra: without mteb. CounterpointError: no such task.
    """
    _task(task, name)


def require_model(model: nn.Module, name: str) -> None:
    """See that the model gives vectors of texts.

    Raises:
        CounterpointError: it does not.
    """
    encoder_of(model, name)


def figures(model: nn.Module, task: str, name: str) -> dict[str, float]:
    """The task's main score by its own name (``accuracy``, ``ndcg_at_10``), the mean over its splits and languages.

    Raises:
        CounterpointError: the program's own errors, in a line.
    """
    import mteb

    chosen = _task(task, name)
    shown = {"batch_size": passes.at_once(256), "show_progress_bar": False}
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            result = mteb.evaluate(
                _Model(encoder_of(model, name)),
                chosen,
                cache=None,
                show_progress_bar=False,
                encode_kwargs=shown,
            )
    except CounterpointError:
        raise
    except Exception as error:  # no network, no such data, a task of other things than texts
        raise CounterpointError(f"{name}: mteb could not measure it: {in_a_line(error)}") from error
    return {str(chosen.metadata.main_score): float(result.task_results[0].get_score())}


class _Model:
    """One of our encoders as MTEB asks for it."""

    def __init__(self, encode: Encode) -> None:
        from mteb.models.model_meta import ModelMeta

        self._encode = encode
        self.mteb_model_meta = ModelMeta.create_empty({"name": "counterpoint/model", "revision": "none"})

    def encode(self, inputs: Any, **_: Any) -> Any:
        """[N, H] of the texts in batches, with the arguments by which other models choose a prompt."""
        return self._encode([text for batch in inputs for text in batch["text"]]).numpy()

    def similarity(self, first: Any, second: Any) -> Tensor:
        """Cosine of all pairs."""
        from mteb.similarity_functions import cos_sim

        return cos_sim(first, second)

    def similarity_pairwise(self, first: Any, second: Any) -> Tensor:
        """Cosine of each with its own."""
        from mteb.similarity_functions import pairwise_cos_sim

        return pairwise_cos_sim(first, second)


def _task(task: str, name: str) -> Any:
    try:
        import mteb
    except ImportError:
        raise MissingExtra("mteb", "mteb") from None
    if ":" in task:
        own = imported(task, "a task of mteb")
        made = own() if isinstance(own, type) else own
        if not hasattr(made, "metadata"):
            raise CounterpointError(
                f"{name} is a {type(made).__name__}; expected a task, derived from mteb's AbsTaskClassification or the like"
            )
        return made
    tasks = {each.metadata.name for each in mteb.get_tasks.__globals__["TASK_LIST"]}
    if task not in tasks:
        raise CounterpointError(f"{name}: mteb has no task '{task}'; {_hint(task, tasks)}")
    return mteb.get_task(task)


def _hint(task: str, tasks: set[str]) -> str:
    close = nearest(task, tasks)
    return (
        close
        if close.startswith("did")
        else "mteb.get_tasks() lists those it has, file.py:NAME names one of yours"
    )
