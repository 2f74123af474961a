"""Encoders: shapes, ordinary folders, seeds, foreign models, and lessons."""

import json

import pytest
import torch

from counterpoint.errors import CounterpointError
from counterpoint.models.images.encoders import load_encoder
from counterpoint.models.images.projector import Projected, projected

HALF = ([0.3], [0.4])


@pytest.mark.parametrize("spec", ["conv-small", "resnet18"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 28, 28)])
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_reference_encoders_and_their_folders(tmp_path, spec, shape, norm):
    options = {"norm": norm, **({"width": 4} if spec == "resnet18" else {})}
    statistics = (HALF[0] * shape[0], HALF[1] * shape[0])
    model = load_encoder(spec, shape, statistics=statistics, seed=3, **options)
    pixels = torch.rand(5, *shape)
    model(pixels)  # moves the running statistics
    model.eval()
    model.save_pretrained(tmp_path)
    names = {file.name for file in tmp_path.iterdir()}
    assert {"config.json", "model.safetensors"} <= names
    again = load_encoder(str(tmp_path), shape, statistics=statistics).eval()
    assert torch.equal(again(pixels), model(pixels))
    assert model(pixels).shape == (5, model.num_features)
    through_the_class = type(model).from_pretrained(tmp_path).eval()
    assert torch.equal(through_the_class(pixels), model(pixels))


def test_size_and_seeds():
    one, same, other = (load_encoder("conv-small", (1, 28, 28), statistics=HALF, seed=s) for s in (0, 0, 1))
    weights = [next(m.parameters()) for m in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert sum(p.numel() for p in projected(one, hidden=128, dim=32, norm="none").parameters()) == 60_432
    state = torch.get_rng_state()
    load_encoder("conv-small", (1, 28, 28), statistics=HALF, seed=0)
    assert torch.equal(torch.get_rng_state(), state)


def test_group_normalisation_does_not_see_the_batch():
    model = load_encoder("conv-small", (1, 28, 28), statistics=HALF, norm="group")
    pixels = torch.rand(6, 1, 28, 28)
    torch.testing.assert_close(model(pixels)[:2], model(pixels[:2]))


def test_pixels_are_normalised_inside():
    model = load_encoder("conv-small", (1, 8, 8), statistics=([0.5], [0.25]), seed=0)
    plain = load_encoder("conv-small", (1, 8, 8), statistics=([0.0], [1.0]), seed=0)
    pixels = torch.rand(4, 1, 8, 8)
    torch.testing.assert_close(model(pixels), plain((pixels - 0.5) / 0.25))


def test_projector_is_kept_when_it_fits():
    encoder = load_encoder("conv-small", (1, 28, 28), statistics=HALF)
    first = projected(encoder, dim=16)
    assert projected(first, dim=16) is first
    assert projected(first, dim=8).encoder is encoder
    pixels = torch.rand(3, 1, 28, 28)
    assert first(pixels).shape == (3, first.num_features)
    assert first(pixels, project=True).shape == (3, 16)
    assert isinstance(first, Projected)
    with pytest.raises(CounterpointError, match="num_features"):
        projected(torch.nn.Linear(3, 3))


def test_transformers_folder(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=16,
        patch_size=8,
    )
    transformers.ViTModel(config).save_pretrained(tmp_path / "vit")
    recipe = {"image_mean": [0.1, 0.2, 0.3], "image_std": [1.0, 1.0, 1.0]}
    (tmp_path / "vit" / "preprocessor_config.json").write_text(json.dumps(recipe))
    model = load_encoder(str(tmp_path / "vit"), (1, 28, 28), statistics=HALF).eval()
    found = model(torch.rand(2, 1, 28, 28))
    assert found.shape == (2, 16)
    model.save_pretrained(tmp_path / "again")
    again = load_encoder(str(tmp_path / "again"), (1, 28, 28), statistics=HALF).eval()
    pixels = torch.rand(2, 3, 20, 20)
    assert torch.equal(again(pixels), model(pixels))


def test_convolutional_transformers_folder(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"
    )
    transformers.ResNetModel(config).save_pretrained(tmp_path)
    model = load_encoder(str(tmp_path), (3, 32, 32), statistics=HALF)
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 16) == (2, model.num_features)


@pytest.mark.slow
def test_efficientnet(tmp_path):
    pytest.importorskip("efficientnet_lite_pytorch")
    model = load_encoder("efficientnet-lite0", (3, 32, 32), statistics=HALF).eval()
    model.save_pretrained(tmp_path)
    again = load_encoder(str(tmp_path), (3, 32, 32), statistics=HALF).eval()
    pixels = torch.rand(1, 3, 32, 32)
    assert torch.equal(again(pixels), model(pixels))


def test_lessons(tmp_path):
    with pytest.raises(CounterpointError, match="did you mean 'conv-small'"):
        load_encoder("conv_small", (1, 8, 8), statistics=HALF)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CounterpointError, match="names no vision model"):
        load_encoder(str(tmp_path), (1, 8, 8), statistics=HALF)
    gray = load_encoder("conv-small", (1, 8, 8), statistics=HALF)
    with pytest.raises(CounterpointError, match="3 channels, an encoder for 1"):
        gray(torch.rand(2, 3, 8, 8))
