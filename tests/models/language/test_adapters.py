"""LoRA: what cannot be adapted is said before anything is changed, with the call that works."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from architecture_verdicts import compare
from counterpoint.errors import CounterpointError
from counterpoint.models.language.adapters import linear_layers
from counterpoint.models.language.language import Language, LoRA, adapt
from tiny_models import architectures, tiny, tokenizer

STACKED = ("MixtralForCausalLM", "Qwen3MoeForCausalLM", "DeepseekV3ForCausalLM")


def build(name: str) -> Language:
    """A tiny model of a class."""
    return Language(tiny(name, *architectures()[name]), tokenizer())


def shaken(model: Language) -> Language:
    """The same with adapters that do something."""
    torch.manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.normal_(std=0.2)
    return model


@pytest.mark.parametrize("name", STACKED)
def test_stacked_experts_with_dropout_are_refused_with_calls_that_work(name: str) -> None:
    model = build(name)
    layers = [type(each) for each in model.causal.modules()]
    with pytest.raises(CounterpointError, match=f"{name} has its experts in stacked weights") as refused:
        adapt(model, rank=4)
    assert layers == [type(each) for each in model.causal.modules()]  # nothing was left half-adapted
    assert not model.adapted
    compare(model)
    for given in ({"dropout": 0.0}, {"targets": linear_layers(model.causal, without=("mlp", "expert"))}):
        lora: dict[str, Any] = {"rank": 4, "alpha": 8.0, **given}
        assert f"LoRA({', '.join(f'{key}={value!r}' for key, value in lora.items())})" in str(refused.value)
        compare(shaken(build(name).with_lora(LoRA(**lora))))


@pytest.mark.parametrize("name", ["GraniteMoeForCausalLM", "GptOssForCausalLM"])
def test_experts_without_an_adapter_are_said(name: str, caplog: pytest.LogCaptureFixture) -> None:
    model = build(name)
    with caplog.at_level(logging.WARNING, "counterpoint"):
        adapted = adapt(model, rank=4)
    assert [each for each in caplog.messages if "stacked weights of experts" in each and name in each]
    compare(shaken(adapted))


def test_a_dense_model_is_adapted_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "counterpoint"):
        adapt(build("LlamaForCausalLM"), rank=4)
    assert not caplog.messages


@pytest.mark.parametrize(
    ("name", "head"), [("LlamaForCausalLM", "lm_head"), ("WhisperForCausalLM", "proj_out")]
)
def test_the_output_layer_gets_no_adapter(name: str, head: str) -> None:
    model = build(name)
    with pytest.raises(CounterpointError, match=f"'{head}' is the output layer of {name}"):
        model.with_lora(LoRA(rank=4, targets=(head,)))
    compare(model)
    with_head = get_peft_model(model.causal, LoraConfig(r=4, target_modules=[head], task_type="CAUSAL_LM"))
    with pytest.raises(
        CounterpointError, match=rf"{name} has a LoRA adapter on its output layer.*merge_and_unload"
    ):
        Language(with_head, tokenizer())
    for key, parameter in with_head.named_parameters():
        if "lora_" in key:
            parameter.data.normal_(std=0.3)
    compare(Language(with_head.merge_and_unload(), tokenizer()))


@pytest.mark.parametrize("given", [["up_proj", "o_proj", "k_proj"], ["k_proj", "up_proj", "o_proj"]])
def test_a_saved_adapter_names_its_layers_in_order(tmp_path: Path, given: list[str]) -> None:
    model = adapt(build("LlamaForCausalLM"), rank=2)
    config = model.causal.peft_config["default"]
    config.target_modules = given  # a set, in whatever order it is read, becomes such a list
    model.save(tmp_path, adapter=True)
    content = json.loads((tmp_path / "adapter_config.json").read_text())
    assert content["target_modules"] == ["k_proj", "o_proj", "up_proj"]
