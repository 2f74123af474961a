"""Opens whatever can be a denoiser of captioned pictures."""

from __future__ import annotations

from pathlib import Path

from counterpoint.errors import CounterpointError
from counterpoint.models.captioned.denoiser import Denoiser, FlowDenoiser
from counterpoint.models.captioned.pipeline import PipelineDenoiser
from counterpoint.models.folders import load
from counterpoint.models.model_folders import configuration
from counterpoint.models.pictures.denoiser import Denoiser as PictureDenoiser


def open_denoiser(spec: str | Path) -> Denoiser:
    """Open a folder: a caption denoiser, a flow of the kind "pictures", or a text-to-image pipeline of diffusers.

    Raises:
        CounterpointError: no such folder, or one that holds none of these.
    """
    folder = Path(spec)
    if not folder.is_dir():
        raise CounterpointError(
            f"there is no denoiser at {spec}; give 'own' to train a small one on the pairs, or the folder of a model of pictures, or of a "
            "text-to-image pipeline of diffusers"
        )
    if (folder / "model_index.json").exists():
        return PipelineDenoiser(folder)
    model = load(folder) if configuration(folder) else None
    if isinstance(model, PictureDenoiser):
        if model.sampling.get("path", "flow") != "flow":
            raise CounterpointError(
                f"{folder}: this model of pictures is on the path '{model.sampling['path']}'; expected a flow, of flow-matching or self-e"
            )
        if not (model.text_dim or model.names):
            raise CounterpointError(
                f"{folder}: this model of pictures reads no prompts; train one with captions: --data-option prompts=captions"
            )
        return FlowDenoiser(model)
    if not isinstance(model, Denoiser):
        raise CounterpointError(
            f"{folder} holds {type(model).__name__ if model is not None else 'no model'}; expected a model of pictures that reads captions, or a "
            "text-to-image pipeline of diffusers (model_index.json)"
        )
    return model
