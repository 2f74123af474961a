"""The measurements during a run: which models they are of, what is written of the best, and which model is the run's at its end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from counterpoint.errors import CounterpointError
from counterpoint.models import deferred, folders
from counterpoint.models.language.language import Language
from counterpoint.models.language.reward import RewardModel
from counterpoint.models.lending import lent
from counterpoint.models.sharding import sharded_in, to_device
from counterpoint.study.recipe import Recipe
from counterpoint.tasks.task import Task, open_model, ranked_by
from counterpoint.training.durable import MANIFEST, write_folder
from counterpoint.training.evaluator import Evaluator, Measured
from counterpoint.training.launch import shard_like
from counterpoint.training.report import Report

BEST = "best"
"""The folder of the best model so far, in the run's."""
SPLIT = "validation"

logger = logging.getLogger("counterpoint")


class Evaluation:
    """What ``--eval-every`` asks of a run.

    Args:
        recipe, task, start, data, out: of the run.
        measure: figures of a model on the validation split.
        save: writes a model's folder.
    """

    def __init__(
        self,
        recipe: Recipe,
        task: Task,
        start: nn.Module,
        data: Any,
        out: Path,
        measure: Callable[[nn.Module], dict[str, float]],
        save: Callable[[nn.Module, Path], None],
    ) -> None:
        assert recipe.eval_every is not None
        self.recipe, self.task, self.data, self.folder = recipe, task, data, out / BEST
        self._measure, self._save, self._start = measure, save, type(start)
        self.evaluator = Evaluator(
            recipe.eval_every,
            self.measured,
            self.write,
            model_of=self.model_of,
            patience=recipe.patience,
        )

    def measured(self, model: nn.Module) -> Measured:
        """Figures on validation, and the one that models are ranked by."""
        figures = self._measure(model)
        name = ranked_by(self.task, figures)
        assert name is not None  # the measurement refuses a split that has nothing to rank by
        return Measured(figures, figures[name])

    def model_of(self, net: nn.Module) -> nn.Module | None:
        """The model in what a method trains: itself, or the one model among its parts; None where there is no such one."""
        if self._is_model(net):
            return net
        inside = [part for part in net.children() if self._is_model(part)]
        if len(inside) == 1:
            return inside[0]
        logger.warning(
            f"--eval-every: {self.recipe.key} trains a {type(net).__name__} that holds {len(inside) or 'no'} models of their own; "
            "that part of the training is not measured"
        )
        return None

    def _is_model(self, net: nn.Module) -> bool:
        """Whether a folder of it can be opened; a class of a person's own cannot, and is measured where the last model is kept."""
        own = {name for kind in folders.kinds() for name in folders.of_kind(kind).openers}
        given = type(net) is self._start and self.recipe.keep_model == "last"
        return isinstance(net, Language | RewardModel) or given or type(net).__name__ in own

    def write(self, model: nn.Module) -> None:
        """Write the best model's folder, whole or not at all, in place of the one before."""
        with lent(model) as plain:
            if plain is not None:
                write_folder(self.folder, lambda folder: self._save(plain, folder))
                (self.folder / MANIFEST).unlink(missing_ok=True)

    def chosen(
        self, trained: nn.Module, report: Report, say: Callable[[str], None]
    ) -> tuple[nn.Module, Path | None]:
        """The run's model: what training ended with, or the best before it, with the folder it is in.

        The end counts as a measurement, too; where it is as good as the best, it is the run's.
        """
        best, step = self.evaluator.best, self.evaluator.step
        if best is None:
            say("--eval-every: no model was measured during the training; the last one is saved")
            return trained, None
        if self.recipe.keep_model == "last":
            return trained, None
        last = self.measured(trained)
        report.add(best_step=float(step), best_validation=best, last_validation=last.value)
        if not last.value < best:
            return trained, None
        say(f"the model of step {step} is saved: {best:.4g} on validation; the last had {last.value:.4g}")
        parts = sharded_in(trained)
        with deferred.wanted(bool(parts)):
            model = open_model(
                self.task, str(self.folder), self.data, self.recipe.seed, self.recipe.model_options
            )
        written = self.folder / "adapter" if self.recipe.save == "adapter" else self.folder
        model = to_device(model, next(trained.parameters()).device)
        return shard_like(model, parts[0]) if parts else model, written


def evaluation_of(
    recipe: Recipe,
    task: Task,
    start: nn.Module,
    data: Any,
    out: Path,
    measure: Callable[[Recipe, nn.Module], Mapping[str, dict[str, float]]],
    save: Callable[[nn.Module, Path], None],
) -> Evaluation | None:
    """The measurements that a recipe asks for; None where it asks for none.

    Args:
        measure: figures by split, of the recipe's splits. save: writes a model's folder. The rest as of ``Evaluation``.

    Raises:
        CounterpointError: data without a validation part.
    """
    if recipe.eval_every is None:
        return None
    part = getattr(data, SPLIT, None)
    if part is not None and hasattr(part, "__len__") and not len(part):
        raise CounterpointError(
            "eval_every measures on the validation part, and the data have none; give a share: --data-option validation=0.1"
        )
    of_validation = replace(recipe, splits=(SPLIT,), measure=None)
    return Evaluation(
        recipe, task, start, data, out, lambda model: measure(of_validation, model)[SPLIT], save
    )
