"""One update of a model: reduce the losses, back-propagate, add gradients over ranks, clip, step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accelerate import Accelerator
from torch import Tensor, nn

from counterpoint.errors import CounterpointError
from counterpoint.models import sharding
from counterpoint.objectives.reduction import Loss
from counterpoint.training import distributed
from counterpoint.training.optimizer import Optimizer
from counterpoint.training.reduce import reduce_terms


class Updates:
    """The optimisers of a run, by name."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self._optimizers: dict[str, tuple[Any, Optimizer, list[nn.Parameter]]] = {}

    def add(self, name: str, model: nn.Module, settings: Optimizer) -> Any:
        """Build the optimiser of ``model``'s trainable parameters; returns it, as Accelerate prepared it."""
        parameters = [p for p in model.parameters() if p.requires_grad]
        built = self.accelerator.prepare_optimizer(settings.build(parameters), device_placement=False)
        # What a model brings along from elsewhere is nobody's gradient here.
        built.zero_grad(set_to_none=True)
        self._optimizers[name] = (built, settings, parameters)
        return built

    @property
    def names(self) -> frozenset[str]:
        """Of the optimisers so far."""
        return frozenset(self._optimizers)

    def apply(
        self, name: str, losses: Tensor | Loss | Mapping[str, Tensor | Loss], progress: float
    ) -> dict[str, float]:
        """Update from per-item losses, at the rate for ``progress`` in [0, 1]; returns figures to log, "loss" among them.

        Raises:
            CounterpointError: the loss is not finite, or there is no optimiser of this name.
        """
        if name not in self._optimizers:
            raise CounterpointError(f"run.step before run.optimize(model, Optimizer(...), name='{name}')")
        built, settings, parameters = self._optimizers[name]
        terms = losses if isinstance(losses, Mapping) else {"loss": losses}
        local, report = reduce_terms({k: v if isinstance(v, Loss) else Loss(v) for k, v in terms.items()})
        for group in built.param_groups:
            group["lr"] = settings.rate(progress)
        if local.requires_grad or distributed.world()[1] == 1:  # a rank may hold no row of a small last batch
            self.accelerator.backward(local)
        whole = [p for p in parameters if not sharding.is_shard(p)]
        distributed.sum_gradients(whole)
        if settings.max_grad_norm is not None:
            if len(whole) < len(parameters):
                report["grad_norm"] = sharding.clip(parameters, settings.max_grad_norm)
            else:
                norm = self.accelerator.clip_grad_norm_(parameters, settings.max_grad_norm)
                report["grad_norm"] = float(norm)
        built.step()
        built.zero_grad(set_to_none=True)
        return report

    def rates(self, progress: float) -> list[tuple[str, float, bool]]:
        """Of each optimiser its name, the learning rate at ``progress``, and whether that is the same all along."""
        shares = [number / 64 for number in range(65)]
        return [
            (name, settings.rate(progress), len({settings.rate(share) for share in shares}) == 1)
            for name, (_, settings, _) in self._optimizers.items()
        ]

    def rate(self, name: str, progress: float) -> float:
        """The learning rate at ``progress`` in [0, 1]."""
        return self._optimizers[name][1].rate(progress)
