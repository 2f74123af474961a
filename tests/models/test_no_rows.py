"""A batch of no rows goes through every model: with several processes, a small last batch leaves one without a row."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from counterpoint.models.audio.encoder import SmallSpeech
from counterpoint.models.images.encoders import TransformersVision
from counterpoint.models.language.characters import tiny
from counterpoint.models.text.transformer import fresh_transformer


def test_language() -> None:
    model = tiny(seed=0)
    prompts, completions = model.prompts([]), model.completions([])
    assert model(torch.zeros(0, 7, dtype=torch.long), torch.zeros(0, 7), last=3).shape == (0, 3, 32)
    assert model(prompts.ids, prompts.mask).shape[0] == completions.ids.shape[0] == 0


def test_text() -> None:
    model = fresh_transformer(["a", "b"], width=8)
    ids = torch.zeros(0, 5, dtype=torch.long)
    assert model(ids, torch.ones_like(ids)).shape == (0, 8)
    assert model(ids, torch.ones_like(ids), out="tokens").shape == (0, 5, 8)


def test_images(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        image_size=8,
        patch_size=4,
    )
    transformers.ViTModel(config).save_pretrained(tmp_path)
    assert TransformersVision(tmp_path)(torch.zeros(0, 3, 8, 8)).shape == (0, 8)


@pytest.mark.parametrize("waves", [torch.zeros(0, 900), torch.zeros(0, 0, 10)], ids=["waves", "bands"])
def test_speech(waves: torch.Tensor) -> None:
    states, mask = SmallSpeech(8000, num_mels=10, widths=(16, 16)).frames(
        waves, torch.zeros(0, dtype=torch.long)
    )
    assert states.shape == (*mask.shape, 16)
    assert len(mask) == 0


def test_pretrained_speech() -> None:
    transformers = pytest.importorskip("transformers")
    from counterpoint.models.audio.pretrained import WaveSpeech

    config = transformers.Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=(8, 8),
        conv_stride=(5, 2), conv_kernel=(10, 3), num_feat_extract_layers=2, num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2, feat_extract_norm="layer",
    )  # fmt: skip
    states, mask = WaveSpeech(transformers.Wav2Vec2Model(config), {}).frames(
        torch.zeros(0, 0), torch.zeros(0, dtype=torch.long)
    )
    assert states.shape == (*mask.shape, 16)
    assert len(mask) == 0
