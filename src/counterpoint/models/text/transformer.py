"""Any transformers encoder as a text encoder: a folder, a bundled name, or a small one built from nothing.

Sentence vectors are the mean of the last states. Saved as an ordinary transformers folder with its tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from counterpoint import bundled, library_bars
from counterpoint.errors import CounterpointError, MissingExtra
from counterpoint.models.model_folders import save_tokenizer
from counterpoint.models.text.encoder import Out, pooled
from counterpoint.models.text.pretrained import open_encoder
from counterpoint.models.tokens import Tokens

LIMIT = 128
"""Longest text in tokens unless said otherwise; a model's own positions may allow less."""


class TransformerText(nn.Module):
    """A transformers encoder with its tokenizer, behind the interface of ``models.text``.

    Args:
        net: what ``AutoModel`` gives. tokenizer: its tokenizer. limit: longest text in tokens.
    """

    words: Tensor

    def __init__(self, net: Any, tokenizer: Any, limit: int = LIMIT) -> None:
        super().__init__()
        self.net: Any = net
        self.tokenizer = tokenizer
        if tokenizer.pad_token_id is None:
            raise CounterpointError(
                f"the tokenizer of {type(net).__name__} has no padding token; set tokenizer.pad_token and save the folder again"
            )
        config: Any = net.config
        if getattr(config, "is_encoder_decoder", False) or getattr(config, "is_decoder", False):
            raise CounterpointError(
                f"{type(net).__name__} is no encoder; give a model such as BERT, RoBERTa, DeBERTa or MiniLM"
            )
        reach = int(getattr(config, "max_position_embeddings", limit) or limit)
        # RoBERTa numbers its positions from padding_idx + 1 on, so its table holds two more rows than a text may have tokens.
        offset = 2 if "roberta" in str(getattr(config, "model_type", "")) else 0
        self.limit = min(limit, reach - offset) if reach > offset else limit
        self.num_features = self.state_width = int(config.hidden_size)
        table = self.net.get_input_embeddings().weight
        self.width, self.vocabulary_size = int(table.shape[1]), int(table.shape[0])
        self.pad_id = int(tokenizer.pad_token_id)
        mask_id = tokenizer.mask_token_id
        self.mask_id = int(mask_id if mask_id is not None else self.pad_id)
        self.register_buffer("words", _whole_words(tokenizer, self.vocabulary_size), persistent=False)

    @property
    def config(self) -> Any:
        """The transformers configuration."""
        return self.net.config

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Ids with the model's markers around each text, [B, L]."""
        given = self.tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=self.limit,
            padding_side="right",
            return_tensors="pt",
        )
        return Tokens(given["input_ids"], given["attention_mask"])

    def vectors(self, ids: Tensor) -> Tensor:
        """[...] ids -> [..., E] rows of the word table."""
        return self.net.get_input_embeddings()(ids)

    def embed(self, ids: Tensor) -> Tensor:
        """[B, L] -> [B, L, E]: words, positions and types summed, as they enter the first normalisation."""
        norm = _first_norm(self.net)
        if norm is None:
            return self.vectors(ids)
        captured: list[Tensor] = []
        hook = norm.register_forward_pre_hook(lambda _, given: captured.append(given[0]))
        try:
            self.net.embeddings(input_ids=ids)
        finally:
            hook.remove()
        return captured[0]

    def pool(self, states: Tensor, mask: Tensor) -> Tensor:
        """[B, L, H] -> [B, H], the mean over real tokens."""
        return pooled(states, mask)

    def forward(
        self, ids: Tensor, mask: Tensor, *, embedded: Tensor | None = None, out: Out = "sentence"
    ) -> Tensor:
        """[B, L] ids and mask -> sentence vectors [B, H], or token states [B, L, H] with ``out="tokens"``.

        ``out="layers"``: [B, M + 1, L, H], of the embeddings and every layer.
        """
        if out == "logits":
            raise CounterpointError('an encoder has no classes; out="logits" is for a TextClassifier')
        if not len(ids):  # a process without a row of a small last batch: one row of padding, cut off again
            one = ids.new_zeros(1, max(ids.shape[1], 1))
            return self(one, torch.ones_like(one), out=out)[:0]
        norm, options = _first_norm(self.net), {"output_hidden_states": True} if out == "layers" else {}
        if embedded is not None and norm is None:
            given = self.net(inputs_embeds=embedded, attention_mask=mask, **options)
        else:
            with _replaced(norm, embedded):
                given = self.net(input_ids=ids, attention_mask=mask, **options)
        if out == "layers":
            return torch.stack(given.hidden_states, 1)
        states = given.last_hidden_state
        return states if out == "tokens" else pooled(states, mask)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write an ordinary transformers folder: weights as safetensors, configuration, tokenizer."""
        library_bars.hide("transformers")
        self.net.save_pretrained(folder, safe_serialization=True)
        save_tokenizer(self.tokenizer, folder)


def open_transformer(spec: str | Path, limit: int = LIMIT) -> TransformerText:
    """Open a transformers folder or a bundled encoder such as "bert-tiny" or "minilm-l6"; of a T5, its encoder alone.

    Raises:
        MissingExtra: transformers is not installed.
        CounterpointError: a folder without tokenizer, or of a model that is no encoder.
    """
    folder = Path(spec) if Path(spec).is_dir() else bundled.path(str(spec))
    net, tokenizer = open_encoder(folder)
    if getattr(net, "pooler", None) is not None:
        net.pooler = None  # states are pooled here; an unused pooler would get no gradient
    return TransformerText(net, tokenizer, limit)


def shortened(encoder: TransformerText, layers: int) -> TransformerText:
    """A copy of an encoder with so many of its layers, evenly chosen, the last among them: a smaller one to begin with.

    Raises:
        CounterpointError: fewer than one layer, more than there are, or layers that are not where transformers puts them.
    """
    import copy

    net = copy.deepcopy(encoder.net)
    for part in (net, *(getattr(net, name, None) for name in ("encoder", "transformer"))):
        holder, name = part, next((n for n in ("layer", "layers") if hasattr(part, n)), "")
        if name:
            break
    else:
        raise CounterpointError(
            f"the layers of {type(net).__name__} are not where BERT and its kin have them; give a folder of the smaller encoder"
        )
    every = getattr(holder, name)
    if not 1 <= layers <= len(every):
        raise CounterpointError(
            f"{layers} layers of an encoder of {len(every)}; expected from 1 to {len(every)}"
        )
    chosen = [every[(number + 1) * len(every) // layers - 1] for number in range(layers)]
    setattr(holder, name, nn.ModuleList(chosen))
    field = "n_layers" if hasattr(net.config, "n_layers") else "num_hidden_layers"
    setattr(net.config, field, layers)
    return TransformerText(net, encoder.tokenizer, encoder.limit)


def word_tokenizer(words: Sequence[str], limit: int = LIMIT) -> Any:
    """A tokenizer of whole words in lower case, with BERT's markers: padding is 0.

    Raises:
        MissingExtra: transformers is not installed.

    >>> word_tokenizer(["sea", "sea", "wind"])("Wind").input_ids  # a word that stands twice is one
    [2, 6, 3]
    """
    try:
        import tokenizers
        from transformers import PreTrainedTokenizerFast
    except ImportError:
        raise MissingExtra("transformers", "language") from None
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    ids = {word: number for number, word in enumerate(dict.fromkeys([*special, *words]))}
    raw = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, unk_token="[UNK]"))
    raw.normalizer = tokenizers.normalizers.Lowercase()
    raw.pre_tokenizer = tokenizers.pre_tokenizers.Split(
        tokenizers.Regex(r"[\p{L}\p{N}]+(?:'[\p{L}\p{N}]+)*"), "removed", invert=True
    )
    raw.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=limit,
    )


def fresh_transformer(
    words: Sequence[str],
    *,
    layers: int = 2,
    width: int = 128,
    heads: int = 2,
    limit: int = LIMIT,
    seed: int = 0,
) -> TransformerText:
    """A small BERT over whole words, its weights drawn from ``seed``.

    Args:
        words: the vocabulary, in lower case. layers, width, heads: of the network. limit: longest text in tokens.
    """
    dropout = 0.1
    try:
        from transformers import BertConfig, BertModel
    except ImportError:
        raise MissingExtra("transformers", "language") from None
    fast = word_tokenizer(words, limit)
    config = BertConfig(
        vocab_size=len(fast),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        max_position_embeddings=limit,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TransformerText(BertModel(config, add_pooling_layer=False), fast, limit)


def _first_norm(net: Any) -> nn.Module | None:
    """The normalisation at the end of a model's input embeddings, where it has one by a known name."""
    embeddings = getattr(net, "embeddings", None)
    for name in ("LayerNorm", "layer_norm", "norm"):
        norm = getattr(embeddings, name, None)
        if isinstance(norm, nn.Module):
            return norm
    return None


@contextmanager
def _replaced(norm: nn.Module | None, embedded: Tensor | None) -> Iterator[None]:
    """While this lasts, ``norm`` reads ``embedded`` in place of what it is given."""
    if embedded is None or norm is None:
        yield
        return
    hook = norm.register_forward_pre_hook(lambda _, given: (embedded, *given[1:]))
    try:
        yield
    finally:
        hook.remove()


def _whole_words(tokenizer: Any, size: int) -> Tensor:
    """[V] bool: ids whose token is a run of letters that starts a word."""
    tokens = tokenizer.convert_ids_to_tokens(list(range(min(size, len(tokenizer)))))
    # Word pieces mark the middle of a word (##ing), SentencePiece and byte-level BPE its start (▁, Ġ).
    marked = any(str(token).startswith(("▁", "Ġ")) for token in tokens)
    special = set(tokenizer.all_special_tokens)
    whole = torch.zeros(size, dtype=torch.bool)
    for number, token in enumerate(tokens):
        token = str(token)
        starts = token[:1] in "▁Ġ" if marked else not token.startswith("##")
        bare = token.lstrip("▁Ġ")
        whole[number] = starts and token not in special and len(bare) > 2 and bare.isalpha()
    return whole
