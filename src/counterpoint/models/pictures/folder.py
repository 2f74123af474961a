"""Denoisers as folders: config.json with the prompts and the sampling, safetensors, grids of pictures beside them.

No pipeline of diffusers has a network with two times, and our own are ordinary folders of this package; diffusers' U-Net stays one
of diffusers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from counterpoint.models.folders import Folders
from counterpoint.models.pictures.diffusers_unet import open_unet, unet_folder
from counterpoint.models.pictures.dit import DiT
from counterpoint.models.pictures.unet import UNet
from counterpoint.models.pictures.uvit import UViT

OPENERS = {each.__name__: each.from_pretrained for each in (DiT, UViT, UNet)} | {"DiffusersUNet": open_unet}


def _unstated(folder: Path, content: Mapping[str, Any]) -> str:
    if unet_folder(folder) is not None:
        return "DiffusersUNet"
    name = str(content.get("architecture", ""))
    return name if name in OPENERS else ""


FOLDERS = Folders(kind="pictures", openers=OPENERS, unstated=_unstated, foreign=("DiffusersUNet",))
