"""Two towers are transformers' CLIP, in and out; denoisers of every origin answer with the noise; diffusers' pipelines, if installed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import counterpoint
from counterpoint.errors import CounterpointError
from counterpoint.models.captioned.clip import TwoTowers, load_towers
from counterpoint.models.captioned.denoiser import (
    CaptionDenoiser,
    FlowDenoiser,
    small_denoiser,
)
from counterpoint.models.captioned.opened import open_denoiser
from counterpoint.models.pictures.diffusion import diffused
from counterpoint.models.pictures.loading import load_denoiser

TEXTS = ["one left of two", "two left of one", "three"]


def test_a_folder_is_what_transformers_opens(tmp_path: Path) -> None:
    from transformers import AutoTokenizer, CLIPModel

    towers = load_towers("clip-small", (1, 16, 16), TEXTS, seed=1).eval()
    towers.save_pretrained(tmp_path)
    net = CLIPModel.from_pretrained(tmp_path).eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    pixels = torch.randint(0, 256, (3, 1, 16, 16), dtype=torch.uint8)
    recipe = json.loads((tmp_path / "preprocessor_config.json").read_text())
    prepared = (pixels / 255 - recipe["image_mean"][0]) / recipe["image_std"][0]
    with torch.no_grad():
        theirs = net(pixel_values=prepared, **tokenizer(TEXTS, padding=True, return_tensors="pt"))
        image, text = towers(pixels, towers.read(TEXTS))
    unit = torch.nn.functional.normalize
    torch.testing.assert_close(unit(image), theirs.image_embeds, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(unit(text), theirs.text_embeds, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        unit(image) @ unit(text).T / towers.temperature(), theirs.logits_per_image, rtol=1e-4, atol=1e-4
    )
    opened = load_towers(str(tmp_path), (1, 16, 16))
    torch.testing.assert_close(opened.images(pixels), image)
    (tmp_path / "reading.json").write_text(json.dumps({"kind": "captioned", "shape": [1, 16, 16]}))
    assert isinstance(counterpoint.load(tmp_path), TwoTowers)


def test_what_is_behind_a_caption_changes_nothing() -> None:
    towers = load_towers("clip-small", (3, 20, 24), TEXTS, seed=0).eval()
    together, alone = towers.texts(towers.read(TEXTS)), towers.texts(towers.read(TEXTS[2:]))
    torch.testing.assert_close(together[2:], alone, rtol=1e-5, atol=1e-6)
    assert towers.texts(towers.read(TEXTS)[:0]).shape == (0, towers.width)
    assert towers.images(torch.zeros(0, 3, 20, 24)).shape == (0, towers.width)
    assert not torch.allclose(together[0], together[1])
    with pytest.raises(CounterpointError, match="has 42 tokens and the model reads 32"):
        towers.read(["one " * 40])


def test_other_folders_and_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CounterpointError, match="did you mean 'clip-small'"):
        load_towers("clip-smal", (1, 8, 8))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CounterpointError, match="model_type 'bert'"):
        load_towers(str(tmp_path), (1, 8, 8))


def test_a_caption_denoiser_reads_words_where_they_stand(tmp_path: Path) -> None:
    net = small_denoiser((1, 8, 8), TEXTS, patch=4, width=16, depth=1, seed=0)
    assert torch.equal(net.read(["TWO  left of one"]), net.read([TEXTS[1]]))
    vectors = net.texts(net.read(TEXTS))
    assert not torch.allclose(vectors[0], vectors[1])
    torch.testing.assert_close(vectors[:1], net.texts(net.read(TEXTS[:1])))
    net.save_pretrained(tmp_path)
    opened = open_denoiser(tmp_path)
    assert isinstance(opened, CaptionDenoiser)
    z, t = torch.randn(3, 1, 8, 8), torch.tensor([0, 500, 999])
    torch.testing.assert_close(opened(z, t, opened.read(TEXTS)), net(z, t, net.read(TEXTS)))


def test_a_flow_of_pictures_sees_the_noise(tmp_path: Path) -> None:
    """A velocity that knows the picture gives back the noise; through a folder on disk."""
    flow = load_denoiser("dit-small:4", (1, 8, 8), names=tuple(TEXTS))
    flow.save_pretrained(tmp_path)
    net = open_denoiser(tmp_path)
    assert isinstance(net, FlowDenoiser)
    clean, noise = torch.randn(3, 1, 8, 8), torch.randn(3, 1, 8, 8)
    net.net.forward = lambda x, t, s, prompts: noise - clean  # type: ignore[method-assign]
    t = torch.tensor([3, 400, 990])
    z = diffused(clean, noise, net.alpha_bar[t].float())
    torch.testing.assert_close(net(z, t, net.read(TEXTS)), noise, rtol=1e-4, atol=1e-4)
    pixels = torch.full((1, 3, 16, 16), 255, dtype=torch.uint8)
    assert torch.equal(net.encode(pixels), torch.ones(1, 1, 8, 8))


def test_what_is_no_denoiser_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CounterpointError, match="there is no denoiser at"):
        open_denoiser(tmp_path / "none")
    load_denoiser("dit-small:4", (1, 8, 8)).save_pretrained(tmp_path / "plain")
    with pytest.raises(CounterpointError, match="reads no prompts"):
        open_denoiser(tmp_path / "plain")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CounterpointError, match="expected a model of pictures"):
        open_denoiser(tmp_path / "empty")


def test_without_diffusers_a_pipeline_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    monkeypatch.setitem(__import__("sys").modules, "diffusers", None)
    with pytest.raises(CounterpointError, match=r"pip install 'counterpoint\[diffusion\]'"):
        open_denoiser(tmp_path)
