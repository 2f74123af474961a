"""Shared prompts give the states and gradients of separate ones."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from counterpoint.errors import CounterpointError
from counterpoint.kernels.prefix import shared_prompt_states

transformers = pytest.importorskip("transformers")
P, G, L, T, V = 2, 3, 5, 4, 17


def llama(**options: object) -> nn.Module:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=V,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        **options,
    )
    return transformers.LlamaModel(config).double().eval()


def gpt2() -> nn.Module:
    torch.manual_seed(0)
    return (
        transformers.GPT2Model(
            transformers.GPT2Config(vocab_size=V, n_embd=16, n_layer=2, n_head=2, n_positions=32)
        )
        .double()
        .eval()
    )


def sliding() -> nn.Module:
    torch.manual_seed(0)
    config = transformers.MistralConfig(
        vocab_size=V, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, sliding_window=3,
    )  # fmt: skip
    return transformers.MistralModel(config).double().eval()


def batch(group: int = G) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    prompt_mask = torch.ones(P, L, dtype=torch.long)
    prompt_mask[0, :2] = 0
    completion_mask = torch.ones(P * group, T, dtype=torch.long)
    completion_mask[1, 2:] = 0
    return (
        torch.randint(0, V, (P, L), generator=g), prompt_mask,
        torch.randint(0, V, (P * group, T), generator=g), completion_mask,
    )  # fmt: skip


def separate(model: nn.Module, prompt_ids: Tensor, prompt_mask: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    group = len(ids) // len(prompt_ids)
    both = torch.cat([prompt_ids.repeat_interleave(group, 0), ids], 1)
    both_mask = torch.cat([prompt_mask.repeat_interleave(group, 0), mask], 1)
    places = (both_mask.cumsum(1) - 1).clamp(min=0)
    states = model(
        input_ids=both, attention_mask=both_mask, position_ids=places, use_cache=False
    ).last_hidden_state
    return states[:, -ids.shape[1] - 1 : -1]


@pytest.mark.parametrize("make", [llama, gpt2, sliding])
@pytest.mark.parametrize("group", [1, G])
def test_states_and_gradients_equal_the_separate_path(make, group: int) -> None:
    model = make()
    data = batch(group)
    weights = torch.randn(P * group, T, 16, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    weights = weights * data[3].unsqueeze(-1)
    found = []
    for forward in (separate, shared_prompt_states):
        model.zero_grad()
        states = forward(model, *data)
        (states * weights).sum().backward()
        found.append(
            (
                states * data[3].unsqueeze(-1),
                {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None},
            )
        )
    torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-10, atol=1e-12)
    assert found[0][1].keys() == found[1][1].keys()
    for name, gradient in found[0][1].items():
        # The norms inside these models run in float32 whatever the weights are.
        error = (found[1][1][name] - gradient).abs().max() / gradient.abs().max()
        assert float(error) <= 1e-6, name


def test_one_token_needs_the_prompt_alone() -> None:
    model, (prompt, prompt_mask, ids, mask) = llama(), batch()
    one = shared_prompt_states(model, prompt, prompt_mask, ids[:, :1], mask[:, :1])
    torch.testing.assert_close(one, separate(model, prompt, prompt_mask, ids[:, :1], mask[:, :1]))


def test_errors_teach() -> None:
    model, (prompt, prompt_mask, ids, mask) = llama(), batch()
    with pytest.raises(CounterpointError, match="ordered by prompt"):
        shared_prompt_states(model, prompt, prompt_mask, ids[:5], mask[:5])
    with pytest.raises(CounterpointError, match="left-padded"):
        shared_prompt_states(model, prompt, prompt_mask.flip(1), ids, mask)
    with pytest.raises(CounterpointError, match="shape of its ids"):
        shared_prompt_states(model, prompt, prompt_mask[:, 1:], ids, mask)
