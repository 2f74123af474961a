"""A transformers encoder as a sentence encoder: its states pooled, scaled to length one, with what stands before a text.

The folder is the encoder's own, with the files by which sentence-transformers opens it as well (modules.json, pooling,
normalisation, prompts); nothing else is stated. B texts, L tokens, H width.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from counterpoint import bundled, library_bars
from counterpoint.errors import CounterpointError, nearest
from counterpoint.models.model_folders import state
from counterpoint.models.text.transformer import LIMIT, TransformerText, open_transformer
from counterpoint.models.tokens import Tokens

Pooling = Literal["mean", "cls"]
MODULES = "modules.json"
PROMPTS = ("query", "document")
"""Names of the prompts of an anchor and of what it is compared with, as sentence-transformers' encode_query and encode_document have them."""


@dataclass(frozen=True)
class Form:
    """How texts become vectors.

    Attributes:
        pooling: "mean" of the states, or the first one's ("cls"). normalize: whether vectors have length one.
        max_length: of a text in tokens, its prompt's among them.
        prompts: what stands before a text, by name: "query" before an anchor, "document" before what it is compared with.
    """

    pooling: Pooling = "mean"
    normalize: bool = True
    max_length: int = LIMIT
    prompts: Mapping[str, str] = field(default_factory=dict)


class SentenceEncoder(nn.Module):
    """The encoder.

    Args:
        text: a transformers encoder with its tokenizer. form: how texts become vectors.

    Raises:
        CounterpointError: a pooling that is not known, a text length below 3.
    """

    def __init__(self, text: TransformerText, form: Form | None = None) -> None:
        super().__init__()
        form = Form() if form is None else form
        if form.pooling not in get_args(Pooling):
            raise CounterpointError(f"pooling='{form.pooling}'; {nearest(form.pooling, get_args(Pooling))}")
        if form.max_length < 3:
            raise CounterpointError(
                f"max_length={form.max_length} tokens leave no room for a word between the markers; expected at least 3"
            )
        self.text = TransformerText(text.net, text.tokenizer, form.max_length)
        self.form = replace(form, max_length=self.text.limit)
        self.num_features = self.text.num_features

    def with_form(self, **changes: Any) -> SentenceEncoder:
        """The same weights under another form."""
        return SentenceEncoder(self.text, replace(self.form, **changes))

    def tokenize(self, texts: Sequence[str], prompt: str = "") -> Tokens:
        """[B, L] ids and mask of texts after the prompt of this name, if the model has one."""
        if not len(texts):  # a process without a row of a small last batch
            none = torch.zeros(0, 1, dtype=torch.long)
            return Tokens(none, none)
        before = self.form.prompts.get(prompt, "")
        return self.text.tokenize([before + text for text in texts] if before else texts)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[B, L] ids and mask -> [B, H] vectors."""
        states = self.text(ids, mask, out="tokens")
        if not len(ids):
            return states[:, 0]
        rows = states[:, 0] if self.form.pooling == "cls" else self.text.pool(states, mask)
        return normalize(rows, dim=-1, eps=1e-12) if self.form.normalize else rows

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the encoder's folder, and what sentence-transformers reads."""

        library_bars.hide("transformers")
        path = Path(folder)
        self.text.save_pretrained(path)
        state(path, self)
        without = "add_pooling_layer" in inspect.signature(type(self.text.net)).parameters
        for name, content in _for_sentence_transformers(self.form, self.num_features, without).items():
            (path / name).parent.mkdir(exist_ok=True)
            (path / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _for_sentence_transformers(form: Form, width: int, without_pooler: bool) -> dict[str, Any]:
    """Files by name. ``without_pooler``: the network can be told to have none, and would report the lack of one otherwise."""
    kinds = ("Transformer", "Pooling", "Normalize") if form.normalize else ("Transformer", "Pooling")
    return {
        MODULES: [
            {
                "idx": at,
                "name": str(at),
                "path": f"{at}_{kind}" if at else "",
                "type": f"sentence_transformers.models.{kind}",
            }
            for at, kind in enumerate(kinds)
        ],
        "sentence_bert_config.json": {
            "max_seq_length": form.max_length,
            "do_lower_case": False,
            **({"model_args": {"add_pooling_layer": False}} if without_pooler else {}),
        },
        "1_Pooling/config.json": {
            "word_embedding_dimension": width,
            "pooling_mode_cls_token": form.pooling == "cls",
            "pooling_mode_mean_tokens": form.pooling == "mean",
            "include_prompt": True,
        },
        **({"2_Normalize/config.json": {}} if form.normalize else {}),
        "config_sentence_transformers.json": {
            "prompts": {name: form.prompts.get(name, "") for name in PROMPTS},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
    }


def open_sentence_encoder(spec: str | Path) -> SentenceEncoder:
    """Open a folder of transformers or sentence-transformers, or a bundled name; without modules.json: the mean, to length one.

    Raises:
        MissingExtra: transformers is not installed.
        CounterpointError: no encoder, or modules of sentence-transformers that are not known here (another pooling, a layer after it).
    """
    folder = Path(spec) if Path(spec).is_dir() else bundled.path(str(spec))
    stated = folder / MODULES
    modules = _json(stated) if stated.is_file() else []
    inner = next((folder / m.get("path", "") for m in modules if _kind(m) == "Transformer"), folder)
    return SentenceEncoder(open_transformer(inner), _form(folder, modules, inner))


def _form(folder: Path, modules: Sequence[Mapping[str, Any]], inner: Path) -> Form:
    if not modules:
        return Form()
    kinds = [_kind(module) for module in modules]
    odd = [kind for kind in kinds if kind not in ("Transformer", "Pooling", "Normalize")]
    if odd or kinds[:2] != ["Transformer", "Pooling"]:
        raise CounterpointError(
            f"{folder / MODULES}: modules {', '.join(kinds)}; expected Transformer, Pooling and perhaps Normalize: give the folder of such a "
            "model, or that of its transformers encoder alone"
        )
    pooling = _json(folder / str(modules[1]["path"]) / "config.json")
    modes = [
        name.removeprefix("pooling_mode_")
        for name, on in pooling.items()
        if name.startswith("pooling_mode_") and on is True
    ]
    modes = modes or [str(pooling.get("pooling_mode", "mean_tokens"))]
    poolings: dict[str, Pooling] = {"mean_tokens": "mean", "cls_token": "cls", "mean": "mean", "cls": "cls"}
    if len(modes) != 1 or modes[0] not in poolings:
        raise CounterpointError(
            f"{folder}: pooling by {', '.join(modes)}; expected mean_tokens or cls_token alone"
        )
    if pooling.get("include_prompt", True) is False:
        raise CounterpointError(
            f"{folder}: its pooling leaves the prompt out (include_prompt), which is not done here"
        )
    file = inner / "sentence_bert_config.json"
    length = int((_json(file) if file.is_file() else {}).get("max_seq_length") or LIMIT)
    file = folder / "config_sentence_transformers.json"
    prompts = (_json(file) if file.is_file() else {}).get("prompts") or {}
    return Form(
        poolings[modes[0]],
        "Normalize" in kinds,
        length,
        {name: str(prompts[name]) for name in PROMPTS if prompts.get(name)},
    )


def _kind(module: Mapping[str, Any]) -> str:
    return str(module.get("type", "")).rpartition(".")[2]


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CounterpointError(f"{file} cannot be read ({error}); copy the model's folder again") from None
