"""CLIP models of transformers as two towers: pixels and token ids in, one vector each out. Folders in and out are transformers' own.

Shapes: N images and captions, L tokens, D dimensions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from counterpoint import library_bars
from counterpoint.errors import CounterpointError, MissingExtra, nearest
from counterpoint.models.captioned.words import require_length, vocabulary, word_tokenizer
from counterpoint.models.images import preprocessing
from counterpoint.models.images.encoders import Normalise, resized
from counterpoint.models.model_folders import configuration

SIZES: dict[str, dict[str, int]] = {
    "clip-small": {"width": 64, "vision_layers": 2, "text_layers": 1, "heads": 4, "patches": 4, "length": 32},
    "clip-base": {"width": 256, "vision_layers": 6, "text_layers": 4, "heads": 8, "patches": 8, "length": 64},
}
SPREAD = 0.5
"""Deviation of a fresh small model's embeddings: wide, so that words and their order are seen from the start."""


class TwoTowers(nn.Module):
    """A CLIPModel with its tokenizer and its way of preparing images.

    Args:
        net: transformers' CLIPModel. tokenizer: of its folder.
        recipe: of its preprocessor, see ``models.images.preprocessing``. folder: for messages.
    """

    def __init__(self, net: Any, tokenizer: Any, recipe: dict[str, Any], folder: str | Path = "clip") -> None:
        super().__init__()
        self.net, self.tokenizer, self.recipe = net, tokenizer, recipe
        vision = net.config.vision_config
        self.side, self.length = int(vision.image_size), int(net.config.text_config.max_position_embeddings)
        self.normalise = Normalise(*preprocessing.statistics(recipe, vision.num_channels, folder))

    @property
    def width(self) -> int:
        """D, of both towers' vectors."""
        return int(self.net.config.projection_dim)

    def forward(self, pixels: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """[N, C, H, W] uint8 or in [0, 1], and [N, L] -> both towers' vectors [N, D], of any length."""
        return self.images(pixels), self.texts(ids)

    def images(self, pixels: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, D]."""
        pixels = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels
        pixels = resized(self.normalise(pixels.to(self.net.logit_scale.dtype)), self.side)
        if not len(pixels):  # a process without a row of a small last batch
            return self.images(pixels.new_zeros(1, *pixels.shape[1:]))[:0]
        return self.net.visual_projection(self.net.vision_model(pixel_values=pixels).pooler_output)

    def texts(self, ids: Tensor) -> Tensor:
        """[N, L] -> [N, D]. Attention looks back alone, so that what is behind a caption's end changes nothing."""
        if not len(ids):
            return self.texts(ids.new_zeros(1, ids.shape[1]))[:0]
        return self.net.text_projection(self.net.text_model(input_ids=ids).pooler_output)

    def temperature(self) -> Tensor:
        """What similarities are divided by, a scalar."""
        return torch.exp(-self.net.logit_scale)

    def read(self, captions: Sequence[str]) -> Tensor:
        """[N, L] ids, padded.

        Raises:
            CounterpointError: a caption of more tokens than the model reads.
        """
        rows = self.tokenizer(list(captions)).input_ids
        for text, ids in zip(captions, rows, strict=True):
            require_length(text, len(ids), self.length)
        pad = self.tokenizer.pad_token_id
        longest = max(map(len, rows), default=1)
        return torch.tensor([[*ids, *[pad] * (longest - len(ids))] for ids in rows])

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the folder that ``CLIPModel.from_pretrained`` opens, with the tokenizer and the preprocessing it came with."""
        self.net.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        text = json.dumps(self.recipe, indent=2) + "\n"
        (Path(folder) / "preprocessor_config.json").write_text(text, encoding="utf-8")


def open_towers(folder: Path) -> TwoTowers:
    """Open a CLIP folder of transformers.

    Raises:
        CounterpointError: another model's folder. MissingExtra: transformers is not installed.
    """
    transformers = _library()
    kind = configuration(folder).get("model_type")
    if kind != "clip":
        raise CounterpointError(
            f"{folder}: config.json has model_type {kind!r}; expected 'clip', a folder that transformers.CLIPModel opens, or one of "
            f"{', '.join(SIZES)}"
        )
    net = transformers.CLIPModel.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return TwoTowers(net, tokenizer, preprocessing.recipe_of(folder), folder)


def load_towers(
    spec: str, shape: tuple[int, int, int], captions: Sequence[str] = (), *, seed: int = 0
) -> TwoTowers:
    """Build "clip-small" or "clip-base" for images of this shape and the words of captions, or open a folder.

    Args:
        seed: of the initial weights.

    Raises:
        CounterpointError: another name, or a folder of another model.

    >>> towers = load_towers("clip-small", (1, 16, 16), ["one left of two"])
    >>> [part.shape for part in towers(torch.rand(2, 1, 16, 16), towers.read(["two left", "one"]))]
    [torch.Size([2, 64]), torch.Size([2, 64])]
    """
    if (Path(spec) / "config.json").exists():
        return open_towers(Path(spec))
    if spec not in SIZES:
        raise CounterpointError(
            f"model '{spec}': neither a reference model ({nearest(spec, SIZES)}) nor a folder with config.json; give one of "
            f"{', '.join(SIZES)}, or a CLIP folder of transformers"
        )
    transformers, size = _library(), SIZES[spec]
    tokenizer = word_tokenizer(vocabulary(captions))
    shared = {
        "hidden_size": size["width"],
        "intermediate_size": 4 * size["width"],
        "num_attention_heads": size["heads"],
        "projection_dim": size["width"],
    }
    side = max(size["patches"], min(shape[1:]) // size["patches"] * size["patches"])
    special = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos")}
    config = transformers.CLIPConfig(
        text_config={
            **shared,
            **special,
            "vocab_size": len(tokenizer),
            "num_hidden_layers": size["text_layers"],
            "max_position_embeddings": size["length"],
        },
        vision_config={
            **shared,
            "num_hidden_layers": size["vision_layers"],
            "image_size": side,
            "patch_size": side // size["patches"],
            "num_channels": shape[0],
        },
        projection_dim=size["width"],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = transformers.CLIPModel(config)
        # CLIP's own deviations suit millions of steps: of 0.02, words and patches would be lost beside their positions.
        vision, text = net.vision_model.embeddings, net.text_model.embeddings
        for embedding in (vision.position_embedding, text.position_embedding, text.token_embedding):
            nn.init.normal_(embedding.weight, std=SPREAD)
        nn.init.normal_(vision.patch_embedding.weight, std=vision.patch_embedding.weight[0].numel() ** -0.5)
    half = [0.5] * shape[0]
    recipe = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": side},
        "crop_size": {"height": side, "width": side},
        "image_mean": half,
        "image_std": half,
        "do_convert_rgb": shape[0] == 3,
    }
    return TwoTowers(net, tokenizer, recipe, spec)


def _library() -> Any:
    try:
        import transformers
    except ImportError:
        raise MissingExtra("transformers", "images") from None
    library_bars.hide("transformers")
    return transformers
