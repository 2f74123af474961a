"""Vision folders of transformers give the same features at every opening: no random pooler, no random masking."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from counterpoint.models.images.encoders import TransformersVision

transformers = pytest.importorskip("transformers")
SIZES = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "image_size": 16,
    "patch_size": 4,
}  # fmt: skip


def features(folder: Path, seed: int) -> torch.Tensor:
    """Of two images, by a model opened under a seed."""
    pixels = torch.rand(2, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(seed)
    with torch.no_grad():
        return TransformersVision(folder).eval()(pixels)


@pytest.mark.parametrize("kind", ["ViTForImageClassification", "ViTModel", "ViTMAEModel"])
def test_features_do_not_depend_on_chance(tmp_path: Path, kind: str) -> None:
    family = transformers.ViTMAEConfig if "MAE" in kind else transformers.ViTConfig
    getattr(transformers, kind)(family(**SIZES)).save_pretrained(tmp_path)
    assert torch.equal(features(tmp_path, 1), features(tmp_path, 2))


def test_a_preprocessor_s_size_mean_and_deviation_are_used(tmp_path: Path) -> None:
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"
    )
    transformers.ResNetModel(config).save_pretrained(tmp_path)
    recipe = {
        "crop_size": {"height": 32, "width": 32},
        "image_mean": [0.1, 0.2, 0.3],
        "image_std": [0.5, 0.6, 0.7],
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(recipe))
    model = TransformersVision(tmp_path)
    assert model.side == 32
    assert model.normalise.get_buffer("mean").ravel().tolist() == pytest.approx([0.1, 0.2, 0.3])
