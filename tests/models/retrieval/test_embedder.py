"""Encoders as folders: opened by counterpoint, by transformers and, where it is installed, by sentence-transformers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import counterpoint
from counterpoint.errors import CounterpointError
from counterpoint.generation.rationales import embed
from counterpoint.models.language import language
from counterpoint.models.language.characters import tiny
from counterpoint.models.retrieval.embedder import Embedder, Shown, load, pooled

TEXTS = ["some words", "others"]


def saved(folder: Path, **shown: object) -> Embedder:
    encoder = Embedder(tiny(seed=0), Shown(**{"template": "read: {text}", "rationale": 3, **shown}))  # type: ignore[arg-type]
    encoder.save_pretrained(folder)
    return encoder


def test_a_folder_is_opened_as_it_was_saved(tmp_path: Path) -> None:
    encoder = saved(tmp_path / "model", longest=7)
    again = counterpoint.load(tmp_path / "model")
    assert isinstance(again, Embedder)
    assert again.shown == encoder.shown
    assert torch.equal(embed(again, TEXTS), embed(encoder, TEXTS))
    assert torch.equal(language.load(tmp_path / "model").head.weight, encoder.language.head.weight)


def test_a_plain_language_model_is_an_encoder_with_the_usual_words(tmp_path: Path) -> None:
    tiny(seed=0).save(tmp_path / "model")
    assert load(tmp_path / "model").shown == Shown()


def test_damaged_folders_and_templates(tmp_path: Path) -> None:
    saved(tmp_path / "model")
    for text in ("{", '{"colour": 1}', '["a"]'):
        (tmp_path / "model" / "embedding.json").write_text(text)
        with pytest.raises(CounterpointError, match="does not say how texts are shown"):
            load(tmp_path / "model")
    with pytest.raises(CounterpointError, match="has no field {text}"):
        Embedder(tiny(seed=0), Shown(template="read"))


def test_pooling_by_a_loop() -> None:
    g = torch.Generator().manual_seed(0)
    hidden = torch.randn(4, 6, 3, generator=g, dtype=torch.float64)
    mask = torch.tensor([[0, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0]])
    dirty = hidden.masked_fill(mask[..., None] == 0, torch.nan)
    found = pooled(dirty, mask, skip=2)
    for row in range(3):
        counted = [t for t in range(6) if mask[row, t]]
        counted = counted[2:] if len(counted) > 2 else counted
        mean = sum(hidden[row, t] for t in counted) / len(counted)
        torch.testing.assert_close(found[row], mean / mean.norm())
    assert (found[3] == 0).all()
    leaf = hidden.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: pooled(x, mask[:3], 1), (leaf[:3],))


def test_what_sentence_transformers_is_shown(tmp_path: Path) -> None:
    saved(tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config_sentence_transformers.json").read_text())
    assert config["prompts"]["text"] == "<s>read: "
    modules = json.loads((tmp_path / "model" / "modules.json").read_text())
    assert [each["type"].rpartition(".")[2] for each in modules] == ["Transformer", "Pooling", "Normalize"]
    assert all((tmp_path / "model" / each["path"]).is_dir() for each in modules)


def test_sentence_transformers_opens_it_and_pools_the_text_alone(tmp_path: Path) -> None:
    library = pytest.importorskip("sentence_transformers")
    encoder = saved(tmp_path / "model")
    found = torch.tensor(library.SentenceTransformer(str(tmp_path / "model"), device="cpu").encode(TEXTS))
    tokenizer = encoder.language.tokenizer
    for row, text in zip(found, TEXTS):
        ids = torch.tensor([tokenizer("<s>read: " + text, add_special_tokens=False).input_ids])
        states = encoder.language(ids, torch.ones_like(ids))
        torch.testing.assert_close(
            row, pooled(states, torch.ones_like(ids), encoder.skipped())[0].detach(), rtol=1e-4, atol=1e-5
        )
