"""Image encoders: pixels in [0, 1] in, one feature vector per image out. Small reference ones, and the door to others.

An encoder is any module with ``encoder(pixels_NCHW) -> features_NF`` and the width F as ``encoder.num_features``. It
normalises its pixels itself, so that a saved folder needs no recipe beside it.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from counterpoint import library_bars
from counterpoint.errors import CounterpointError, MissingExtra, nearest
from counterpoint.models.images import preprocessing
from counterpoint.models.images.kernel_pixels import KernelPixels
from counterpoint.models.model_folders import Saved

if TYPE_CHECKING:
    from collections.abc import Sequence

Norm = Literal["batch", "group"]
REFERENCE = ("conv-small", "resnet18")


def _norm(channels: int, kind: str) -> nn.Module:
    if kind not in ("batch", "group"):
        raise CounterpointError(f"norm='{kind}'; {nearest(kind, ['batch', 'group'])}")
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.GroupNorm(min(8, channels), channels)


class Normalise(nn.Module):
    """Subtract the mean and divide by the deviation per channel; a gray image meets a colour encoder by repetition."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(-1, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """[N, C, H, W] in [0, 1] -> the same, normalised."""
        mean = self.get_buffer("mean")
        if pixels.shape[1] == 1 and len(mean) == 3:
            pixels = pixels.expand(-1, 3, -1, -1)
        if pixels.shape[1] != len(mean):
            raise CounterpointError(
                f"images with {pixels.shape[1]} channels, an encoder for {len(mean)}; load the encoder for this data, or turn the images gray"
            )
        return (pixels - mean) / self.get_buffer("std")


class SmallConv(Saved):
    """Three strided 3x3 convolutions and 2x2 pooling: 256 features, 23 thousand weights, seconds on one core.

    Args:
        channels: of the images.
        widths: channels after each convolution.
        stem_stride: 1 for images of about 8 pixels, 2 otherwise.
        norm: "batch" as usual, or "group", which lets micro-batches and ranks see exactly what one batch would.
        mean: per channel, of the pixels in [0, 1]; ``std`` likewise.

    >>> SmallConv(channels=1)(torch.rand(2, 1, 28, 28)).shape
    torch.Size([2, 256])
    """

    def __init__(
        self,
        channels: int = 1,
        widths: Sequence[int] = (16, 32, 64),
        stem_stride: int = 2,
        norm: Norm = "batch",
        mean: Sequence[float] = (0.5,),
        std: Sequence[float] = (0.5,),
    ) -> None:
        super().__init__()
        self.num_features = 4 * widths[-1]
        self.normalise = Normalise(mean, std)
        layers: list[nn.Module] = []
        for depth, (before, after) in enumerate(zip((channels, *widths), widths, strict=False)):
            stride = 2 if depth else stem_stride
            layers += [
                nn.Conv2d(before, after, 3, stride, padding=1, bias=False),
                _norm(after, norm),
                nn.ReLU(),
            ]
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten())

    def forward(self, pixels: Tensor) -> Tensor:
        """[N, C, H, W] in [0, 1] -> [N, F]."""
        return self.body(self.normalise(pixels))


class _Residual(nn.Module):
    def __init__(self, before: int, after: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, padding=1, bias=False), _norm(after, norm), nn.ReLU(),
            nn.Conv2d(after, after, 3, padding=1, bias=False), _norm(after, norm),
        )  # fmt: skip
        plain = stride == 1 and before == after
        project = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), _norm(after, norm))
        self.shortcut = nn.Identity() if plain else project

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.body(x) + self.shortcut(x))


class ResNet18(Saved):
    """ResNet-18 with the stem that 32-pixel images need (3x3, stride 1, no pooling), or the one for 224 pixels.

    >>> ResNet18(channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)(torch.rand(1, 3, 32, 32)).shape
    torch.Size([1, 512])
    """

    def __init__(
        self,
        channels: int = 3,
        width: int = 64,
        small_images: bool = True,
        norm: Norm = "batch",
        mean: Sequence[float] = (0.5,),
        std: Sequence[float] = (0.5,),
    ) -> None:
        super().__init__()
        self.num_features = 8 * width
        self.normalise = Normalise(mean, std)
        stem: list[nn.Module] = [
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            _norm(width, norm),
            nn.ReLU(),
        ]
        if not small_images:
            stem = [
                nn.Conv2d(channels, width, 7, 2, padding=3, bias=False),
                _norm(width, norm),
                nn.ReLU(),
                nn.MaxPool2d(3, 2, 1),
            ]
        blocks: list[nn.Module] = []
        before = width
        for depth in range(4):
            after = width << depth
            blocks += [_Residual(before, after, 2 if depth else 1, norm), _Residual(after, after, 1, norm)]
            before = after
        self.body = nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, pixels: Tensor) -> Tensor:
        """[N, C, H, W] in [0, 1] -> [N, F]."""
        return self.body(self.normalise(pixels))


class EfficientNetLite(Saved):
    """EfficientNet-Lite0; the bundled model "efficientnet-lite0" brings its ImageNet weights.

    Args:
        side: pixels per side the images are brought to.
    """

    def __init__(self, side: int = 224) -> None:
        super().__init__()
        try:
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError:
            raise MissingExtra("efficientnet-lite-pytorch", "images") from None
        self.net = EfficientNet.from_name("efficientnet-lite0")
        self.num_features, self.side = 1280, side
        self.normalise = Normalise((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

    def forward(self, pixels: Tensor) -> Tensor:
        """[N, C, H, W] in [0, 1] -> [N, 1280]."""
        return self.net.extract_features(resized(self.normalise(pixels), self.side)).mean((2, 3))


class TransformersVision(nn.Module):
    """Any vision model of transformers (``AutoModel``) as an encoder, with its own size, mean and deviation."""

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        try:
            from transformers import AutoModel
        except ImportError:
            raise MissingExtra("transformers", "images") from None
        library_bars.hide("transformers")
        self.net, loaded = AutoModel.from_pretrained(folder, output_loading_info=True)
        # A folder without a pooler would get a random one, and features that differ from one opening to the next.
        self.pooled = not any("pooler" in name for name in loaded["missing_keys"])
        config = self.net.config
        self.mask_ratio = getattr(config, "mask_ratio", None)
        self.num_features = int(getattr(config, "hidden_size", 0) or config.hidden_sizes[-1])
        self.recipe = preprocessing.recipe_of(Path(folder))
        side = getattr(config, "image_size", None) or preprocessing.side(self.recipe)
        self.side = side if isinstance(side, int) else side[0] if side else None
        channels = getattr(config, "num_channels", 3)
        self.normalise = Normalise(*preprocessing.statistics(self.recipe, channels, folder))

    def forward(self, pixels: Tensor) -> Tensor:
        """[N, C, H, W] in [0, 1] -> [N, F]: the pooled output, else the mean over positions."""
        if not len(pixels):  # a process without a row of a small last batch
            return self(pixels.new_zeros(1, *pixels.shape[1:]))[:0]
        pixels = resized(self.normalise(pixels), self.side)
        out = self.net(pixel_values=pixels, **self._unmasked(len(pixels)))
        pooled = getattr(out, "pooler_output", None) if self.pooled else None
        if pooled is not None:
            return pooled.flatten(1)
        hidden = out.last_hidden_state
        return hidden.mean(1) if hidden.ndim == 3 else hidden.mean((2, 3))

    def _unmasked(self, rows: int) -> dict[str, Tensor]:
        """What keeps a masked autoencoder (``mask_ratio``) from hiding and shuffling patches while it makes features."""
        config = self.net.config
        if not hasattr(config, "mask_ratio") or "noise" not in inspect.signature(self.net.forward).parameters:
            return {}
        config.mask_ratio = 0.0
        patches = self.net.embeddings.patch_embeddings.num_patches
        return {"noise": torch.arange(patches, device=self.net.device).float().expand(rows, -1)}

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the transformers folder, with the preprocessing it came with."""
        if self.mask_ratio is not None:
            self.net.config.mask_ratio = self.mask_ratio
        self.net.save_pretrained(folder)
        if self.recipe:
            (Path(folder) / "preprocessor_config.json").write_text(
                json.dumps(self.recipe, indent=2), encoding="utf-8"
            )


def resized(pixels: Tensor, side: int | None) -> Tensor:
    """[N, C, H, W] with sides of ``side`` pixels; as they are for None."""
    if side is None or pixels.shape[-2:] == (side, side):
        return pixels
    return functional.interpolate(
        pixels, size=(side, side), mode="bilinear", align_corners=False, antialias=True
    )


def load_encoder(
    spec: str,
    shape: tuple[int, int, int],
    *,
    statistics: tuple[list[float], list[float]],
    seed: int = 0,
    **options: Any,
) -> nn.Module:
    """Build a reference encoder for images of ``shape`` or open a saved one.

    Args:
        spec: "conv-small", "resnet18", "efficientnet-lite0", or a ``save_pretrained`` folder: one written by
            counterpoint, or any transformers vision model.
        shape: channels, height, width of the images.
        statistics: mean and deviation per channel, for the reference encoders.
        seed: of the initial weights.
        options: of the reference encoder, such as ``norm="group"``.

    Raises:
        CounterpointError: nothing there, or a folder that holds no vision model.
    """
    mean, std = statistics
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if spec == "conv-small":
            stride = 1 if max(shape[1:]) <= 12 else 2
            return SmallConv(
                **{"channels": shape[0], "stem_stride": stride, "mean": mean, "std": std, **options}
            )
        if spec == "resnet18":
            return ResNet18(
                **{
                    "channels": shape[0],
                    "small_images": max(shape[1:]) <= 64,
                    "mean": mean,
                    "std": std,
                    **options,
                }
            )
    if spec == "efficientnet-lite0" and not Path(spec).exists():
        from counterpoint.bundled.convert import models as bundled

        spec = str(bundled.path(spec))
    folder = Path(spec)
    config = folder / "config.json"
    if not config.exists():
        names = [*REFERENCE, "efficientnet-lite0"]
        raise CounterpointError(
            f"model '{spec}': neither a known encoder ({nearest(spec, names)}) nor a folder with config.json; give one of {', '.join(names)} or a save_pretrained folder"
        )
    return open_encoder(folder)


OWN = {kind.__name__: kind for kind in (SmallConv, ResNet18, EfficientNetLite, KernelPixels)}
"""The reference encoders by the name in ``architecture`` of config.json."""


def open_encoder(folder: Path) -> nn.Module:
    """Open the encoder of a ``save_pretrained`` folder, whatever else is beside it.

    Raises:
        CounterpointError: config.json names no vision model.
    """
    described = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if "model_type" in described:
        return TransformersVision(folder)
    if described.get("architecture") not in OWN:
        raise CounterpointError(
            f"{folder}: config.json names no vision model; expected a folder written by save_pretrained"
        )
    architecture = OWN[described["architecture"]]
    parameters = inspect.signature(architecture).parameters
    model = architecture(**{name: value for name, value in described.items() if name in parameters})
    from safetensors.torch import load_model

    load_model(model, folder / "model.safetensors")
    return model
