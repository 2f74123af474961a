"""The type of weights, attention, recomputation and quantisation of a language model; what is written of it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

import counterpoint
from counterpoint.data.language.preferences import Preference, PreferenceData, Preferences
from counterpoint.errors import CounterpointError
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import LoRA, adapt, load
from counterpoint.models.language.likelihood import completion_log_probs
from counterpoint.models.language.recompute import recompute_blocks
from counterpoint.study.options import RunOptions
from counterpoint.teachers.frozen import Frozen


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny(seed=0).save(tmp_path / "fp32")


@pytest.fixture
def half(tmp_path: Path) -> Path:
    model = tiny(seed=0)
    model.causal.to(torch.bfloat16)
    return model.save(tmp_path / "bf16")


def types(folder: Path) -> set[str]:
    with safe_open(folder / "model.safetensors", "pt") as file:
        return {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118


def test_weights_are_opened_in_the_type_that_is_asked_for(folder: Path) -> None:
    assert load(folder).head.weight.dtype == torch.float32
    assert load(folder, dtype=torch.bfloat16).head.weight.dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("adapted", [False, True])
def test_a_source_in_bf16_is_saved_in_bf16(
    half: Path, tmp_path: Path, dtype: torch.dtype, adapted: bool
) -> None:
    model = load(half, dtype=dtype)
    model = copy.deepcopy(model.with_lora(LoRA(rank=2, alpha=4.0)) if adapted else model)
    model.save(tmp_path / "again")
    assert types(tmp_path / "again") == {"BF16"}
    assert json.loads((tmp_path / "again" / "config.json").read_text())["dtype"] == "bfloat16"
    again = load(tmp_path / "again")
    torch.testing.assert_close(again.head.weight, load(half).head.weight, atol=0, rtol=0)
    assert again.head.weight.data_ptr() == again.base.get_input_embeddings().weight.data_ptr()


def test_a_source_in_fp32_is_saved_in_fp32(folder: Path, tmp_path: Path) -> None:
    load(folder).save(tmp_path / "again")
    assert types(tmp_path / "again") == {"F32"}


def gradients(model: Any) -> list[torch.Tensor]:
    prompts, answers = model.prompts(["1+1=", "12+13="]), model.completions(["2", "25"])
    completion_log_probs(model, prompts, answers).sum().backward()
    return [each.grad for each in model.parameters()]


@pytest.mark.parametrize("training", [False, True])
def test_recomputed_blocks_hold_less_and_have_the_same_gradients(training: bool) -> None:
    plain, again = tiny(seed=0, layers=4).train(training), tiny(seed=0, layers=4).train(training)
    recompute_blocks(again.causal)
    held: list[int] = []
    for model in (plain, again):
        kept: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x, k=kept: (k.append(x.numel()), x)[1], lambda x: x
        ):
            prompts, answers = model.prompts(["1+1="]), model.completions(["2"])
            completion_log_probs(model, prompts, answers)
        held.append(sum(kept))
    assert held[1] < 0.7 * held[0]
    for one, other in zip(gradients(plain), gradients(again)):
        torch.testing.assert_close(one, other, atol=0, rtol=0)


def test_a_copy_of_a_recomputed_model_calls_its_own_weights() -> None:
    model = tiny(seed=0)
    recompute_blocks(model.causal)
    teacher = Frozen(model).model
    prompts, answers = model.prompts(["1+1="]), model.completions(["2"])
    before = completion_log_probs(teacher, prompts, answers)
    for weight in model.parameters():
        weight.data.mul_(0.5)
    torch.testing.assert_close(completion_log_probs(teacher, prompts, answers), before, atol=0, rtol=0)


def pairs() -> PreferenceData:
    rows = Preferences([Preference(f"{n}?", "yes", "no") for n in range(8)])
    return PreferenceData("made up", rows, rows, rows)


def run(folder: Path, out: Path, **options: Any) -> Path:
    settings = {"batch_size": 4, "learning_rate": 1e-3} | options.pop("settings", {})
    counterpoint.run(
        "dpo", data=pairs(), model=folder, out=out, settings=settings, steps=1, progress=False, **options
    )
    return out / "model"


def test_model_options_reach_the_model_and_the_identity(folder: Path, tmp_path: Path) -> None:
    made = run(
        folder, tmp_path / "run", model_options={"dtype": "bf16", "attention": "eager", "recompute": "true"}
    )
    assert types(made) == {"F32"} or types(made) == {"BF16"}
    stored = json.loads((tmp_path / "run" / "run.json").read_text())
    assert stored["recipe"]["model_options"]["dtype"] == "bf16"
    with pytest.raises(CounterpointError, match="model_options"):
        run(folder, tmp_path / "run", model_options={"dtype": "fp32"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtyp": "bf16"}, "did you mean 'dtype'"),
        ({"dtype": "fp8"}, "model option dtype='fp8'"),
        ({"attention": "flash_attention_2"}, "attention=flash_attention_2.*attention=sdpa"),
        ({"quantization": "4bit"}, "needs an NVIDIA GPU"),
    ],
)
def test_what_a_model_cannot_have_is_refused_in_one_line(
    folder: Path, tmp_path: Path, options: dict[str, str], message: str
) -> None:
    if "NVIDIA" in message and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(CounterpointError, match=message) as error:
        run(folder, tmp_path / "run", model_options=options)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_stock_models_objects_and_other_kinds_have_no_model_options(tmp_path: Path) -> None:
    with pytest.raises(CounterpointError, match="stock model 'characters'"):
        run(Path("characters"), tmp_path / "run", model_options={"dtype": "bf16"})
    with pytest.raises(CounterpointError, match="the model is an object"):
        run(tiny(), tmp_path / "run", model_options={"dtype": "bf16"})  # type: ignore[arg-type]
    with pytest.raises(CounterpointError, match="have no options"):
        counterpoint.run(
            "dcl",
            data="digits",
            out=tmp_path / "run",
            steps=1,
            model_options={"dtype": "bf16"},
            progress=False,
        )


def test_an_adapter_is_saved_alone_or_beside_the_merged_weights(folder: Path, tmp_path: Path) -> None:
    rank = {"settings": {"lora_rank": 2}}
    alone = run(folder, tmp_path / "alone", save="adapter", **rank)
    assert (alone / "adapter_config.json").exists()
    assert not (alone / "model.safetensors").exists()
    both = run(folder, tmp_path / "both", save="both", **rank)
    assert (both / "model.safetensors").exists()
    one, other = load(alone).merged(), load(both / "adapter").merged()
    merged = load(both)
    for name, value in merged.causal.state_dict().items():
        torch.testing.assert_close(one.causal.state_dict()[name], value, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(other.causal.state_dict()[name], value, atol=1e-6, rtol=1e-5)


def test_an_adapter_that_will_not_be_is_refused_before_training(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CounterpointError, match="--lora-rank 16"):
        run(folder, tmp_path / "run", save="adapter")
    with pytest.raises(CounterpointError, match="expected merged, adapter or both"):
        RunOptions.of({"save": "adaptr"})
    with pytest.raises(CounterpointError, match="quantized"):
        quantised = load(folder)
        quantised.base.is_quantized = True
        adapt(quantised, 0)
