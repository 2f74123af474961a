"""Encoder-decoders with the words of a language model: scores, samples, folders, against their own forward."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import BartConfig, BartForConditionalGeneration

from counterpoint.errors import CounterpointError
from counterpoint.generation.sampler import Sampler, row_draws
from counterpoint.kernels.sharing import share_prompts
from counterpoint.models.language.characters import tiny, tiny_encoder_decoder, tokenizer
from counterpoint.models.language.encoder_decoder import EncoderDecoder, load
from counterpoint.models.language.language import Language, LoRA
from counterpoint.models.language.likelihood import completion_log_probs

PROMPTS, ANSWERS = ["12+3=", "4=", "7+7+7="], ["15", "no: 22", "2"]


def bart() -> EncoderDecoder:
    names = tokenizer()
    config = BartConfig(
        vocab_size=len(names), d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=64, dropout=0.0,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=None, init_std=0.3,
    )  # fmt: skip
    torch.manual_seed(0)
    return EncoderDecoder(BartForConditionalGeneration(config), names)


MODELS = {"t5": lambda: tiny_encoder_decoder(seed=0), "bart": bart}


@pytest.mark.parametrize("kind", MODELS)
def test_log_probabilities_are_the_models_own_row_by_row(kind: str) -> None:
    model = MODELS[kind]().eval()
    prompts, completions = model.rows(PROMPTS, ANSWERS)
    found = completion_log_probs(model, prompts, completions)
    for row, (prompt, completion) in enumerate(zip(prompts.rows(), completions.rows())):
        labels = torch.tensor([completion])
        out = model.base(input_ids=torch.tensor([prompt]), labels=labels)
        expected = out.logits[0].log_softmax(-1).gather(1, labels[0][:, None]).squeeze(1)
        torch.testing.assert_close(found[row, : len(completion)], expected, rtol=1e-4, atol=1e-5)
        assert float(-expected.mean()) == pytest.approx(float(out.loss), rel=1e-4), (
            "the decoder starts where it should"
        )


@pytest.mark.parametrize("kind", MODELS)
def test_greedy_samples_are_transformers_own(kind: str) -> None:
    model = MODELS[kind]().eval()
    together = Sampler(max_new_tokens=8, temperature=0)(model, model.prompts(PROMPTS)).rows()
    for prompt, row in zip(PROMPTS, together):
        ids = model.prompts([prompt]).ids
        own = model.base.generate(input_ids=ids, max_new_tokens=8, do_sample=False, num_beams=1)[
            0, 1:
        ].tolist()
        assert own[: len(row)] == row


def test_samples_depend_on_their_row_alone_and_prompts_may_be_read_once() -> None:
    model, draws = tiny_encoder_decoder(seed=0).eval(), row_draws(0, range(6), 8)
    prompts = model.prompts([each for each in PROMPTS for _ in range(2)])
    rows = Sampler(max_new_tokens=8)(model, prompts, draws).rows()
    assert Sampler(max_new_tokens=8)(model, prompts[2:3], draws[2:3]).rows() == rows[2:3]
    with share_prompts("on"):
        assert Sampler(max_new_tokens=8)(model, prompts, draws).rows() == rows


def test_encoded_states_stand_where_their_tokens_are() -> None:
    model = tiny_encoder_decoder(seed=0).eval()
    prompts = model.prompts(PROMPTS)
    states = model.encoded(prompts.ids, prompts.mask)
    for row, ids in enumerate(prompts.rows()):
        alone = model.base.get_encoder()(input_ids=torch.tensor([ids]))[0][0]
        torch.testing.assert_close(states[row][prompts.mask[row].bool()], alone, rtol=1e-4, atol=1e-5)


def test_a_folder_comes_back(tmp_path: Path) -> None:
    model = tiny_encoder_decoder(seed=0).eval()
    model.save(tmp_path / "t5")
    again = load(tmp_path / "t5").eval()
    assert isinstance(again, EncoderDecoder)
    sampler = Sampler(max_new_tokens=8, temperature=0)
    assert sampler(again, again.prompts(PROMPTS)).rows() == sampler(model, model.prompts(PROMPTS)).rows()


def test_gradients_reach_encoder_and_decoder() -> None:
    model = tiny_encoder_decoder(seed=0)
    completion_log_probs(model, *model.rows(PROMPTS, ANSWERS)).sum().backward()
    missing = [
        name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()
    ]
    assert not missing


def test_no_rows_and_wrong_uses() -> None:
    model = tiny_encoder_decoder(seed=0)
    prompts = model.prompts(PROMPTS)
    assert model(prompts.ids[:0], prompts.mask[:0], last=2).shape == (0, 2, 32)
    with pytest.raises(CounterpointError, match="last=T"):
        model(prompts.ids, prompts.mask)
    with pytest.raises(CounterpointError, match="lora_rank=0"):
        model.with_lora(LoRA(rank=2))
    with pytest.raises(CounterpointError, match="no encoder-decoder"):
        EncoderDecoder(tiny(seed=0).causal, tokenizer())
    assert not isinstance(tiny(seed=0), EncoderDecoder)
    assert isinstance(model, Language)


def test_a_bias_on_the_logits_is_refused() -> None:
    model = bart()
    model.base.final_logits_bias += torch.randn_like(model.base.final_logits_bias)
    with pytest.raises(CounterpointError, match="not its output layer's"):
        EncoderDecoder(model.base, model.tokenizer)
