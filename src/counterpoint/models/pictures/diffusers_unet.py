"""diffusers' own U-Net as a denoiser of pictures without prompts: opened from its folder, and written back as one.

A flow (x_t = (1 - t) x_0 + t e, the network says e - x_0, and is given 1000 t as its step) is what diffusers' flow-matching Euler
scheduler steps along, so that a trained flow is a whole pipeline there. Shapes: N pictures, C channels, H by W pixels, D of a state.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from counterpoint import library_bars
from counterpoint.errors import CounterpointError, MissingExtra
from counterpoint.models.model_folders import configuration
from counterpoint.models.pictures.denoiser import Conditioning, Denoiser, Trace
from counterpoint.models.pictures.times import TIME_SCALE

CLASS, SUBFOLDER, SAMPLING = "UNet2DModel", "unet", "sampling.json"
ONE_TIME = {"landing": 1.0}
"""How a network that no method has trained here is sampled: its steps aim at the time they start from."""


def unet_folder(folder: Path) -> Path | None:
    """Where a folder holds the U-Net: itself, or, a pipeline, in ``unet``; None where it holds none."""
    parts = (folder / SUBFOLDER, folder)
    return next((part for part in parts if configuration(part).get("_class_name") == CLASS), None)


def library() -> Any:
    """The module diffusers.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import diffusers
    except ImportError:
        raise MissingExtra("diffusers", "diffusion") from None
    library_bars.hide("diffusers")
    return diffusers


class DiffusersUNet(Denoiser):
    """The denoiser; its layers are two: down to the lowest resolution, and up again. It is not steered by its own state.

    Args:
        network: diffusers' ``UNet2DModel``, without classes.
        sampling: how pictures are drawn, as a method leaves it.

    Raises:
        CounterpointError: a network that reads classes, or whose output is no picture of its input's shape.
    """

    def __init__(self, network: nn.Module, sampling: Mapping[str, Any] | None = None) -> None:
        own: Any = network.config
        sides = own.sample_size
        if sides is None or own.in_channels != own.out_channels:
            raise CounterpointError(
                f"{CLASS} with sample_size={sides}, in_channels={own.in_channels}, out_channels={own.out_channels}; expected a sample_size "
                "and as many channels out as in"
            )
        if own.class_embed_type is not None or own.num_class_embeds is not None:
            raise CounterpointError(
                f"{CLASS} with class_embed_type={own.class_embed_type}, num_class_embeds={own.num_class_embeds} reads classes, which it "
                "has no names for; give one without, and --data-option prompts=none"
            )
        height, width = (sides, sides) if isinstance(sides, int) else sides
        wide = int(own.block_out_channels[-1])
        super().__init__((own.in_channels, height, width), wide, 2, sampling=sampling or ONE_TIME)
        self.network, self.patches = network, height * width
        self.classes = self.text = None

    def read_at(self, tap: int, conditioning: Conditioning = "gated", seed: int = 0) -> None:
        """Read z at layer 1, the lowest resolution.

        Raises:
            CounterpointError: another layer, or layers that are to be steered by z.
        """
        if conditioning != "none":
            raise CounterpointError(
                f"conditioning={conditioning}: the layers of {CLASS} cannot be steered by its own state; give conditioning=none, or "
                "another model, --model unet-small"
            )
        super().read_at(tap, conditioning, seed)

    def usual_tap(self) -> int:
        """The lowest resolution."""
        return 1

    def state_width(self, number: int) -> int:
        """The channels there, or of the last level upwards."""
        channels: Any = self.network.config
        return int(channels.block_out_channels[-1 if number == 1 else 0])

    def _run(
        self, x: Tensor, t: Tensor, s: Tensor, prompts: Tensor, trace: bool, order: Tensor | None
    ) -> Trace:
        if s is not t and bool(((t - s).abs() > 1e-4).any()):
            raise CounterpointError(
                f"{CLASS} has one time, and this method trains steps that aim at a second one; train it with flow-matching or edm, or give "
                "--model unet-small"
            )
        if not trace:
            return Trace(self._output(x, t), (), None)
        inner: Any = self.network
        states: list[Tensor] = []

        def keep(module: nn.Module, given: Any, output: Any) -> None:
            state = output[0] if isinstance(output, tuple) else output
            states.append(state.mean((2, 3)))

        lowest = inner.down_blocks[-1] if inner.mid_block is None else inner.mid_block
        hooks = [each.register_forward_hook(keep) for each in (lowest, inner.up_blocks[-1])]
        try:
            output = self._output(x, t)
        finally:
            for hook in hooks:
                hook.remove()
        z = functional.layer_norm(states[0], states[0].shape[-1:], eps=1e-6) if self.tap == 1 else None
        return Trace(output, tuple(states), z)

    def _output(self, x: Tensor, t: Tensor) -> Tensor:
        return self.network(x, TIME_SCALE * t).sample

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:  # type: ignore[override]
        """Write ``unet`` as diffusers does, a flow as a whole pipeline; the way of sampling and grids of pictures beside it."""
        folder, diffusers = Path(save_directory), library()
        folder.mkdir(parents=True, exist_ok=True)
        network: Any = self.network
        if self.sampling.get("path", "flow") == "flow":
            scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
            diffusers.DDPMPipeline(unet=network, scheduler=scheduler).save_pretrained(folder)
        else:
            network.save_pretrained(folder / SUBFOLDER)
        text = json.dumps({"sampling": self.sampling, "tap": self.tap}, indent=2, sort_keys=True) + "\n"
        (folder / SAMPLING).write_text(text, encoding="utf-8")
        self.draw_grids(folder)
        return None


def open_unet(folder: str | Path) -> DiffusersUNet:
    """Open a U-Net's folder, or that of a pipeline with one.

    Raises:
        CounterpointError: it cannot be a denoiser of pictures. MissingExtra: diffusers is not installed.
    """
    part = unet_folder(Path(folder))
    assert part is not None
    network = library().UNet2DModel.from_pretrained(str(part), local_files_only=True)
    file = Path(folder) / SAMPLING
    left = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    model = DiffusersUNet(network, left.get("sampling"))
    model.read_at(left.get("tap", 0), "none")
    return model
