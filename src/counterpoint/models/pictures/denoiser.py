"""What every denoiser has: a trunk of layers steered by one vector e, prompts in it, and, where asked for, a vector that the trunk
infers itself.

Self-conditioning (DDAE++ 2505.10999): the pooled state z of layer l* is added to what the later layers are steered by,
``c = e + u(z, e)``; the layers up to l* see e alone. It is unrelated to feeding an estimate of the picture back in.

Shapes: N pictures, C channels, H by W pixels, D width of the trunk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from counterpoint.errors import CounterpointError, nearest
from counterpoint.models.images.gallery import GALLERY, draw_gallery
from counterpoint.models.model_folders import Saved
from counterpoint.models.pictures.prompts import asks
from counterpoint.models.pictures.times import time_mlp, waves

Conditioning = Literal["gated", "plain", "none"]
COLUMNS = 8
"""Pictures of one prompt, side by side in a grid."""


@dataclass(frozen=True)
class Trace:
    """One pass: the output [N, C, H, W], the pooled state [N, D'] of each layer, and z [N, D'] where a layer is read."""

    output: Tensor
    pooled: tuple[Tensor, ...]
    z: Tensor | None


class SelfConditioning(nn.Module):
    """u(z, e) = (SiLU(z) W + b) * (1 + e G + g): what the trunk adds to its own conditioning (rebuilt; the paper shows no equation).

    Args:
        given: width of z. width: of e. gated: whether e, hence the time, scales it.

    >>> u = SelfConditioning(4, 4, gated=True)
    >>> u(torch.randn(2, 4), torch.randn(2, 4)).abs().sum().item()      # W and b are 0 at first: the plain network
    0.0
    """

    def __init__(self, given: int, width: int, gated: bool) -> None:
        super().__init__()
        self.out = nn.Linear(given, width)
        self.gate = nn.Linear(width, width) if gated else None
        for layer in (self.out, self.gate):
            if layer is not None:
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, z_ND: Tensor, e_ND: Tensor) -> Tensor:
        """[N, D] and [N, D] -> [N, D], to be added to e."""
        u = self.out(functional.silu(z_ND))
        return u if self.gate is None else u * (1 + self.gate(e_ND))


class Denoiser(Saved):
    """A trunk of layers between the picture and the output; see ``dit``, ``uvit`` and ``unet`` for the trunks.

    Args:
        shape: channels, height and width of the pictures, which are in [-1, 1].
        width: D of the vector that steers the layers. depth: how many layers.
        names: of the classes that are prompts.
        text_dim, text_encoder: width of captions' vectors, where prompts are captions, and what makes them.
        sampling: how pictures are drawn, as a method leaves it.
        tap: the layer, counted from 1, whose pooled state is z; 0 reads none.
        conditioning: whether the layers behind it are steered by z: "gated" by time, "plain", or "none".
    """

    patches: int
    """How many positions a picture has, by which a flow's times are shifted."""

    def __init__(
        self,
        shape: Sequence[int],
        width: int,
        depth: int,
        names: Sequence[str] = (),
        text_dim: int = 0,
        text_encoder: str = "",
        sampling: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.shape, self.names, self.depth, self.width = tuple(shape), tuple(names), depth, width
        self.text_dim, self.text_encoder, self.sampling = text_dim, text_encoder, dict(sampling or {})
        self.grids: dict[str, Tensor] = {}
        self.tap, self.conditioning = 0, "none"
        self.semantic: SelfConditioning | None = None

    def _steered(self, width: int) -> None:
        """The weights of both times and of prompts; called where a trunk's own order of drawing weights wants it."""
        self.time, self.gap = time_mlp(width), time_mlp(width)
        self.null = nn.Parameter(0.02 * torch.randn(width))
        self.classes = nn.Embedding(2 * len(self.names), width) if self.names else None
        self.text = nn.Linear(self.text_dim, width) if self.text_dim else None
        if self.classes is not None:
            nn.init.normal_(self.classes.weight, std=0.02)

    def read_at(self, tap: int, conditioning: Conditioning = "gated", seed: int = 0) -> None:
        """Read z at layer ``tap`` and steer the later layers by it; the network's output is at first what it was.

        A network that is already steered so stays as it is.

        Raises:
            CounterpointError: no such layer, or none behind it.
        """
        if (tap, conditioning) == (self.tap, self.conditioning):
            return
        if not 0 <= tap < self.depth or (conditioning != "none" and not tap):
            raise CounterpointError(
                f"tap={tap}: this network has {self.depth} layers, and some must come behind the one that is read; give a layer from 1 "
                f"to {self.depth - 1}"
            )
        self.tap, self.conditioning, self.semantic = tap, conditioning, None
        if conditioning != "none":
            like = self.null
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                made = SelfConditioning(self.state_width(tap), self.width, conditioning == "gated")
            self.semantic = made.to(like.device, like.dtype)

    def usual_tap(self) -> int:
        """The layer that is read where nobody says which: three fifths of the way."""
        return max(1, min(self.depth - 1, round(0.6 * self.depth)))

    def state_width(self, number: int) -> int:
        """How wide the pooled state of a layer is."""
        return self.width

    def embedding(self, t_N: Tensor, s_N: Tensor, prompts: Tensor) -> Tensor:
        """e [N, D] of both times and the prompt."""
        dtype = self.null.dtype
        e = self.time(waves(t_N, self.width).to(dtype)) + self.gap(waves(t_N - s_N, self.width).to(dtype))
        return e + self._prompt(prompts)

    def begin(self, x_NCHW: Tensor) -> Any:
        """The state before the first layer."""
        raise NotImplementedError

    def layer(self, number: int, state: Any, c_ND: Tensor) -> Any:
        """The state after layer ``number``, counted from 1, steered by SiLU(c)."""
        raise NotImplementedError

    def pooled(self, state: Any) -> Tensor:
        """[N, D] of a state."""
        raise NotImplementedError

    def end(self, state: Any, c_ND: Tensor) -> Tensor:
        """The output [N, C, H, W] of the last state."""
        raise NotImplementedError

    def forward(self, x_NCHW: Tensor, t_N: Tensor, s_N: Tensor, prompts: Tensor) -> Tensor:
        """The network's output at x; [N, C, H, W]. A flow's velocity for a step that aims at s <= t."""
        return self._run(x_NCHW, t_N, s_N, prompts, False, None).output

    def traced(self, x_NCHW: Tensor, t_N: Tensor, prompts: Tensor, order: Tensor | None = None) -> Trace:
        """A pass with the states of its layers.

        Args:
            order: [N] whose z each picture is steered by; None its own.
        """
        return self._run(x_NCHW, t_N, t_N, prompts, True, order)

    def _run(
        self, x: Tensor, t: Tensor, s: Tensor, prompts: Tensor, trace: bool, order: Tensor | None
    ) -> Trace:
        e = self.embedding(t, s, prompts)
        c, state, z = functional.silu(e), self.begin(x), None
        pooled: list[Tensor] = []
        for number in range(1, self.depth + 1):
            state = self.layer(number, state, c)
            read = number == self.tap and (trace or self.semantic is not None)
            if trace or read:
                pooled.append(self.pooled(state))
            if read:
                z = functional.layer_norm(pooled[-1], pooled[-1].shape[-1:], eps=1e-6)
                if self.semantic is not None:
                    c = functional.silu(e + self.semantic(z if order is None else z[order], e))
        return Trace(self.end(state, c), tuple(pooled) if trace else (), z)

    def _prompt(self, prompts: Tensor) -> Tensor:
        if prompts.is_floating_point() != (self.text is not None) and bool(asks(prompts).any()):
            raise CounterpointError(
                f"prompts are {'vectors' if prompts.is_floating_point() else 'classes'}, and this model reads "
                f"{'captions' if self.text is not None else 'classes: ' + ', '.join(self.names) if self.names else 'no prompts'}"
            )
        if prompts.is_floating_point():
            given = self.text(prompts) if self.text is not None else self.null
        else:
            given = self.classes(prompts.clamp(min=0)) if self.classes is not None else self.null
        return torch.where(asks(prompts)[:, None], given, self.null)

    def prompts_of(self, prompts: Sequence[str | None]) -> Tensor:
        """Prompts in words as the tensor that ``forward`` reads; None or "" asks for nothing.

        Raises:
            CounterpointError: a class that the model does not know, or words for a model without prompts.
        """
        if self.text is None:
            unknown = [each for each in prompts if each and each not in self.names]
            if unknown:
                raise CounterpointError(f"no prompt '{unknown[0]}'; {nearest(unknown[0], self.names)}")
            return torch.tensor([self.names.index(each) if each else -1 for each in prompts])
        from counterpoint.models.text.embedding import sentences

        texts = sorted({each for each in prompts if each})
        vectors = torch.zeros(len(prompts), self.text_dim)
        made = dict(zip(texts, torch.from_numpy(sentences(texts, spec=self.text_encoder)))) if texts else {}
        for row, each in enumerate(prompts):
            if each:
                vectors[row] = made[each]
        return vectors

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:  # type: ignore[override]
        """Write the folder; grids of pictures that a method left go to folders of their own beside the weights."""
        now = {"sampling": self.sampling, "tap": self.tap, "conditioning": self.conditioning}
        self._hub_mixin_config = {**(self._hub_mixin_config or {}), **now}  # type: ignore[dict-item]
        result = super().save_pretrained(save_directory, **options)
        self.draw_grids(Path(save_directory))
        return result

    def draw_grids(self, directory: Path) -> None:
        """Write the grids that a method left, a folder each."""
        for name, pictures in self.grids.items():
            folder = directory / name
            folder.mkdir(exist_ok=True)
            draw_gallery(pictures.float() / 255, folder / GALLERY, columns=COLUMNS)
