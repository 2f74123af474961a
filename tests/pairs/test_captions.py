"""Vectors of captions: whose is whose, made once, made anew when the encoder changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from counterpoint.data.images.load import Images, ImageSet
from counterpoint.errors import CounterpointError
from counterpoint.models.text import embedding
from counterpoint.pairs import caption_vectors as pairing
from counterpoint.pairs.caption_vectors import with_partners


def images(*told: list[tuple[str, ...]], encoder: str = "minilm-l6") -> Images:
    parts = [
        ImageSet(
            torch.zeros(len(said), 1, 2, 2, dtype=torch.uint8),
            torch.zeros(len(said)).long(),
            captions=tuple(said),
        )
        for said in told
    ]
    return Images(*parts, classes=(), text_encoder=encoder)


def test_every_image_gets_its_captions_vector_in_every_split(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    known = {"a": [1.0, 0.0], "bb": [0.0, 1.0], "ccc": [-1.0, 0.0]}

    def fake(texts, spec):
        asked.append((texts, spec))
        return np.array([known[text] for text in texts], dtype=np.float32)

    monkeypatch.setattr(pairing, "cached_sentence_vectors", fake)
    data = images([("ccc",), ("a", "bb")], [("bb",)], [("a",), ("ccc",)], encoder="mine")
    found = with_partners(data)
    assert asked == [(["a", "bb", "ccc"], "mine")]
    half = 0.5**0.5
    for part, expected in (
        (found.train, [[-1, 0], [half, half]]),
        (found.validation, [[0, 1]]),
        (found.test, [[1, 0], [-1, 0]]),
    ):
        torch.testing.assert_close(part.partners, torch.tensor(expected, dtype=torch.float32))
    assert with_partners(found) is found
    assert data.train.partners is None


def test_neither_captions_nor_vectors_teaches() -> None:
    bare = ImageSet(torch.zeros(2, 1, 2, 2), torch.zeros(2).long())
    with pytest.raises(
        CounterpointError, match=r"captions\.csv with the columns file and caption.*partners=captions\.npy"
    ):
        with_partners(Images(bare, bare, bare, classes=()))


@pytest.fixture
def encoder(tmp_path, monkeypatch):
    """A folder of a tiny encoder with random weights, and a cache of its own."""
    transformers = pytest.importorskip("transformers")
    from counterpoint.models.text.transformer import word_tokenizer

    monkeypatch.setenv("COUNTERPOINT_CACHE", str(tmp_path / "cache"))
    tokenizer = word_tokenizer(["red", "green", "flag", "cat"])
    config = transformers.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    torch.manual_seed(0)
    transformers.BertModel(config).save_pretrained(tmp_path / "encoder")
    tokenizer.save_pretrained(tmp_path / "encoder")
    return tmp_path / "encoder"


def test_vectors_are_computed_once_and_anew_for_another_encoder(encoder, monkeypatch) -> None:
    texts = ["red flag", "green cat"]
    first = embedding.cached_sentence_vectors(texts, str(encoder))
    np.testing.assert_allclose(first, embedding.sentences(texts, spec=encoder), rtol=1e-6)
    real = embedding.sentences
    monkeypatch.setattr(embedding, "sentences", lambda *_, **__: pytest.fail("computed twice"))
    assert (embedding.cached_sentence_vectors(texts, str(encoder)) == first).all()
    count = []
    monkeypatch.setattr(
        embedding, "sentences", lambda *given, **named: count.append(1) or real(*given, **named)
    )
    other = embedding.cached_sentence_vectors([*texts, "red cat"], str(encoder))
    np.testing.assert_allclose(other[:2], first, rtol=1e-5)
    transformers = pytest.importorskip("transformers")
    model = transformers.BertModel.from_pretrained(encoder)
    with torch.no_grad():
        model.embeddings.word_embeddings.weight.mul_(-1)
    model.save_pretrained(encoder)
    assert not np.allclose(embedding.cached_sentence_vectors(texts, str(encoder)), first, atol=1e-3)
    assert len(count) == 2


def test_a_broken_off_computation_leaves_nothing(encoder, monkeypatch) -> None:
    real = embedding.sentences

    def broken(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(embedding, "sentences", broken)
    with pytest.raises(KeyboardInterrupt):
        embedding.cached_sentence_vectors(["red"], str(encoder))
    monkeypatch.setattr(embedding, "sentences", real)
    assert embedding.cached_sentence_vectors(["red"], str(encoder)).shape == (1, 16)
