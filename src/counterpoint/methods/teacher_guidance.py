"""Self-distillation with guidance by the truth (arXiv 2102.13088): fit, then fit the truth mixed with one's own fit, again and again.

    t^(s) = a_s Y + (1 - a_s) y^(s-1),     y^(s) = the fit to t^(s)

Without the truth (a = 0) every step regularises more, until nothing is left; with it, steps tend to plain ridge regression of
penalty p / a. Of kernels every step is known in closed form, and so is the a_s that is best on held-out rows:
1 - <g - Y, g - o> / ||g - o||^2 from the predictions g of a model of the truth alone and o of one of its teacher alone. Networks
take the same weight as an estimate, for two trainings a step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from counterpoint.errors import CounterpointError
from counterpoint.kernels.ridge import best_weight
from counterpoint.methods.base import Ablations, Method, Search
from counterpoint.models.regression.guided_ridge import GuidedRidge
from counterpoint.objectives.distillation.guidance import guided_error, norms
from counterpoint.objectives.reduction import Loss
from counterpoint.pairs.views import Augmentation
from counterpoint.phases.kernel_chain import kernel_rows_of
from counterpoint.phases.predictors import predictors
from counterpoint.teachers.past import Past
from counterpoint.training import Optimizer, Run


@dataclass
class Kernel:
    """The kernel and its ridge.

    Attributes:
        name: of the kernel. gamma: of "rbf" and "laplacian"; none is one over the inputs' number times their variance.
        penalty: lambda, added to the Gram matrix's diagonal as it is.
    """

    name: Literal["rbf", "laplacian", "cosine", "linear"] = "rbf"
    gamma: float | None = None
    penalty: float = 0.2


@dataclass
class Network:
    """How each step's network is trained, by Adam at a constant rate.

    Attributes:
        batch_size, epochs, learning_rate: of one training; a run's budget is shared evenly among all trainings.
        norm_penalty: c, of the sum of the parameter tensors' norms, which are not squared.
        augmentation: of images: "light" (shifts; flips for colour), "none", a preset, or an ``Augmentation``. The teacher
            sees the same image.
    """

    batch_size: int = 16
    epochs: float = 75
    learning_rate: float = 1e-3
    norm_penalty: float = 1e-4
    augmentation: str | Augmentation = "light"


@dataclass(kw_only=True)
class TeacherGuidance(Method[nn.Module, Any]):
    """Settings of guided self-distillation.

    Attributes:
        form: "kernel", closed forms on a table's columns or an image's pixels; "network", the given model, for every kind of
            data with targets; "auto" is kernel for tables and network for the rest.
        rounds: how many fits, S, the first of which has no teacher.
        weight: a, of the truth from the second step on; none is each step's best on validation.
        clip: bring a best weight into [0, 1]; beyond, later steps overshoot.
        keep: the "last" step's model, or the "best" one on validation.
        kernel, network: see there.
    """

    key: ClassVar[str] = "teacher-guidance"
    search: ClassVar[Search] = {"kernel.penalty": (1e-2, 1e2), "network.learning_rate": (1e-4, 1e-2)}
    ablations: ClassVar[Ablations] = {
        "one round": {"rounds": 1},
        "guided in full": {"weight": 1.0},
        "weights as they come out": {"clip": False},
    }
    also: ClassVar[tuple[str, ...]] = ("images", "text", "audio")

    form: Literal["auto", "kernel", "network"] = "auto"
    rounds: int = 5
    weight: float | None = None
    clip: bool = True
    keep: Literal["last", "best"] = "last"
    kernel: Kernel = field(default_factory=Kernel)
    network: Network = field(default_factory=Network)

    def __post_init__(self) -> None:
        """Refuse what no chain can have."""
        super().__post_init__()
        self.demand(above_zero=("kernel.penalty", "kernel.gamma", "network.learning_rate"))
        if self.rounds < 1 or (self.weight is not None and self.weight > 1):
            raise CounterpointError(
                f"{self.key}: rounds={self.rounds}, weight={self.weight}; expected at least 1 round and a weight from 0 to 1, or none for "
                "the best one on validation"
            )

    def fit(self, model: nn.Module, data: Any, run: Run) -> nn.Module:
        """Go through the steps and return the chosen one's model."""
        if (self.weight is None or self.keep == "best") and not len(data.validation):
            raise CounterpointError(
                f"{data.name} has no validation rows, which the best weight and keep=best are chosen on; give --data-option "
                "validation=0.1, or a weight and keep=last"
            )
        table = bool(getattr(data, "columns", ()))
        if self.form == "kernel" or (self.form == "auto" and table):
            return self._kernels(data, run)
        how = self.network
        parts = predictors(data, model, run.seed, how.augmentation)
        net = run.state(model=parts.net)
        start = run.constant(Past(net))
        teacher, best = run.state(teacher=Past(net)), run.state(best=Past(net))
        chain = run.state(chain=Chain(self.rounds, parts.truth()))
        # A step whose best weight is wanted takes a training without the truth before its own.
        step = ["probe", "student"] if self.weight is None else ["student"]
        plan = ["first", *step * (self.rounds - 1)]
        for r in run.rounds(len(plan)):
            if r:
                run.once("start", lambda: start.restore(net))
            weight = {"first": 1.0, "probe": 0.0}.get(plan[r], self.weight)
            weight = float(chain.weight) if weight is None else weight
            run.optimize(net, Optimizer(name="adam", learning_rate=how.learning_rate))
            whole = len(parts.rows) >= how.batch_size
            for batch in run.batches(parts.rows, how.batch_size, epochs=how.epochs, drop_last=whole):
                inputs = parts.inputs(batch.items, batch.random)
                outputs = parts.outputs(run.forward(net, *inputs, **parts.options))
                answer = parts.outputs(teacher(*inputs, **parts.options)) if r else None
                error = guided_error(outputs, parts.targets(batch.items), answer, weight)
                penalty = norms(net.parameters()).expand(len(error))
                run.log(weight=weight)
                run.step({"error": error, "norms": Loss(penalty, weight=how.norm_penalty)})
            held = run.stage("held", parts.predicted)
            run.once("step", self._step(plan[r], weight, chain, held, (net, teacher, best)))
        run.report(steps=chain.rows())
        if self.keep == "best":
            run.once("best", lambda: best.restore(net))
        return net

    def _step(
        self,
        kind: str,
        weight: float,
        chain: Chain,
        held: Tensor,
        models: tuple[nn.Module, Past[Any], Past[Any]],
    ) -> Callable[[], None]:
        """What a finished training changes: the next weight, or the teacher and the best step."""
        net, teacher, best = models

        def body() -> None:
            if kind == "probe":
                chain.estimate(held, self.clip)
                return
            teacher.refresh(net)
            if chain.finish(held, weight, self.weight is None):
                best.refresh(net)

        return body

    def _kernels(self, data: Any, run: Run) -> nn.Module:
        """The whole chain in closed form."""
        parts = kernel_rows_of(data)
        name, gamma = self.kernel.name, self.kernel.gamma
        if gamma is None:
            gamma = 1 / (parts.rows.shape[1] * (float(parts.rows.var()) or 1.0))

        def chain() -> dict[str, Any]:
            rows, targets, held = parts.arrays()
            fitted = GuidedRidge(
                penalty=self.kernel.penalty,
                steps=self.rounds,
                weight="best" if self.weight is None else self.weight,
                clip=self.clip,
                kernel=name,
                gamma=None if name in ("cosine", "linear") else gamma,
                predict_step=self.keep,
            ).fit(rows, targets, held if len(held[0]) else None)
            errors = fitted.validation_error_
            return {
                "coefficients": torch.from_numpy(fitted.dual_coef_[int(fitted.step_) - 1]),
                "steps": [
                    {
                        "step": s + 1,
                        "weight": float(fitted.weights_[s]),
                        "unclipped": float(fitted.raw_weights_[s]),
                        "validation_error": math.nan if errors is None else float(errors[s]),
                        "share_of_first": float(fitted.damping_[s].sum() / fitted.damping_[0].sum()),
                    }
                    for s in range(self.rounds)
                ],
            }

        result = cast(dict[str, Any], run.stage("chain", chain))
        run.report(steps=result["steps"])
        return parts.model(result["coefficients"], name, gamma)


class Chain(nn.Module):
    """What must be remembered of a chain of networks; M validation rows, C outputs, S steps.

    Args:
        steps: S. truth: [M, C] validation targets.
    """

    def __init__(self, steps: int, truth: Tensor) -> None:
        super().__init__()
        self.truth = truth
        self.register_buffer("first", torch.zeros_like(truth))
        self.register_buffer("weight", torch.ones((), dtype=torch.double))
        self.register_buffer("raw", torch.ones((), dtype=torch.double))
        self.register_buffer("table", torch.zeros(steps, 3, dtype=torch.double))
        self.register_buffer("done", torch.zeros((), dtype=torch.long))

    def estimate(self, alone: Tensor, clip: bool) -> None:
        """Take the next step's weight from the validation outputs [M, C] of a model of its teacher alone."""
        estimate = best_weight(self.get_buffer("first").cpu(), alone, self.truth)
        if estimate is not None:
            self.get_buffer("raw").fill_(estimate)
            self.get_buffer("weight").fill_(min(max(estimate, 0.0), 1.0) if clip else estimate)

    def finish(self, held: Tensor, weight: float, estimated: bool) -> bool:
        """Note a step by its validation outputs [M, C]; return whether it is the best so far."""
        table, done = self.get_buffer("table"), int(self.get_buffer("done"))
        if not done:
            self.get_buffer("first").copy_(held)
        error = float(((held - self.truth).double() ** 2).mean()) if len(held) else math.nan
        table[done] = torch.tensor([weight, float(self.get_buffer("raw")) if estimated else weight, error])
        self.get_buffer("done").add_(1)
        return done == 0 or error < float(table[:done, 2].min())

    def rows(self) -> list[dict[str, float]]:
        """A row of each step for the report."""
        return [
            {"step": number + 1, "weight": weight, "unclipped": raw, "validation_error": error}
            for number, (weight, raw, error) in enumerate(self.get_buffer("table").tolist())
        ]
