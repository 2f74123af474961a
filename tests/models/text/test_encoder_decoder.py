"""T5 and its kin as text encoders: the encoder alone, whole or saved alone; other encoders with a decoder end in one line."""

from pathlib import Path

import pytest
import torch
import transformers

from counterpoint.errors import CounterpointError
from counterpoint.models.text.embedding import sentences
from counterpoint.models.text.transformer import open_transformer, word_tokenizer

WORDS = [f"word{n}" for n in range(20)]
TEXTS = ["word1 word2 word3", "word4"]


def folder(path: Path, family: str, form: str) -> Path:
    tokenizer = word_tokenizer(WORDS)
    config = getattr(transformers, f"{family}Config")(
        vocab_size=len(tokenizer), d_model=16, d_kv=4, d_ff=32, num_layers=2, num_heads=4, pad_token_id=0,
        decoder_start_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    getattr(transformers, family + form)(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.mark.parametrize("family", ["T5", "MT5", "UMT5"])
@pytest.mark.parametrize("form", ["ForConditionalGeneration", "Model", "EncoderModel"])
def test_the_encoder_alone_is_opened_and_saved(tmp_path, family, form):
    path = folder(tmp_path / "whole", family, form)
    text = open_transformer(path).eval()
    tokens = text.tokenize(TEXTS)
    states = text(tokens.ids, tokens.mask, out="tokens")
    whole = getattr(transformers, family + form).from_pretrained(path).eval()
    right = whole.get_encoder()(input_ids=tokens.ids, attention_mask=tokens.mask).last_hidden_state
    torch.testing.assert_close(states, right)
    assert not any("decoder" in name for name, _ in text.named_parameters())
    text.save_pretrained(tmp_path / "saved")
    again = open_transformer(tmp_path / "saved").eval()
    assert torch.equal(again(tokens.ids, tokens.mask), text(tokens.ids, tokens.mask))
    vectors = torch.from_numpy(sentences(TEXTS, spec=path))
    torch.testing.assert_close(vectors, torch.nn.functional.normalize(text(tokens.ids, tokens.mask), dim=1))


def test_one_without_an_encoder_of_its_own_is_refused(tmp_path):
    size = {f"{side}_{what}": n for side in ("encoder", "decoder") for what, n in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 8))}  # fmt: skip
    config = transformers.BartConfig(vocab_size=30, d_model=8, max_position_embeddings=16, pad_token_id=0, bos_token_id=2, eos_token_id=3, decoder_start_token_id=3, forced_eos_token_id=3, **size)  # fmt: skip
    transformers.BartForConditionalGeneration(config).save_pretrained(tmp_path)
    word_tokenizer(WORDS).save_pretrained(tmp_path)
    for use in (lambda: open_transformer(tmp_path), lambda: sentences(TEXTS, spec=tmp_path)):
        with pytest.raises(
            CounterpointError, match="holds an encoder with a decoder .BartConfig. whose encoder"
        ):
            use()


def test_a_folder_without_tokenizer_is_refused(tmp_path):
    path = folder(tmp_path / "t5", "T5", "EncoderModel")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (path / name).unlink()
    for use in (lambda: open_transformer(path), lambda: sentences(TEXTS, spec=path)):
        with pytest.raises(CounterpointError, match="cannot be opened as a text encoder.*holds no tokenizer"):
            use()


def test_a_model_of_pictures_and_texts_is_named(tmp_path):
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    texts, pictures = {**sizes, "vocab_size": 99}, {**sizes, "image_size": 16, "patch_size": 16}
    config = transformers.CLIPConfig(text_config=texts, vision_config=pictures, projection_dim=8)
    transformers.CLIPModel(config).save_pretrained(tmp_path)
    word_tokenizer(WORDS).save_pretrained(tmp_path)
    with pytest.raises(CounterpointError, match="holds CLIPModel, which is no encoder of text alone"):
        open_transformer(tmp_path)
