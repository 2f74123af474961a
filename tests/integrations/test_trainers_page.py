"""docs/trainers.md: its tables are the catalog's, and its examples run; those of other libraries where these are installed."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from counterpoint.errors import CounterpointError
from counterpoint.integrations import SentenceLoss, preference_trainer
from counterpoint.integrations.catalog import LEFT_OUT, OBJECTIVES
from counterpoint.integrations.page import refreshed
from counterpoint.objectives.contrast.infonce import info_nce

PAGE = Path(__file__).parents[2] / "docs" / "trainers.md"
TEXT = PAGE.read_text(encoding="utf-8")
PLAIN, SENTENCES, TRL = re.findall(r"```python\n(.*?)```", TEXT, re.S)


def test_tables_are_the_catalogs() -> None:
    assert refreshed(TEXT) == TEXT, "run: python -m counterpoint.integrations.page docs/trainers.md"
    assert all(f"`{name}`" in TEXT for name in OBJECTIVES)
    assert all(why in TEXT for why in LEFT_OUT)


def test_the_plain_example_runs_and_learns() -> None:
    torch.manual_seed(0)
    spaces: list[dict[str, Any]] = [{}, {}]
    for space, steps in zip(spaces, (1, 60), strict=True):
        torch.manual_seed(0)
        exec(compile(PLAIN.replace("range(5)", f"range({steps})"), "trainers.md", "exec"), space)
    assert spaces[1]["value"].item() < spaces[0]["value"].item()


def small_encoder(folder: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    (folder / "words.txt").write_text(
        "\n".join(
            [
                "[PAD]",
                "[UNK]",
                "[CLS]",
                "[SEP]",
                "[MASK]",
                *["where", "is", "my", "parcel", "how", "do", "i", "track", "an", "order"],
            ]
        )
    )
    BertTokenizerFast(str(folder / "words.txt")).save_pretrained(folder / "bert")
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=15, **sizes)).save_pretrained(folder / "bert")
    transformer = Transformer(str(folder / "bert"))
    SentenceTransformer(modules=[transformer, Pooling(32)], device="cpu").save(str(folder / "encoder"))


@pytest.mark.slow
def test_sentence_transformers_trains_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if importlib.util.find_spec("sentence_transformers") is None:
        with pytest.raises(CounterpointError, match="is no loss of sentence-transformers"):
            SentenceLoss(torch.nn.Identity(), "bpr")  # the adapter itself needs nothing of it
        return
    from sentence_transformers import SentenceTransformer, losses

    small_encoder(tmp_path)
    space: dict[str, Any] = {}
    exec(compile(SENTENCES.replace('"MODEL"', repr(str(tmp_path / "encoder"))), "trainers.md", "exec"), space)
    model = SentenceTransformer(str(tmp_path / "encoder"), device="cpu").eval()
    texts = [
        ["where is my parcel", "track", "an order"],
        ["my parcel", "how", "order"],
        ["is", "where", "do i"],
    ]
    features = [
        model.preprocess(column) if hasattr(model, "preprocess") else model.tokenize(column)
        for column in texts
    ]
    theirs = losses.MultipleNegativesRankingLoss(model, scale=20.0)
    ours = SentenceLoss(model, "info_nce", temperature=0.05)
    torch.testing.assert_close(ours([dict(f) for f in features]), theirs([dict(f) for f in features], None))
    z = [torch.as_tensor(model.encode(column)) for column in texts]
    torch.testing.assert_close(
        ours([dict(f) for f in features]),
        info_nce(z[0], torch.cat(z[1:]), temperature=0.05).mean(),
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.slow
def test_trl_trains_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if importlib.util.find_spec("trl") is None:
        with pytest.raises(CounterpointError, match="pip install trl"):
            preference_trainer("simpo")
        return
    import sys

    sys.path.insert(0, str(Path(__file__).parents[1] / "references"))
    import families
    from datasets import Dataset

    import training

    tokens = families.tokenizer(training.FAMILY)
    training.causal(len(tokens)).save_pretrained(tmp_path / "model")
    tokens.save_pretrained(tmp_path / "model")
    pairs = Dataset.from_list(training.PAIRS)
    asked = Dataset.from_list(
        [{"prompt": row["prompt"], "completion": row["chosen"], "answer": "4"} for row in training.PAIRS]
    )
    block = TRL.replace('"MODEL"', repr(str(tmp_path / "model")))
    small = "use_cpu=True, bf16=False, report_to=[], max_steps=2, per_device_train_batch_size=2, gradient_checkpointing=False"
    for config, more in (("DPO", ""), ("GRPO", ", num_generations=2, max_completion_length=8"), ("SFT", "")):
        block = re.sub(rf'\b{config}Config\("([^"]+)"\)', rf'{config}Config("\1", {small}{more})', block)
    teacher = training.causal(len(tokens))
    exec(compile(block, "trainers.md", "exec"), {"preferences": pairs, "problems": asked, "teacher": teacher})
