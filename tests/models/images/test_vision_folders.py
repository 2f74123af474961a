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


def test_where_the_folder_does_not_say_how_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    transformers.ViTModel(transformers.ViTConfig(**SIZES)).save_pretrained(tmp_path)
    with caplog.at_level("WARNING", logger="counterpoint"):
        model = TransformersVision(tmp_path)
    assert "does not say how its images are normalised (image_mean and image_std" in caplog.text
    assert model.normalise.get_buffer("mean").ravel().tolist() == [0.5, 0.5, 0.5]
    caplog.clear()
    for recipe, mean, std in (
        ({"do_normalize": False}, 0.0, 1.0),
        ({"image_mean": 0.4, "image_std": 0.3}, 0.4, 0.3),
        ({"image_mean": [0.4] * 3, "image_std": [0.3] * 3}, 0.4, 0.3),
    ):
        for name, content in (
            ("processor_config.json", {"image_processor": recipe}),
            ("preprocessor_config.json", recipe),
        ):
            (tmp_path / name).write_text(json.dumps(content))
            with caplog.at_level("WARNING", logger="counterpoint"):
                model = TransformersVision(tmp_path)
            assert model.normalise.get_buffer("mean").ravel().tolist() == pytest.approx([mean] * 3)
            assert model.normalise.get_buffer("std").ravel().tolist() == pytest.approx([std] * 3)
            (tmp_path / name).unlink()
    assert not caplog.text


def test_images_smaller_than_the_model_looks_at_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from counterpoint.tasks.task import task

    transformers.ViTModel(transformers.ViTConfig(**{**SIZES, "image_size": 32})).save_pretrained(tmp_path)
    images = task("images")
    with caplog.at_level("WARNING", logger="counterpoint"):
        images.load_model(str(tmp_path), images.load_data("digits"), 0)
    assert "looks at images of 32x32, and the data have 8x8" in caplog.text
    assert "--data-option size=32" in caplog.text


def test_no_bar_of_another_library_is_drawn(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    transformers.ViTModel(transformers.ViTConfig(**SIZES)).save_pretrained(tmp_path)
    transformers.utils.logging.enable_progress_bar()
    capfd.readouterr()
    TransformersVision(tmp_path)
    assert "Loading weights" not in capfd.readouterr().err
