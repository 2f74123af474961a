"""What a strong pass is set against: the same model with other experts, another model, or the model's own early layers.

B rows, L positions, K candidate layers, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.generation.contrast import divergent_layer
from counterpoint.kernels.scores import dense
from counterpoint.models.language.experts import Routers, Routing
from counterpoint.models.language.language import Language


class Weak(Protocol):
    """A noun with one verb: what gives the logits to move away from."""

    def watch(self) -> AbstractContextManager[None]:
        """A context around the strong pass, for what must be seen of it."""

    def decode(self, ids_BL: Tensor, mask_BL: Tensor, cache: Any, strong_BV: Tensor) -> tuple[Tensor, Any]:
        """Weak logits [B, V] after the same tokens, and the weak pass's own cache.

        Args:
            ids_BL, mask_BL: as of ``Language.decode``.
            cache: what the step before returned; None at the prompt.
            strong_BV: the strong pass's logits.
        """


@dataclass(frozen=True)
class WeakExperts:
    """The same weights with other experts, in every layer, for every token, from the prompt on."""

    model: Language
    routers: Routers
    routing: Routing

    def watch(self) -> AbstractContextManager[None]:
        """Nothing is seen of the strong pass."""
        return nullcontext()

    def decode(self, ids_BL: Tensor, mask_BL: Tensor, cache: Any, strong_BV: Tensor) -> tuple[Tensor, Any]:
        """A pass with the weak routing."""
        with self.routers.use(self.routing):
            return self.model.decode(ids_BL, mask_BL, cache)


@dataclass(frozen=True)
class Amateur:
    """Another, weaker model of the same vocabulary."""

    model: Language

    def watch(self) -> AbstractContextManager[None]:
        """Nothing is seen of the strong pass."""
        return nullcontext()

    def decode(self, ids_BL: Tensor, mask_BL: Tensor, cache: Any, strong_BV: Tensor) -> tuple[Tensor, Any]:
        """A pass of the amateur; rows of a head that no token has are left as they are in the strong pass."""
        logits_BV, cache = self.model.decode(ids_BL, mask_BL, cache)
        both = min(logits_BV.shape[1], strong_BV.shape[1])
        weak_BV = logits_BV.amax(1, keepdim=True).to(strong_BV).expand_as(strong_BV).clone()
        weak_BV[:, :both] = logits_BV[:, :both]
        return weak_BV, cache


class EarlyLayers:
    """Of some early layers the one whose own prediction is furthest from the last one's; no second pass (DoLa).

    The output layer reads a candidate's states as they are, without the final norm, as in the authors' program.

    Args:
        model: the model.
        layers: candidates, from 1 on: states after that many layers.

    Raises:
        CounterpointError: a layer that is not there, or a model whose layers cannot be seen.
    """

    def __init__(self, model: Language, layers: tuple[int, ...]) -> None:
        blocks, name = getattr(model.backbone, "layers", None), type(model.base).__name__
        if blocks is None or not model.runs.padded:
            raise CounterpointError(
                f"{name} has no plain list of layers whose states could be read; contrast two models (contrastive-decoding)"
            )
        if not layers or min(layers) < 1 or max(layers) >= len(blocks):
            raise CounterpointError(
                f"{name} has {len(blocks)} layers, and candidates {layers or 'none'} were given; expected some from 1 to "
                f"{len(blocks) - 1}"
            )
        self.model, self.layers = model, layers
        self._blocks = [blocks[each - 1] for each in layers]
        self._states: dict[int, Tensor] = {}

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Keep the last position's states of the candidates."""

        def keep(number: int, out: Any) -> None:
            self._states[number] = (out[0] if isinstance(out, tuple) else out)[:, -1]

        handles = [
            block.register_forward_hook(lambda _, given, out, number=number: keep(number, out))
            for number, block in enumerate(self._blocks)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def decode(self, ids_BL: Tensor, mask_BL: Tensor, cache: Any, strong_BV: Tensor) -> tuple[Tensor, Any]:
        """Logits of each row's most divergent candidate."""
        states_KBd = [self._states.pop(number) for number in range(len(self._blocks))]
        early_KBV = torch.stack([dense(self.model.scores(each)).to(strong_BV) for each in states_KBd])
        rows = torch.arange(len(strong_BV), device=strong_BV.device)
        return early_KBV[divergent_layer(strong_BV, early_KBV), rows], None
