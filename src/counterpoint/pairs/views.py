"""Several random views of every image, computed on whole batches in torch.

Every random number comes from the batch (``batch.random``), which draws for the global batch and hands this process its
rows: one process and many processes see the same views. Views are stacked view-major: view 0 of all images, then view 1
of all images. Shapes: B images, V views, R = V * B rows, C channels, H by W pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from counterpoint.errors import CounterpointError, nearest

LUMA = (0.299, 0.587, 0.114)


class Random(Protocol):
    """The part of ``batch.random`` that views need; both return [B, *shape] for this process's rows."""

    def uniform(self, *shape: int) -> Tensor:
        """Draw uniformly from [0, 1)."""

    def normal(self, *shape: int) -> Tensor:
        """Draw from the standard normal distribution."""


class Ranks(Protocol):
    """The part of a run that knows of other processes."""

    world: int

    def gather(self, rows: Tensor) -> Tensor:
        """Return all processes' rows [N, ...] from this one's [n, ...], differentiably."""


def gather_views(views: Tensor, ranks: Ranks) -> Tensor | None:
    """Gather view-major [V, n, D] over processes to [V, N, D]; None on one process, where the local views are all."""
    return None if ranks.world == 1 else ranks.gather(views.transpose(0, 1).contiguous()).transpose(0, 1)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What may happen to an image. A zero, or None, leaves a step out.

    Attributes:
        crop: range of the area kept by a random resized crop.
        rotation: largest angle in degrees.
        scale: range of the zoom.
        shift: largest shift, as a share of the side.
        flip: probability of a horizontal flip.
        jitter: probability that colours are jittered.
        brightness: largest relative change; likewise ``contrast`` and ``saturation``.
        hue: largest turn of the hue circle, in turns.
        grayscale: probability of losing all colour.
        blur: probability of a Gaussian blur (radius 0.1 to 2, in pixels of a 224-pixel image, scaled to the size).
        noise: standard deviation of Gaussian noise per pixel.
        padding: what lies outside the image: "zeros", "border" or "reflection".
    """

    crop: tuple[float, float] | None = None
    rotation: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    shift: float = 0.0
    flip: float = 0.0
    jitter: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    grayscale: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    padding: str = "zeros"

    def views(self, pixels: Tensor, random: Random, num_views: int = 2) -> Tensor:
        """Draw ``num_views`` views of every image.

        Args:
            pixels: [B, C, H, W], uint8 or floats in [0, 1].
            random: the batch's source of random numbers.
            num_views: V.

        Returns:
            [V * B, C, H, W] floats in [0, 1], view-major.
        """
        if num_views < 1:
            raise CounterpointError(f"num_views={num_views}; expected at least 1 (2 for most contrast)")
        images = unit_range(pixels)
        # One column per parameter, always the same ones: switching a step on or off leaves the other draws alone.
        u_RK = random.uniform(num_views, 17).to(images).transpose(0, 1).reshape(-1, 17)
        rows = images.repeat(num_views, 1, 1, 1)
        rows = self._warp(rows, u_RK[:, :9])
        rows = self._colour(rows, u_RK[:, 9:])
        if self.noise:
            noise = random.normal(num_views, *images.shape[1:]).to(images).transpose(0, 1).reshape(rows.shape)
            rows = rows + self.noise * noise
        return rows.clamp(0, 1)

    def _warp(self, rows: Tensor, u_RK: Tensor) -> Tensor:
        """Crop, turn, zoom, shift and flip with one resampling."""
        height, width = rows.shape[2:]
        one = torch.ones_like(u_RK[:, 0])
        span_x, span_y, x, y = one, one, 0 * one, 0 * one
        if self.crop is not None:
            low, high = self.crop
            area = low + (high - low) * u_RK[:, 0]
            ratio = torch.exp(math.log(4 / 3) * (2 * u_RK[:, 1] - 1))
            span_x, span_y = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
            x, y = (2 * u_RK[:, 2] - 1) * (1 - span_x), (2 * u_RK[:, 3] - 1) * (1 - span_y)
        angle = math.radians(self.rotation) * (2 * u_RK[:, 4] - 1)
        zoom = self.scale[0] + (self.scale[1] - self.scale[0]) * u_RK[:, 5]
        shift_x, shift_y = 2 * self.shift * (2 * u_RK[:, 6] - 1), 2 * self.shift * (2 * u_RK[:, 7] - 1)
        mirror = torch.where(u_RK[:, 8] < self.flip, -one, one)
        if self.crop is None and not (self.rotation or self.shift or self.flip) and self.scale == (1.0, 1.0):
            return rows
        cos, sin, aspect = angle.cos() / zoom, angle.sin() / zoom, height / width
        theta = torch.stack(
            [
                torch.stack([span_x * mirror * cos, -span_x * sin * aspect, x + shift_x], 1),
                torch.stack([span_y * mirror * sin / aspect, span_y * cos, y + shift_y], 1),
            ],
            dim=1,
        )
        grid = functional.affine_grid(theta, list(rows.shape), align_corners=False)
        return functional.grid_sample(
            rows, grid, mode="bilinear", padding_mode=self.padding, align_corners=False
        )

    def _colour(self, rows: Tensor, u_RK: Tensor) -> Tensor:
        """Brightness, contrast, saturation and hue (in this order), then grayscale and blur."""
        if self.jitter:
            on = (u_RK[:, 0] < self.jitter).to(rows)
            amounts = torch.tensor([self.brightness, self.contrast, self.saturation]).to(rows)
            factor = 1 + on[:, None] * amounts * (2 * u_RK[:, 1:4] - 1)
            bright, contrast, saturation = factor[:, :, None, None, None].unbind(1)
            rows = rows * bright
            middle = _luma(rows).mean((1, 2, 3), keepdim=True)
            rows = (rows - middle) * contrast + middle
            if rows.shape[1] == 3:
                gray = _luma(rows)
                rows = (rows - gray) * saturation + gray
                if self.hue:
                    rows = _turn_hue(rows, on * self.hue * (2 * u_RK[:, 4] - 1))
            rows = rows.clamp(0, 1)
        if self.grayscale and rows.shape[1] == 3:
            gone = (u_RK[:, 5] < self.grayscale)[:, None, None, None]
            rows = torch.where(gone, _luma(rows).expand_as(rows), rows)
        if self.blur:
            sigma = (0.1 + 1.9 * u_RK[:, 7]) * rows.shape[-1] / 224
            blurred = _blur(rows, sigma)
            rows = torch.where((u_RK[:, 6] < self.blur)[:, None, None, None], blurred, rows)
        return rows


def unit_range(pixels: Tensor) -> Tensor:
    """Turn uint8 pixels into floats in [0, 1]; floats pass unchanged."""
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels


def _luma(rows: Tensor) -> Tensor:
    if rows.shape[1] != 3:
        return rows.mean(1, keepdim=True)
    return (rows * rows.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)


def _turn_hue(rows: Tensor, turns: Tensor) -> Tensor:
    """Rotate chroma about the gray axis of YIQ: a linear stand-in for the hue channel of HSV that keeps brightness."""
    to_yiq = rows.new_tensor([LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)])
    angle = 2 * math.pi * turns
    turn = torch.zeros(len(rows), 3, 3).to(rows)
    turn[:, 0, 0] = 1
    turn[:, 1, 1], turn[:, 1, 2], turn[:, 2, 1], turn[:, 2, 2] = (
        angle.cos(),
        -angle.sin(),
        angle.sin(),
        angle.cos(),
    )
    return torch.einsum("rij,rjhw->rihw", torch.linalg.inv(to_yiq) @ turn @ to_yiq, rows)


def _blur(rows: Tensor, sigma: Tensor) -> Tensor:
    """Blur every row with its own Gaussian, one axis after the other."""
    radius = max(1, math.ceil(3 * 2.0 * rows.shape[-1] / 224))
    offsets = torch.arange(-radius, radius + 1).to(rows)
    kernel = torch.exp(-0.5 * (offsets / sigma[:, None].clamp(min=1e-3)) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(rows.shape[1], 0)
    flat = rows.reshape(1, -1, *rows.shape[2:])
    flat = functional.pad(flat, (radius,) * 4, mode="replicate")
    flat = functional.conv2d(flat, kernel[:, None, None, :], groups=len(kernel))
    flat = functional.conv2d(flat, kernel[:, None, :, None], groups=len(kernel))
    return flat.reshape(rows.shape)


PRESETS = {
    # Gray glyphs and garments of about 28 pixels.
    "small": Augmentation(rotation=25, scale=(0.6, 1.2), shift=0.15, jitter=1.0, contrast=0.4, noise=0.05),
    # The 8-pixel digits: a pixel is an eighth of the side, and a turn of 25 degrees already changes the digit.
    "digits": Augmentation(rotation=15, scale=(0.85, 1.15), shift=0.125, noise=0.15),
    # SimCLR's recipe for photographs.
    "natural": Augmentation(
        crop=(0.08, 1.0),
        flip=0.5,
        jitter=0.8,
        brightness=0.8,
        contrast=0.8,
        saturation=0.8,
        hue=0.2,
        grayscale=0.2,
        blur=0.5,
        padding="border",
    ),
}


def augmentation(given: str | Augmentation, shape: tuple[int, int, int]) -> Augmentation:
    """Return a preset by name; "auto" chooses by the images' channels, height and width.

    "light" only shifts, by up to an eighth of the side, and mirrors at random what is in colour (a mirrored digit is another
    sign); "none" leaves images as they are.

    >>> augmentation("auto", (1, 8, 8)) is PRESETS["digits"]
    True
    >>> augmentation("light", (1, 28, 28)) == Augmentation(shift=0.125)
    True
    """
    if isinstance(given, Augmentation):
        return given
    if given == "light":
        return Augmentation(shift=0.125, flip=0.5 if shape[0] == 3 else 0.0)
    if given == "none":
        return Augmentation()
    if given == "auto":
        channels, height, width = shape
        given = "natural" if channels == 3 else "small" if max(height, width) > 12 else "digits"
    if given not in PRESETS:
        raise CounterpointError(
            f"augmentation='{given}'; {nearest(given, ['auto', 'light', 'none', *PRESETS])}"
        )
    return PRESETS[given]
