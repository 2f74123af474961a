"""What edits a picture by a prompt: a person's own function, a command, or a diffusers image-to-image pipeline.

    function   "styles.py:paint" or "package.module:paint": paint(picture, prompt) -> picture, of Pillow or as an array [H, W, C]
    command    "mystyle --in {input} --out {output} --prompt {prompt}": PNG files in and out, no shell in between
    pipeline   a folder with model_index.json, which AutoPipelineForImage2Image opens

StyDeco (arXiv 2508.01215) calls this the prior: a frozen editor that stylises every photograph once.
"""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from counterpoint import library_bars
from counterpoint.errors import CounterpointError, MissingExtra
from counterpoint.imported import imported, in_a_line

Edit = Callable[[Any, str, int], Any]
"""(picture of Pillow, prompt, seed) -> picture of Pillow or array."""


@dataclass(kw_only=True)
class Prior:
    """A frozen editor that makes the styled pictures.

    Attributes:
        editor: "" for none; else a function, a command or the folder of a pipeline (see the module).
        prompt: what it is asked for; "" takes the first styled prompt of the data.
        strength, steps, guidance: of a pipeline: how far it may leave the picture, in how many steps, how strongly the prompt acts.
    """

    editor: str = ""
    prompt: str = ""
    strength: float = 0.6
    steps: int = 30
    guidance: float = 7.5


def editor(prior: Prior) -> Edit:
    """Open what edits.

    Raises:
        CounterpointError: none of the three. MissingExtra: a pipeline without diffusers.
    """
    spec = prior.editor
    if "{input}" in spec or "{output}" in spec:
        return _command(spec)
    if Path(spec).is_dir():
        return _pipeline(prior)
    if ":" in spec:
        function = imported(spec)
        if not callable(function):
            raise CounterpointError(
                f"prior.editor={spec!r} is a {type(function).__name__}; expected a function"
            )

        def run(picture: Any, prompt: str, seed: int) -> Any:
            try:
                return function(picture, prompt)
            except Exception as error:
                raise CounterpointError(f"prior.editor={spec!r} failed: {in_a_line(error)}") from None

        return run
    raise CounterpointError(
        f"prior.editor={spec!r}; expected a function 'styles.py:paint', a command 'mystyle --in {{input}} --out {{output}}', or the folder "
        "of a diffusers pipeline"
    )


def edited(edit: Edit, pixels_CHW: Tensor, prompt: str, seed: int) -> Tensor:
    """One picture edited, in its own size and channels; uint8 [C, H, W].

    Raises:
        CounterpointError: what came back is no picture. MissingExtra: pillow is not installed.
    """
    image = _pillow()
    array = np.ascontiguousarray(pixels_CHW.permute(1, 2, 0).numpy())
    given = image.fromarray(array[..., 0] if array.shape[2] == 1 else array)
    made = edit(given, prompt, seed)
    if not isinstance(made, image.Image):
        made = np.asarray(made)
        if made.dtype != np.uint8 or made.ndim not in (2, 3):
            raise CounterpointError(
                f"the editor returned an array {made.dtype} of shape {list(made.shape)}; expected a picture of Pillow, or uint8 [H, W] or [H, W, C]"
            )
        made = image.fromarray(made[..., 0] if made.ndim == 3 and made.shape[2] == 1 else made)
    made = made.convert(given.mode)
    if made.size != given.size:
        made = made.resize(given.size, image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(made)).reshape(array.shape).permute(2, 0, 1).contiguous()


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtra("pillow", "images") from None
    return Image


def _command(spec: str) -> Edit:
    words = shlex.split(spec)
    if not (any("{input}" in word for word in words) and any("{output}" in word for word in words)):
        raise CounterpointError(
            f"prior.editor={spec!r}; expected both {{input}} and {{output}}, such as 'mystyle --in {{input}} --out {{output}}'"
        )

    def run(picture: Any, prompt: str, seed: int) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "input.png", Path(folder) / "output.png"
            picture.save(source)
            filled = {
                "{input}": str(source),
                "{output}": str(target),
                "{prompt}": prompt,
                "{seed}": str(seed),
            }
            command = []
            for word in words:
                for name, value in filled.items():
                    word = word.replace(name, value)
                command.append(word)
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=False)
            except OSError as error:
                raise CounterpointError(
                    f"prior.editor: '{words[0]}' cannot be started: {error.strerror}"
                ) from None
            if done.returncode or not target.is_file():
                wrote = " ".join(done.stderr.split())[-300:] or "nothing on its standard error"
                raise CounterpointError(
                    f"prior.editor: '{words[0]}' ended with {done.returncode} and {'a' if target.is_file() else 'no'} picture at {{output}}; "
                    f"it wrote: {wrote}"
                )
            with _pillow().open(target) as made:
                made.load()
                return made.copy()

    return run


def _pipeline(prior: Prior) -> Edit:
    if not (Path(prior.editor) / "model_index.json").exists():
        raise CounterpointError(
            f"prior.editor={prior.editor}: no model_index.json there; expected the folder of a diffusers pipeline, as save_pretrained writes it"
        )
    try:
        from diffusers import AutoPipelineForImage2Image
    except ImportError:
        raise MissingExtra("diffusers", "diffusion") from None
    library_bars.hide("diffusers", "transformers")
    pipeline = AutoPipelineForImage2Image.from_pretrained(prior.editor)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to("cuda" if torch.cuda.is_available() else "cpu")

    def run(picture: Any, prompt: str, seed: int) -> Any:
        answer = pipeline(
            prompt=prompt, image=picture.convert("RGB"), strength=prior.strength, num_inference_steps=prior.steps,
            guidance_scale=prior.guidance, generator=torch.Generator().manual_seed(seed),
        )  # fmt: skip
        return answer.images[0]

    return run
