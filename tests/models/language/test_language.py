"""A language model as one module: padding cannot matter, positions are right, adapters and folders behave."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from counterpoint.errors import CounterpointError
from counterpoint.kernels.scores import dense
from counterpoint.models import tokens
from counterpoint.models.language import language
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import LoRA


def test_padding_on_either_side_changes_nothing() -> None:
    model = tiny(seed=0).eval()
    alone = model.prompts(["7+8="])
    padded = model.prompts(["7+8=", "a much longer prompt than that one"])
    right = tokens.pad(alone.rows(), side="right", width=9)
    whole = model(alone.ids, alone.mask)[0]
    assert torch.allclose(model(padded.ids, padded.mask)[0, -alone.width :], whole, atol=1e-5)
    assert torch.allclose(model(right.ids, right.mask)[0, : alone.width], whole, atol=1e-5)


def test_last_predicts_the_completion_as_transformers_own_logits_do() -> None:
    model = tiny(seed=0).eval().requires_grad_(False)
    prompts, said = model.prompts(["1+1=", "20+30="]), model.completions(["2", "50"])
    both = tokens.join(prompts, said)
    ours = dense(model.scores(model(both.ids, both.mask, last=said.width))).log_softmax(-1)
    for row in range(2):
        ids = torch.tensor([prompts.rows()[row] + said.rows()[row]])
        theirs = model.causal(ids).logits[0].log_softmax(-1)
        start = len(prompts.rows()[row])
        for place, token in enumerate(said.rows()[row]):
            assert ours[row, place, token] == pytest.approx(float(theirs[start + place - 1, token]), abs=1e-5)


def test_completions_end_and_prompts_pass_the_template() -> None:
    model = tiny()
    assert all(row[-1] == model.end_id for row in model.completions(["1", ""]).rows())
    said = [{"role": "user", "content": "1+1="}]
    assert model.prompts([said]).rows() == model.prompts(["1+1="]).rows()
    assert model.texts(model.completions(["a b;c", "12"])) == ["a b;c", "12"]


def test_lora_starts_as_the_model_itself_and_trains_only_adapters(tmp_path: Path) -> None:
    plain, model = tiny(seed=0).eval(), tiny(seed=0).with_lora(LoRA(rank=4, alpha=8)).eval()
    asked = model.prompts(["1+1="])
    before = plain(asked.ids, asked.mask)
    assert torch.equal(model(asked.ids, asked.mask), before)
    trainable = [name for name, each in model.named_parameters() if each.requires_grad]
    assert trainable
    assert all("lora_" in name for name in trainable)
    model(asked.ids, asked.mask).square().sum().backward()
    assert model.head.weight.grad is None
    for name, each in model.named_parameters():
        if "lora_B" in name:
            each.data.normal_(generator=torch.Generator().manual_seed(0))
    moved = model(asked.ids, asked.mask).detach()
    assert not torch.allclose(moved, before)
    merged = language.load(model.save(tmp_path / "merged")).eval()
    assert not merged.adapted
    assert torch.allclose(merged(asked.ids, asked.mask), moved, atol=1e-5)
    assert torch.equal(model(asked.ids, asked.mask), moved), "saving must not merge the model in hand"
    names = {path.name for path in (tmp_path / "merged").iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= names
    assert not list(tmp_path.glob("*.partial"))


def test_adapter_folder_comes_back_on_its_base(tmp_path: Path) -> None:
    base = tiny(seed=0)
    base.save(tmp_path / "base")
    model = language.load(tmp_path / "base", lora=LoRA(rank=2)).eval()
    for name, each in model.named_parameters():
        if "lora_B" in name:
            each.data.fill_(0.1)
    asked = model.prompts(["1+1="])
    folder = model.save(tmp_path / "adapter", adapter=True)
    again = language.load(folder).eval()
    assert again.adapted
    assert torch.allclose(again(asked.ids, asked.mask), model(asked.ids, asked.mask))
    settings = json.loads((folder / "adapter_config.json").read_text())
    settings["base_model_name_or_path"] = str(tmp_path / "gone")
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    with pytest.raises(CounterpointError, match="stands on"):
        language.load(folder)
    (folder / "adapter_config.json").write_text(json.dumps({**settings, "base_model_name_or_path": None}))
    with pytest.raises(CounterpointError, match="does not say which model it stands on"):
        language.load(folder)


def test_lessons(tmp_path: Path) -> None:
    model = tiny(length=16)
    with pytest.raises(CounterpointError, match="16 positions"):
        model.prompts(["x" * 20])
    with pytest.raises(CounterpointError, match="first token of a row"):
        model(torch.ones(1, 3, dtype=torch.long), torch.ones(1, 3, dtype=torch.long), last=3)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CounterpointError, match="no causal language model"):
        language.load(tmp_path / "empty")
    with pytest.raises(CounterpointError, match="trained in full"):
        model.save(tmp_path / "x", adapter=True)
    with pytest.raises(CounterpointError, match="do not fit"):
        model.with_lora(LoRA(targets=("nowhere",)))
    assert not (tmp_path / "x").exists()


def test_vocabularies_must_agree_token_by_token() -> None:
    language.same_vocabulary(tiny(), tiny(seed=1))
    with pytest.raises(CounterpointError, match=r"'a' is id \d+ to the student"):
        language.same_vocabulary(tiny(alphabet="0123456789ab"), tiny(alphabet="0123456789ba"))
    with pytest.raises(CounterpointError, match="does not, first 'b'"):
        language.same_vocabulary(tiny(alphabet="01a"), tiny(alphabet="01ab"))
