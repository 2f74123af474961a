"""Denoisers that read captions: the noise that they see in a noised picture.

Each has ``shape`` (of what it denoises), ``alpha_bar`` [T] of its schedule, ``read(captions)`` (rows that travel with a batch),
``encode(pixels)`` (pictures as it denoises them) and ``forward(z_t, t, texts)``. Shapes: N pictures, L words, D dimensions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from counterpoint.models.captioned.words import PAD, WORD, vocabulary, word_ids
from counterpoint.models.model_folders import Saved
from counterpoint.models.pictures.denoiser import Denoiser as PictureDenoiser
from counterpoint.models.pictures.diffusion import noise_by_flow, scaled_linear
from counterpoint.models.pictures.dit import DiT
from counterpoint.models.pictures.loading import chosen_patch


class Denoiser(nn.Module):
    """What every denoiser of captioned pictures has; a picture is in [-1, 1] unless ``encode`` makes latents of it."""

    alpha_bar: Tensor

    def __init__(self, shape: Sequence[int], alpha_bar: Tensor | None = None) -> None:
        super().__init__()
        channels, height, width = shape
        self.shape = (int(channels), int(height), int(width))
        self.register_buffer("alpha_bar", scaled_linear() if alpha_bar is None else alpha_bar, False)

    def read(self, captions: Sequence[str]) -> Tensor:
        """Rows that ``forward`` reads, one a caption."""
        raise NotImplementedError

    def forward(self, z_t: Tensor, t_N: Tensor, texts: Tensor) -> Tensor:
        """The noise in z_t [N, *shape] at the steps t, 0 to T - 1, under the captions' rows; as large as z_t."""
        raise NotImplementedError

    def encode(self, pixels: Tensor) -> Tensor:
        """[N, C, H, W] uint8 -> [N, *shape] as they are denoised."""
        return as_pictures(pixels, self.shape)

    def _of(self, t_N: Tensor, like: Tensor) -> Tensor:
        """a_t of the steps."""
        return self.alpha_bar.to(like.device)[t_N].to(like.dtype)


def as_pictures(pixels: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """[N, C, H, W] uint8 -> [N, *shape] in [-1, 1], of other sides or channels where need be.

    >>> as_pictures(torch.full((1, 1, 4, 4), 255, dtype=torch.uint8), (3, 2, 2))[0, :, 0, 0]
    tensor([1., 1., 1.])
    """
    pictures = pixels.float() / 127.5 - 1
    if pictures.shape[1] != shape[0]:
        pictures = pictures.mean(1, keepdim=True).expand(-1, shape[0], -1, -1)
    if tuple(pictures.shape[2:]) != shape[1:]:
        pictures = functional.interpolate(
            pictures, size=shape[1:], mode="bilinear", align_corners=False, antialias=True
        )
    return pictures


class FlowDenoiser(Denoiser):
    """A flow of the kind "pictures" (flow-matching, self-e), read on the noise's own path (``models.pictures.diffusion``)."""

    def __init__(self, net: PictureDenoiser) -> None:
        super().__init__(net.shape)
        self.net = net

    def read(self, captions: Sequence[str]) -> Tensor:
        """Vectors of captions, or numbers of classes, as the flow was trained on."""
        return self.net.prompts_of(captions)

    def forward(self, z_t: Tensor, t_N: Tensor, texts: Tensor) -> Tensor:
        """See ``Denoiser``."""
        return noise_by_flow(lambda x, t: self.net(x, t, t, texts), z_t, self._of(t_N, z_t))


class CaptionDenoiser(Denoiser, Saved):
    """A small flow that reads captions as words at positions: a network of each word where it stands, then a diffusion transformer.

    Args:
        shape: of the pictures. words: that it knows. length: of the longest caption, in words.
        patch: pixels of a patch's side. width, depth, heads: of the transformer.

    >>> net = CaptionDenoiser((1, 8, 8), ("left", "one", "two"), length=4, patch=4, width=16, depth=1)
    >>> net(torch.randn(2, 1, 8, 8), torch.tensor([0, 999]), net.read(["one left", "two"])).shape
    torch.Size([2, 1, 8, 8])
    """

    whole: ClassVar[bool] = True

    def __init__(
        self,
        shape: Sequence[int],
        words: Sequence[str],
        length: int,
        patch: int = 2,
        width: int = 128,
        depth: int = 2,
        heads: int = 4,
    ) -> None:
        super().__init__(shape)
        self.words, self.length = tuple(words), length
        self.embed = nn.Embedding(len(self.words) + 2, width)
        self.positions = nn.Parameter(0.5 * torch.randn(length, width))
        self.mix = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.net = DiT(self.shape, patch=patch, width=width, depth=depth, heads=heads, text_dim=width)

    def read(self, captions: Sequence[str]) -> Tensor:
        """[N, L] numbers of words."""
        return word_ids(captions, self.words, self.length)

    def texts(self, ids: Tensor) -> Tensor:
        """[N, L] -> [N, D]: the sum over words of a network of each word and its position."""
        different, row = ids.unique(dim=0, return_inverse=True)
        states = self.mix(self.embed(different) + self.positions)
        return (states * (different != PAD)[..., None]).sum(1)[row]

    def velocity(self, x: Tensor, t_N: Tensor, ids: Tensor) -> Tensor:
        """e - x_0 at x_t on the straight path, [N, *shape]."""
        return self.net(x, t_N, t_N, self.texts(ids))

    def forward(self, z_t: Tensor, t_N: Tensor, texts: Tensor) -> Tensor:
        """See ``Denoiser``."""
        return noise_by_flow(lambda x, t: self.velocity(x, t, texts), z_t, self._of(t_N, z_t))


def small_denoiser(
    shape: tuple[int, int, int],
    captions: Iterable[str],
    *,
    patch: int = 0,
    width: int = 128,
    depth: int = 2,
    seed: int = 0,
) -> CaptionDenoiser:
    """A fresh one for pictures of this shape and the words of captions.

    Args:
        patch: pixels of a patch's side; 0 chooses. width, depth: of the transformer. seed: of the weights.
    """
    texts = list(captions)
    longest = max((len(WORD.findall(text)) for text in texts), default=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CaptionDenoiser(
            shape, vocabulary(texts), longest, patch=patch or chosen_patch(shape), width=width, depth=depth
        )
