"""Answers behind one copy of their prompt: the values, the gradients and the fallbacks, on several architectures."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.generation.sampler import Sampler, row_draws
from counterpoint.kernels.config import kernel_path
from counterpoint.kernels.prefix.choice import dropping, obstacle, worth_sharing
from counterpoint.kernels.sharing import share_prompts, sharing
from counterpoint.models.language import prompt_groups
from counterpoint.models.language.characters import tiny, tokenizer
from counterpoint.models.language.language import Language, LoRA
from counterpoint.models.language.likelihood import completion_log_probs, sequence_log_probs
from counterpoint.models.language.prompt_groups import Groups, groups
from counterpoint.models.tokens import Tokens, pad
from counterpoint.teachers.answering import completion_scores
from counterpoint.training.microbatch import forward_in_pieces

transformers = pytest.importorskip("transformers")
PROMPTS = ["1+1=", "a long prompt: 20+30=", "1+1=", "7*8=", "1+1=", "a long prompt: 20+30="]
ANSWERS = ["2", "50", "two", "56, of course", "", "5"]
SIZE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


def model(name: str) -> Language:
    names = tokenizer()
    common: dict[str, Any] = {
        "vocab_size": len(names),
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    heads = {"num_key_value_heads": 2}
    made = {
        "llama": lambda: ("Llama", SIZE | heads | {"max_position_embeddings": 64}),
        "gpt2": lambda: ("GPT2", {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64}),
        "sliding": lambda: ("Mistral", SIZE | heads | {"sliding_window": 5}),
        "mixed": lambda: (
            "Gemma2",
            SIZE | heads | {"head_dim": 8, "sliding_window": 5, "query_pre_attn_scalar": 8},
        ),
        "learned": lambda: ("OPT", SIZE | {"ffn_dim": 48, "word_embed_proj_dim": 32, "dropout": 0.0}),
        "dynamic": lambda: (
            "Llama",
            SIZE | heads | {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}},
        ),
        "recurrent": lambda: ("Mamba", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}),
    }[name]()
    torch.manual_seed(0)
    config = getattr(transformers, made[0] + "Config")(**common | made[1])
    return Language(getattr(transformers, made[0] + ("LMHeadModel" if made[0] == "GPT2" else "ForCausalLM"))(config), names).eval()  # fmt: skip


SHARES = ["llama", "gpt2", "sliding", "mixed", "learned"]


def values_and_gradients(
    mode: str, net: Language, forward: Callable[..., Any] | None = None, prompts: Tokens | None = None
) -> dict[str, Tensor]:
    """Per-token log-probabilities and the gradient of a loss in which no two tokens weigh alike."""
    prompts, answers = prompts or net.prompts(PROMPTS), net.completions(ANSWERS)
    weights = torch.randn(answers.ids.shape, generator=torch.Generator().manual_seed(0))
    net.zero_grad()
    with share_prompts(mode):
        logp = completion_log_probs(net, prompts, answers, forward=forward)
        (logp * weights.to(logp.dtype)).sum().backward()
    found = {n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None}
    return {"values": logp.detach()} | found


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor], bound: float = 4e-6) -> None:
    assert one.keys() == other.keys()
    largest = max(float(value.abs().max()) for name, value in other.items() if name != "values")
    for name, value in other.items():
        # A gradient that vanishes in exact arithmetic (of a key's bias) has no scale of its own.
        scale = max(float(value.abs().max()), 1e-2 * largest)
        assert float((one[name] - value).abs().max()) <= bound * scale, name


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many token positions each shared pass was given, prompts and answers together."""
    seen: list[int] = []
    real = prompt_groups.shared_prompt_states

    def counted(backbone: Any, ids: Tensor, mask: Tensor, said: Tensor, *rest: Any) -> Tensor:
        seen.append(ids.numel() + said.numel())
        return real(backbone, ids, mask, said, *rest)

    monkeypatch.setattr(prompt_groups, "shared_prompt_states", counted)
    return seen


@pytest.mark.parametrize("name", SHARES)
def test_values_and_gradients_are_those_of_whole_sequences(name: str, read: list[int]) -> None:
    net = model(name)
    expected = values_and_gradients("off", net)
    assert not read
    assert_same(values_and_gradients("on", net), expected)
    prompts, answers = net.prompts(PROMPTS), net.completions(ANSWERS)
    assert read == [3 * prompts.width + 6 * answers.width]


def test_double_precision_leaves_no_doubt() -> None:
    net = model("gpt2").double()  # its norms run in the precision of its weights
    assert_same(values_and_gradients("on", net), values_and_gradients("off", net), 1e-12)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_micro_batches(name: str, size: int, read: list[int]) -> None:
    net = model(name)
    pieces = functools.partial(_in_pieces, size)
    assert_same(values_and_gradients("on", net, pieces), values_and_gradients("off", net))
    assert bool(read) == (size > 1), "neighbours in a piece share"


def _in_pieces(size: int, net: Language, *args: Any, **kwargs: Any) -> Any:
    return forward_in_pieces(net, size, *args, **kwargs)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_adapters(name: str, read: list[int]) -> None:
    net = model(name).with_lora(LoRA(rank=2, alpha=4)).eval()
    for key, each in net.named_parameters():
        if "lora_B" in key:
            each.data.normal_(std=0.1, generator=torch.Generator().manual_seed(0))
    found = values_and_gradients("on", net)
    assert_same(found, values_and_gradients("off", net))
    assert all("lora_" in key for key in found if key != "values")
    assert read


def test_a_streamed_vocabulary(read: list[int]) -> None:
    net = model("llama")
    expected = values_and_gradients("off", net)
    with kernel_path("stream", budget_bytes=2**12):
        assert_same(values_and_gradients("on", net), expected)
    assert read


def test_prompts_padded_on_the_right_go_whole(read: list[int]) -> None:
    net = model("llama")
    prompts = pad(net.prompts(PROMPTS).rows(), side="right", fill=net.pad_id)
    found = [values_and_gradients(mode, net, prompts=prompts) for mode in ("on", "off")]
    assert_same(*found, bound=0.0)
    assert not read


def test_what_stands_on_padding_does_not_matter() -> None:
    net = model("llama")
    prompts = net.prompts(PROMPTS)
    noise = torch.arange(prompts.ids.numel()).view_as(prompts.ids) + 5
    noisy = Tokens(prompts.ids.where(prompts.mask.bool(), noise), prompts.mask)
    assert Groups.of(noisy).owner.tolist() == Groups.of(prompts).owner.tolist()
    assert len(Groups.of(noisy).first) == 3
    assert_same(values_and_gradients("on", net, prompts=noisy), values_and_gradients("off", net))


@pytest.mark.parametrize("at_once", [2, 4, 64])
def test_scoring_keeps_the_order_given(at_once: int, read: list[int]) -> None:
    net = model("llama")
    found = {}
    for mode in ("on", "off"):
        with share_prompts(mode):
            found[mode] = sequence_log_probs(net, PROMPTS, ANSWERS, at_once=at_once)
    torch.testing.assert_close(found["on"][0], found["off"][0], rtol=1e-6, atol=0)
    assert found["on"][1].tolist() == found["off"][1].tolist()
    assert read


@pytest.mark.parametrize("at_once", [None, 1, 4])
def test_a_frozen_teacher_shares_too(at_once: int | None, read: list[int]) -> None:
    net = model("llama")
    said, found = net.completions(ANSWERS), {}
    for mode in ("on", "off"):
        with share_prompts(mode):
            found[mode] = completion_scores(net, PROMPTS, said, at_once).hidden
    kept = said.mask.bool()
    torch.testing.assert_close(found["on"][kept], found["off"][kept], rtol=1e-5, atol=1e-6)
    assert bool(read) == (at_once != 1)


def test_sampling_several_answers_reads_the_prompt_once() -> None:
    net = tiny(seed=0)
    draws, found, widths = row_draws(0, range(6), 6), {}, {}
    for mode in ("on", "off"):
        rows: list[int] = []
        hook = net.backbone.register_forward_pre_hook(
            lambda _, __, given, rows=rows: rows.append(len(given["input_ids"])), with_kwargs=True
        )
        with share_prompts(mode):
            obstacle(net.backbone)
            rows.clear()
            found[mode], widths[mode] = Sampler(max_new_tokens=6)(net, net.prompts(PROMPTS), draws), rows[:2]
        hook.remove()
    assert found["on"].rows() == found["off"].rows()
    torch.testing.assert_close(found["on"].log_probs, found["off"].log_probs, rtol=1e-5, atol=1e-6)
    assert widths == {"on": [3, 6], "off": [6, 6]}


@pytest.mark.parametrize(
    ("name", "why"), [("dynamic", "rotary"), ("recurrent", "no cache|layers other than full|plain path")]
)
def test_a_model_that_cannot_share_goes_whole_and_says_so_once(
    name: str, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    prompt_groups._say.cache_clear()
    net = model(name)
    with caplog.at_level(logging.WARNING, "counterpoint"):
        found = [values_and_gradients(mode, net) for mode in ("on", "on", "off")]
    assert_same(found[0], found[2], bound=0.0)
    said = [line.getMessage() for line in caplog.records if "do not share" in line.getMessage()]
    assert len(said) == 1
    assert re.search(why, said[0])


def test_gradient_checkpointing_goes_whole_only_while_it_acts() -> None:
    net = model("llama")
    net.base.gradient_checkpointing_enable()
    assert obstacle(net.backbone) is None
    net.train()
    assert "checkpointing" in (obstacle(net.backbone) or "")
    found = [values_and_gradients(mode, net) for mode in ("on", "off")]
    assert_same(*found, bound=0.0)


def test_a_model_whose_cache_lies_is_found_out() -> None:
    net = model("llama")
    real = net.backbone.forward

    def forgetful(*args: Any, past_key_values: Any = None, **given: Any) -> Any:
        out = real(*args, past_key_values=past_key_values, **given)
        if past_key_values is not None:
            for layer in past_key_values.layers:
                layer.values = layer.values * 0
        return out

    net.backbone.forward = forgetful
    assert obstacle(net.backbone) == "its states differ behind a cache"


def test_automatic_choice() -> None:
    small, large = model("llama"), tiny(width=128, layers=4, length=256).eval()
    long = ["9" * 120] * 8
    with share_prompts("auto"):
        assert groups(small, small.prompts(PROMPTS)) is None, "too little to save"
        assert groups(large, large.prompts(long)) is not None
        assert groups(large, large.prompts([f"{i}" + "9" * 119 for i in range(8)])) is None, "all differ"
    with share_prompts("off"):
        assert groups(large, large.prompts(long)) is None
    backbone = large.backbone
    assert worth_sharing(backbone, 8, 1, 122)
    assert not worth_sharing(backbone, 8, 7, 4)
    assert not worth_sharing(backbone, 8, 8, 122)


def test_dropout_is_not_shared_by_itself() -> None:
    net = tiny(width=128, layers=4, length=256).with_lora(LoRA(rank=2, dropout=0.1))
    asked = net.prompts(["9" * 120] * 8)
    for training in (True, False):
        net.train(training)
        assert dropping(net.backbone) == training
        assert (groups(net, asked) is None) == training
        with share_prompts("on"):
            assert groups(net, asked) is not None


def test_groups_of_uneven_size_in_any_order() -> None:
    found = Groups.of(pad([[5, 6], [4], [5, 6], [4], [4]], side="left"))
    assert len(found.first) == 2
    assert found.owner[[0, 2]].unique().numel() == found.owner[[1, 3, 4]].unique().numel() == 1
    assert sorted(found.first.tolist()) == [0, 1]


def test_the_setting_teaches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERPOINT_SHARE_PROMPTS", "of")
    with pytest.raises(CounterpointError, match="did you mean 'o"):
        sharing()
    monkeypatch.setenv("COUNTERPOINT_SHARE_PROMPTS", "on")
    assert sharing() == "on"
    with share_prompts("off"):
        assert sharing() == "off"
    with pytest.raises(CounterpointError, match="expected one of auto, on, off"), share_prompts("yes"):
        pass
