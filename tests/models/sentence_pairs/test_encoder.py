"""Sentence encoders as folders: opened by counterpoint, by transformers and, where it is installed, by sentence-transformers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import counterpoint
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.sentence_pairs.measurements import sentence_vectors
from counterpoint.models.sentence_pairs.encoder import Form, SentenceEncoder, open_sentence_encoder
from counterpoint.models.text.transformer import fresh_transformer

TEXTS = ["warm tea", "storm", "tea and storm and tea"]


def encoder(**form: object) -> SentenceEncoder:
    text = fresh_transformer(["warm", "tea", "storm", "and", "query"], layers=1, width=16, seed=1)
    return SentenceEncoder(text, Form(**form)).eval()  # type: ignore[arg-type]


def vectors(model: SentenceEncoder, prompt: str = "") -> torch.Tensor:
    tokens = model.tokenize(TEXTS, prompt)
    return model(tokens.ids, tokens.mask).detach()


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("normalize", [True, False])
def test_vectors_are_the_pooled_states_and_the_folder_keeps_the_form(
    tmp_path: Path, pooling: str, normalize: bool
) -> None:
    from transformers import AutoModel, AutoTokenizer

    model = encoder(pooling=pooling, normalize=normalize, max_length=5, prompts={"query": "query "})
    model.save_pretrained(tmp_path)
    again = counterpoint.load(tmp_path)
    assert isinstance(again, SentenceEncoder)
    assert again.form == model.form
    torch.testing.assert_close(vectors(again.eval(), "query"), vectors(model, "query"))
    net, tokenizer = AutoModel.from_pretrained(tmp_path).eval(), AutoTokenizer.from_pretrained(tmp_path)
    for row, text in zip(vectors(model, "query"), TEXTS):
        states = net(
            **tokenizer("query " + text, return_tensors="pt", truncation=True, max_length=5)
        ).last_hidden_state[0]
        wanted = states[0] if pooling == "cls" else states.mean(0)
        torch.testing.assert_close(row, wanted / wanted.norm() if normalize else wanted, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(vectors(model, "query"), vectors(model, "document"))


def test_sentence_transformers_gives_the_same_vectors(tmp_path: Path) -> None:
    library = pytest.importorskip("sentence_transformers")
    for pooling in ("mean", "cls"):
        model = encoder(pooling=pooling, prompts={"query": "query "})
        model.save_pretrained(tmp_path / pooling)
        theirs = library.SentenceTransformer(str(tmp_path / pooling), device="cpu")
        found = torch.tensor(theirs.encode(TEXTS, prompt_name="query"))
        torch.testing.assert_close(found, sentence_vectors(model, TEXTS, "query"), rtol=1e-4, atol=1e-5)


def test_sentence_transformers_is_told_that_there_is_no_pooler(tmp_path: Path) -> None:
    encoder().save_pretrained(tmp_path)
    transformers = pytest.importorskip("transformers")
    stated = json.loads((tmp_path / "sentence_bert_config.json").read_text())
    assert stated["model_args"] == {"add_pooling_layer": False}
    net = transformers.AutoModel.from_pretrained(tmp_path, output_loading_info=True, **stated["model_args"])
    assert not net[1]["missing_keys"]


def test_a_bare_folder_is_pooled_by_the_mean_to_length_one(tmp_path: Path) -> None:
    encoder().text.save_pretrained(tmp_path)
    model = open_sentence_encoder(tmp_path)
    assert (model.form.pooling, model.form.normalize) == ("mean", True)
    assert vectors(model.eval()).norm(dim=1).tolist() == pytest.approx([1.0] * 3)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("1_Pooling/config.json", {"pooling_mode_max_tokens": True}, "pooling by max_tokens; expected mean_tokens or cls_token"),
        ("1_Pooling/config.json", {"pooling_mode_mean_tokens": True, "include_prompt": False}, "leaves the prompt out"),
        ("modules.json", [{"type": "a.Transformer", "path": ""}, {"type": "a.Dense", "path": "x"}], "modules Transformer, Dense; expected"),
        ("modules.json", "no json", "modules.json cannot be read"),
    ],
)  # fmt: skip
def test_folders_that_are_not_understood_are_refused(
    tmp_path: Path, file: str, content: object, message: str
) -> None:
    encoder().save_pretrained(tmp_path)
    (tmp_path / file).write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(CounterpointError, match=message):
        open_sentence_encoder(tmp_path)


def test_lengths_and_poolings_that_cannot_be() -> None:
    with pytest.raises(CounterpointError, match="max_length=2 tokens leave no room"):
        encoder(max_length=2)
    with pytest.raises(CounterpointError, match="did you mean 'mean'"):
        encoder(pooling="meen")
    assert encoder().tokenize([]).ids.shape[0] == 0
