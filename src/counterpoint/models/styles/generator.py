"""What every generator of both directions is: a network with the domains' prompts and their adapters, and the grids that a method leaves."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from counterpoint.models.images.gallery import GALLERY, draw_gallery
from counterpoint.models.styles.adapted import Mode
from counterpoint.models.styles.domains import DOMAINS, Domain

COLUMNS = 8
"""Pictures side by side in a grid: those before above those after."""


class Generator(nn.Module):
    """A generator; shapes: N pictures, C channels, H by W pixels, P prompts, D dimensions.

    Attributes:
        shape: channels, height and width of the pictures that it learns from, in [-1, 1].
        prompts: domain -> its prompts.
        grids: name -> uint8 pictures before and after.
    """

    shape: tuple[int, ...]
    prompts: dict[str, tuple[str, ...]]
    grids: dict[str, Tensor]

    @abstractmethod
    def adapt(self, mode: Mode, rank: int, scale: float) -> None:
        """Give the prompts' encoder new adapters, unless it has such."""

    def adapt_network(self, unet_rank: int, vae_rank: int) -> None:
        """Give the network adapters of its own, where it is a pretrained one that has none."""

    @abstractmethod
    def embed(self, domain: Domain) -> Tensor:
        """[P, D] the domain's prompts, through its adapter."""

    @abstractmethod
    def forward(self, x_NCHW: Tensor, prompt_N: Tensor, towards: Domain) -> Tensor:
        """Pictures in [-1, 1] brought into a domain, by its prompts of these numbers; [N, C, H, W]."""

    def draw_grids(self, folder: Path) -> None:
        """Draw the grids that a method left, each in a folder of its own."""
        for name, pictures in self.grids.items():
            subfolder = folder / name
            subfolder.mkdir(exist_ok=True)
            draw_gallery(pictures.float() / 255, subfolder / GALLERY, columns=COLUMNS)


def named(prompts: Mapping[str, Sequence[str]] | None) -> dict[str, tuple[str, ...]]:
    """Each domain's prompts, a usual one where there is none.

    >>> named({"plain": ["a photo"]})
    {'plain': ('a photo',), 'styled': ('a styled picture',)}
    """
    return {domain: tuple((prompts or {}).get(domain) or (f"a {domain} picture",)) for domain in DOMAINS}
