"""Rows in packed sequences: losses and gradients are those of rows alone, and a model that mixes rows is refused."""

from __future__ import annotations

import pytest
import torch
import transformers

from counterpoint.errors import CounterpointError
from counterpoint.models.language.adapters import LoRA
from counterpoint.models.language.characters import tiny, tokenizer
from counterpoint.models.language.language import Language
from counterpoint.models.language.likelihood import completion_log_probs
from counterpoint.models.language.packing import cheapest, obstacle, pack, sequences

PROMPTS = ["1+1=", "123456789+123456789=", "2=", "7+7=", ""]
ANSWERS = ["123456789123456789", "2", "44", "1", "5"]


def small(kind: str) -> Language:
    names = tokenizer()
    sizes = {"vocab_size": len(names), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {
        "num_key_value_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 128,
        "initializer_range": 0.3,
    }
    torch.manual_seed(0)
    if kind == "llama":
        made: torch.nn.Module = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes))
    elif kind == "mistral":  # a window narrower than the rows
        made = transformers.MistralForCausalLM(transformers.MistralConfig(**sizes, sliding_window=4))
    elif kind == "gemma3":
        config = transformers.Gemma3TextConfig(**sizes, head_dim=8, sliding_window=4)
        made = transformers.Gemma3ForCausalLM(config)
    elif kind == "gpt2":
        config = transformers.GPT2Config(
            vocab_size=len(names), n_embd=32, n_layer=2, n_head=4, n_positions=128
        )
        made = transformers.GPT2LMHeadModel(config)
    elif kind == "bloom":
        made = transformers.BloomForCausalLM(
            transformers.BloomConfig(vocab_size=len(names), hidden_size=32, n_layer=2, n_head=4)
        )
    elif kind == "mamba":
        made = transformers.MambaForCausalLM(
            transformers.MambaConfig(vocab_size=len(names), hidden_size=32, num_hidden_layers=2, state_size=8)
        )
    else:
        config = transformers.Lfm2Config(**sizes, layer_types=["conv", "full_attention"], block_multiple_of=8)
        made = transformers.Lfm2ForCausalLM(config)
    return Language(made.double(), names).eval()  # fmt: skip


def naive(model: Language) -> list[torch.Tensor]:
    """Each row's log-probabilities by itself, by a plain softmax over the model's own logits."""
    prompts, answers = model.rows(PROMPTS[:4], ANSWERS[:4])
    result = []
    for asked, given in zip(prompts.rows(), answers.rows()):
        logits = model.causal(input_ids=torch.tensor([asked + given])).logits[0].log_softmax(-1)
        result.append(torch.stack([logits[len(asked) + t - 1, token] for t, token in enumerate(given)]))
    return result


@pytest.mark.parametrize("kind", ["llama", "mistral", "gemma3", "gpt2"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_losses_and_gradients_equal_those_of_rows_alone_in_float64(kind: str, attention: str) -> None:
    model = small(kind)
    model.causal.set_attn_implementation(attention)
    pack(model)
    seen: list[tuple[int, ...]] = []
    table = model.causal.get_input_embeddings()
    table.register_forward_pre_hook(lambda _, given: seen.append(tuple(given[0].shape)))
    # Gemma's norms and eager attention's softmax are float32 whatever the weights are.
    close = 1e-6 if attention == "eager" or kind == "gemma3" else 1e-11
    prompts, answers = model.rows(PROMPTS[:4], ANSWERS[:4])
    logp = completion_log_probs(model, prompts, answers)
    (rows, width), *others = seen
    assert not others, seen
    lengths = prompts.lengths + answers.lengths
    assert rows < 4
    assert rows * width < 4 * int(lengths.max()), seen
    factors = torch.linspace(1, 2, 4, dtype=torch.float64)
    (logp.sum(1) * factors).sum().backward()
    packed = {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}
    model.zero_grad()
    expected = naive(model)
    sum(row.sum() * factor for row, factor in zip(expected, factors)).backward()  # type: ignore[union-attr]
    for row, each in enumerate(expected):
        torch.testing.assert_close(logp[row, : len(each)], each, atol=close, rtol=close)
        assert not logp[row, len(each) :].any()
    largest = max(float(each.abs().max()) for each in packed.values())
    for name, each in model.named_parameters():
        if each.grad is not None:
            torch.testing.assert_close(packed[name], each.grad, atol=close * largest, rtol=close)


@pytest.mark.parametrize("kind", ["bloom", "mamba", "lfm2"])
def test_models_that_mix_rows_are_refused_with_the_reason(kind: str) -> None:
    model = small(kind)
    before = completion_log_probs(model, *model.rows(PROMPTS[:4], ANSWERS[:4]))
    with pytest.raises(CounterpointError, match="packing=true.*cannot read several rows in one sequence"):
        pack(model)
    assert not model.packs
    torch.testing.assert_close(completion_log_probs(model, *model.rows(PROMPTS[:4], ANSWERS[:4])), before)


def test_a_model_that_ignores_borders_is_noticed_by_its_states(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small("llama")
    forward = model.backbone.forward
    every = torch.ones(1, 1, dtype=torch.long)
    monkeypatch.setattr(
        model.backbone,
        "forward",
        lambda input_ids=None, position_ids=None, **rest: forward(
            input_ids=input_ids, attention_mask=every.expand_as(input_ids), position_ids=position_ids, **rest
        ),
    )
    assert obstacle(model) == "a row's states change with the rows beside it"


def test_adapters_pack_as_well() -> None:
    model = tiny(seed=0).with_lora(LoRA(rank=2, alpha=4.0, dropout=0.0)).double().eval()
    apart = completion_log_probs(model, *model.rows(PROMPTS[:4], ANSWERS[:4]))
    pack(model)
    torch.testing.assert_close(completion_log_probs(model, *model.rows(PROMPTS[:4], ANSWERS[:4])), apart)


def test_sequences_hold_every_row_once_and_none_is_too_long() -> None:
    lengths = torch.randint(0, 30, (40,), generator=torch.Generator().manual_seed(0)).tolist()
    filled = sequences(lengths, width=max(lengths))
    assert sorted(row for each in filled for row in each) == [row for row in range(40) if lengths[row]]
    assert all(sum(lengths[row] for row in each) <= max(lengths) for each in filled)
    assert len(filled) <= -(-sum(lengths) // max(lengths)) * 1.5


def test_the_width_of_sequences_weighs_padding_against_attention() -> None:
    lengths = torch.randint(90, 240, (16,), generator=torch.Generator().manual_seed(0)).tolist()
    positions = {}
    for reach in (1.0, 3000.0, 1e9):
        filled = cheapest(lengths, reach)
        assert sorted(row for each in filled for row in each) == list(range(16))
        width = max(sum(lengths[row] for row in each) for each in filled)
        assert max(lengths) <= width <= 4 * max(lengths)
        positions[reach] = len(filled) * width
    assert positions[1e9] <= positions[3000.0] < positions[1.0] < 16 * max(lengths)
    assert positions[3000.0] < 1.15 * sum(lengths)
