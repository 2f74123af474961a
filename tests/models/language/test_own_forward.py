"""Scores are those of the model's own forward, or the model takes the plain path, or it is refused by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from architecture_verdicts import UNBUILT, compare, verdict, written
from counterpoint.errors import CounterpointError
from counterpoint.models.language.language import Language
from counterpoint.models.language.likelihood import completion_log_probs
from counterpoint.models.language.own_forward import transforms
from tiny_models import architectures, tiny, tokenizer

FAST = (
    "LlamaForCausalLM",
    "GPT2LMHeadModel",
    "OPTForCausalLM",
    "Gemma2ForCausalLM",
    "Gemma3ForConditionalGeneration",
    "CohereForCausalLM",
    "GraniteForCausalLM",
    "MixtralForCausalLM",
    "MambaForCausalLM",
    "Qwen3NextForCausalLM",
    "BartForCausalLM",
    "LlavaForConditionalGeneration",
)


@pytest.mark.parametrize("name", FAST)
@torch.no_grad()
def test_scores_and_samples_are_the_models_own(name: str) -> None:
    compare(Language(tiny(name, *architectures()[name]), tokenizer()))


@pytest.mark.parametrize("name", ["GPT2LMHeadModel", "BartForCausalLM", "MllamaForCausalLM"])
def test_every_path_is_differentiable_as_the_models_own(name: str) -> None:
    model = Language(tiny(name, *architectures()[name]), tokenizer())
    prompts, completions = model.prompts(["12+3=", "4+5="]), model.completions(["15", "no: 22"])
    parameter = model.base.get_input_embeddings().weight
    completion_log_probs(model, prompts, completions).sum().backward()
    ours, parameter.grad = parameter.grad, None
    for prompt, completion in zip(prompts.rows(), completions.rows(), strict=True):
        own = (
            model.base(input_ids=torch.tensor([prompt + completion]), use_cache=False)
            .logits[0]
            .log_softmax(-1)
        )
        own[len(prompt) - 1 : -1].gather(1, torch.tensor(completion)[:, None]).sum().backward()
    torch.testing.assert_close(ours, parameter.grad, rtol=1e-3, atol=1e-4)


def bert(**given: Any) -> transformers.BertConfig:
    """A tiny configuration of BERT."""
    return transformers.BertConfig(
        vocab_size=128, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, **given
    )  # fmt: skip


@pytest.mark.parametrize("spread", [0.02, 0.005])
def test_an_encoder_that_sees_what_follows_is_refused_by_name(spread: float) -> None:
    """However little it attends: a small untrained one differs by less than rounding in half precision would."""
    torch.manual_seed(0)
    with pytest.raises(CounterpointError, match="BertLMHeadModel reads the tokens that it should predict"):
        Language(transformers.BertLMHeadModel(bert(initializer_range=spread)), tokenizer())


def test_a_head_with_a_transform_is_read_in_the_models_own_forward() -> None:
    torch.manual_seed(0)
    model = Language(transformers.BertLMHeadModel(bert(is_decoder=True)).eval(), tokenizer())
    assert model.runs.whole
    compare(model)


def test_an_output_that_no_declared_scale_explains_is_refused() -> None:
    causal = tiny("LlamaForCausalLM", *architectures()["LlamaForCausalLM"])
    causal.lm_head.register_forward_hook(lambda _, __, out: out.sin())
    with pytest.raises(CounterpointError, match=r"LlamaForCausalLM: .*soft-cap"):
        Language(causal, tokenizer())


def test_a_cache_that_forgets_is_not_used() -> None:
    causal = tiny("LlamaForCausalLM", *architectures()["LlamaForCausalLM"])
    forward = causal.model.forward

    def forgetful(*args: object, cache: object = None, **given: object) -> object:
        return forward(*args, **given)

    causal.model.forward = forgetful
    model = Language(causal, tokenizer())
    assert not model.runs.cached
    compare(model)


def test_the_soft_cap_of_a_composite_configuration_counts() -> None:
    name = "Gemma3ForConditionalGeneration"
    causal = tiny(name, *architectures()[name])
    capped = list(transforms(causal.config))
    causal.config.text_config.final_logit_softcapping = 5.0
    assert list(transforms(causal.config)) == [(1.0, 5.0), *capped]


def test_the_trial_leaves_training_mode_and_gradients_alone() -> None:
    causal = tiny("LlamaForCausalLM", *architectures()["LlamaForCausalLM"]).train()
    model = Language(causal, tokenizer())
    assert model.training
    assert all(each.training for each in causal.modules())
    assert all(each.grad is None for each in causal.parameters())


@pytest.mark.parametrize("name", ["PI0ForConditionalGeneration", "PPFormulaNetForConditionalGeneration"])
def test_a_model_without_a_vocabulary_to_read_is_refused_by_name(name: str) -> None:
    causal = tiny(name, *architectures()[name])
    with pytest.raises(CounterpointError, match=f"^{name} does not say which vocabulary it reads"):
        Language(causal, tokenizer())


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(architectures()))
def test_every_class_scores_what_its_own_forward_says_or_is_refused(name: str) -> None:
    found = verdict(name)
    if found.word == "too slow" == written()[name]:
        pytest.skip(found.detail)
    assert (found.word == "not built") == (name in UNBUILT), found
    assert found.word == written()[name] != "wrong", found


def test_the_page_has_every_class_once_and_none_that_is_wrong() -> None:
    rows = written()
    assert set(rows) == set(architectures())
    assert {name for name, word in rows.items() if word == "not built"} == set(UNBUILT)
    assert set(rows.values()) <= {"right", "plain path", "refused", "not built", "too slow"}
