"""What a model keeps of a batch without storage is what it keeps with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, Qwen3Config
from typer.testing import CliRunner

from counterpoint.cli.main import app
from counterpoint.models import activations as module
from counterpoint.models.activations import of_config
from counterpoint.models.language.characters import tiny

SIZES: dict[str, Any] = {
    "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2, "vocab_size": 50,
}  # fmt: skip
ENDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
CONFIGS = {
    "llama": LlamaConfig(**SIZES),
    "qwen3": Qwen3Config(**SIZES, head_dim=16),
    "gpt2": GPT2Config(n_embd=48, n_layer=3, n_head=6, vocab_size=50, **ENDS),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", CONFIGS)
def test_a_run_without_storage_keeps_what_a_real_one_does(name: str, dtype: torch.dtype) -> None:
    found = of_config(CONFIGS[name], dtype)
    assert found is not None
    model = AutoModelForCausalLM.from_config(CONFIGS[name], dtype=dtype).eval()
    rows, length = 3, 40
    own = {p.data_ptr() for p in model.parameters()}
    held: dict[int, Tensor] = {}

    def pack(value: Tensor) -> Tensor:
        if value.untyped_storage().data_ptr() not in own:
            held[value.untyped_storage().data_ptr()] = value
        return value

    mask = torch.ones(rows, length, dtype=torch.long)
    mask[1, :7] = 0  # rows of unequal length, so that attention has a mask
    rows_of = {"input_ids": torch.zeros(rows, length, dtype=torch.long), "attention_mask": mask}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        model.get_decoder()(**rows_of, use_cache=False)
    real = sum(each.untyped_storage().nbytes() for each in held.values())
    # Tables of positions are kept once, however many rows there are.
    assert rows * length * (found.token + length * found.square) == pytest.approx(real, rel=0.04)
    with torch.no_grad():
        written = model.get_decoder()(**rows_of, use_cache=True).past_key_values
    cache = sum(layer.keys.nbytes + layer.values.nbytes for layer in written.layers)
    assert rows * length * found.cached == cache


def test_a_model_that_cannot_be_run_so_is_estimated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(model: Any, length: int, use_cache: bool = False) -> Any:
        raise RuntimeError("this operation looks at values")

    monkeypatch.setattr(module, "_run", refuse)
    assert of_config(CONFIGS["llama"]) is None
    folder = str(tiny(seed=0).save(tmp_path / "model"))
    result = CliRunner().invoke(app, ["plan", "sft", "--model", folder])
    assert result.exit_code == 0
    assert "cannot be run without its weights; what it keeps of a batch is estimated" in result.output
