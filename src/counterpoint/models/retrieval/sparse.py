"""Sparse text encoders: a masked language model whose logits, pooled over a text, are its vector (SPLADE, arXiv 2109.10086).

A retriever has an encoder of queries, which may read a whole conversation, and one of documents. Its folder is the query encoder's own,
as transformers and sentence-transformers write it; ``documents/`` holds that of documents where it is another. B texts, L tokens, V entries.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from counterpoint import library_bars
from counterpoint.errors import CounterpointError, MissingExtra, nearest
from counterpoint.kernels.scores import Head
from counterpoint.kernels.vocabulary.peaks import saturated_peak
from counterpoint.models import passes
from counterpoint.models.model_folders import configuration, find, save_tokenizer, state
from counterpoint.models.retrieval.sparse_rows import SparseRows
from counterpoint.models.text.pretrained import TOKENIZERS
from counterpoint.models.tokens import Tokens

FILE = "sparse_encoder.json"
DOCUMENTS = "documents"
"""Folder of the encoder of documents, inside the retriever's."""
MASKED = "ForMaskedLM"
Reads = Literal["conversation", "query", "rewrite"]
"""What an encoder of queries is shown: the conversation with its newest utterance first, that utterance alone, or a rewrite."""


@dataclass
class Shape:
    """How texts reach the encoders.

    Attributes:
        reads: what the encoder of queries is shown of a conversation.
        query_tokens, document_tokens: longest texts; what comes later, the oldest utterances of a conversation, is cut off.
    """

    reads: Reads = "conversation"
    query_tokens: int = 256
    document_tokens: int = 256


class SparseEncoder(nn.Module):
    """One encoder.

    Args:
        net: what ``AutoModelForMaskedLM`` gives. tokenizer: its tokenizer.

    Raises:
        CounterpointError: a net without an output layer over the vocabulary, or a tokenizer without a padding token.
    """

    def __init__(self, net: Any, tokenizer: Any) -> None:
        super().__init__()
        self.net: Any = net
        self.tokenizer = tokenizer
        if net.get_output_embeddings() is None:
            raise CounterpointError(
                f"{type(net).__name__} has no output layer over the vocabulary; give a masked language model such as BertForMaskedLM"
            )
        if tokenizer.pad_token_id is None:
            raise CounterpointError(
                f"the tokenizer of {type(net).__name__} has no padding token; set tokenizer.pad_token and save the folder again"
            )
        reach = int(getattr(net.config, "max_position_embeddings", 0) or 0)
        # RoBERTa numbers its positions from padding_idx + 1 on, so its table holds two more rows than a text may have tokens.
        self.reach = reach - (2 if "roberta" in str(net.config.model_type) else 0) if reach > 2 else 0

    @property
    def width(self) -> int:
        """Entries of a vector, V."""
        return int(self.net.get_output_embeddings().weight.shape[0])

    @property
    def device(self) -> Any:
        """Where the weights are."""
        return self.net.get_output_embeddings().weight.device

    def joined(self, utterances: Sequence[str]) -> str:
        """Utterances as one text, the tokenizer's separator between them."""
        separator = self.tokenizer.sep_token or self.tokenizer.eos_token or "\n"
        return str(separator).join(" ".join(text.split()) for text in utterances)

    def tokenize(self, texts: Sequence[str], longest: int) -> Tokens:
        """[B, L] ids with the model's markers around each text, cut off at the end to ``longest`` tokens, on the model's device."""
        given = self.tokenizer(
            list(texts) or [""],
            padding=True,
            truncation=True,
            max_length=min(longest, self.reach or longest),
            padding_side="right",
            return_tensors="pt",
        )
        tokens = Tokens(given["input_ids"], given["attention_mask"]).to(self.device)
        return tokens if len(texts) else tokens[:0]

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[B, L] ids and mask -> [B, V] vectors, none of whose entries is below 0."""
        if not len(ids):  # a process without a row of a small last batch: one row of padding, cut off again
            one = ids.new_zeros(1, 1)
            return self(one, torch.ones_like(one))[:0]
        head = self.net.get_output_embeddings()
        with _before(head):
            hidden = self.net(input_ids=ids, attention_mask=mask).logits
        return saturated_peak(Head(hidden, head.weight, getattr(head, "bias", None)), mask)

    @torch.no_grad()
    def encode(self, texts: Sequence[str], longest: int, at_once: int = 32) -> SparseRows:
        """Vectors of texts, in evaluation mode; those of like length go through the model together."""
        training = self.training
        self.eval()
        order = sorted(range(len(texts)), key=lambda at: (len(texts[at]), at))
        size, parts = passes.at_once(at_once), []
        try:
            for start in range(0, len(order), size):
                tokens = self.tokenize([texts[at] for at in order[start : start + size]], longest)
                parts.append(SparseRows.of(self(tokens.ids, tokens.mask).float()))
        finally:
            self.train(training)
        back = torch.empty(len(order), dtype=torch.long)
        back[torch.tensor(order, dtype=torch.long)] = torch.arange(len(order))
        return SparseRows.joined(parts, self.width).rows(back)


class SparseRetriever(nn.Module):
    """An encoder of queries and one of documents, over one vocabulary; they may be the same.

    Args:
        queries, documents: the encoders. shape: how texts reach them.

    Raises:
        CounterpointError: vocabularies that differ, or lengths below 2 tokens.
    """

    def __init__(self, queries: SparseEncoder, documents: SparseEncoder, shape: Shape | None = None) -> None:
        super().__init__()
        self.queries, self.documents = queries, documents
        self.shape = Shape() if shape is None else shape
        if queries is not documents and queries.tokenizer.get_vocab() != documents.tokenizer.get_vocab():
            raise CounterpointError(
                "the tokenizers of the encoders of queries and of documents differ; their vectors are over one vocabulary, so give both the same"
            )
        if self.shape.reads not in get_args(Reads):
            raise CounterpointError(
                f"reads='{self.shape.reads}'; {nearest(str(self.shape.reads), get_args(Reads))}"
            )
        if min(self.shape.query_tokens, self.shape.document_tokens) < 3:
            raise CounterpointError(
                f"query_tokens={self.shape.query_tokens}, document_tokens={self.shape.document_tokens}; expected at least 3, one beside the "
                "two markers"
            )

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Vectors [B, V] of queries; see ``SparseEncoder``."""
        vectors: Tensor = self.queries(ids, mask)
        return vectors

    def reading(self, conversation: Sequence[str], rewrites: Sequence[str], name: str = "") -> list[str]:
        """What the encoder of queries is shown, as texts: one, or several rewrites whose mean vector stands for them.

        Args:
            conversation: the query, then what was written before it, the newest first. rewrites: of the query. name: of it, for messages.

        Raises:
            CounterpointError: an encoder of rewrites, and a query without any.
        """
        if self.shape.reads != "rewrite":
            return [
                self.queries.joined(conversation if self.shape.reads == "conversation" else conversation[:1])
            ]
        if not rewrites:
            raise CounterpointError(
                f"the model reads rewrites, and the query {name!r} has none; give queries a column 'rewrite', or take a model that reads "
                "conversations"
            )
        return list(rewrites)

    def encode_queries(self, texts: Sequence[str]) -> SparseRows:
        """Vectors of queries or flattened conversations."""
        return self.queries.encode(texts, self.shape.query_tokens)

    def encode_documents(self, texts: Sequence[str]) -> SparseRows:
        """Vectors of documents."""
        return self.documents.encode(texts, self.shape.document_tokens)

    def save_pretrained(self, folder: Path | str) -> None:
        """Write the query encoder's folder, that of documents inside where it is another, and how texts reach them."""
        path = Path(folder)
        _write(self.queries, path)
        if self.documents is not self.queries:
            _write(self.documents, path / DOCUMENTS)
        (path / FILE).write_text(json.dumps(asdict(self.shape), indent=1) + "\n", encoding="utf-8")
        state(path, self)


def load(spec: str | Path, **options: Any) -> SparseRetriever:
    """Open a folder that ``save_pretrained`` wrote, or any masked language model's, or a bundled name such as "bert-tiny".

    Args:
        spec: the folder or name. options: fields of ``Shape``, in place of the folder's.

    Raises:
        MissingExtra: transformers is not installed.
        CounterpointError: a folder without tokenizer or masked language model, or that does not say how texts reach it.
    """
    folder = find(spec)
    file = folder / FILE
    try:
        stated = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        shape = Shape(**{**stated, **options})
    except (ValueError, TypeError) as error:
        raise CounterpointError(
            f"{file} does not say how texts reach the encoders ({error}); copy the folder again"
        ) from None
    queries = _open(folder)
    documents = _open(folder / DOCUMENTS) if (folder / DOCUMENTS).is_dir() else queries
    return SparseRetriever(queries, documents, shape)


def is_masked(spec: str | Path) -> bool:
    """Whether a folder, or a bundled name's, holds a masked language model."""
    named = configuration(find(spec)).get("architectures") or ()
    return any(str(name).endswith(MASKED) for name in named)


def fresh(
    words: Sequence[str], *, width: int = 32, layers: int = 1, limit: int = 64, seed: int = 0
) -> SparseRetriever:
    """A small untrained encoder over whole words, its weights drawn from ``seed``."""
    from counterpoint.models.text.transformer import word_tokenizer

    try:
        from transformers import BertConfig, BertForMaskedLM
    except ImportError:
        raise MissingExtra("transformers", "language") from None
    tokenizer = word_tokenizer(words, limit)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=limit,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.5,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = SparseEncoder(BertForMaskedLM(config), tokenizer).eval()
    return SparseRetriever(encoder, encoder, Shape(query_tokens=limit, document_tokens=limit))


@contextmanager
def _before(head: Any) -> Iterator[None]:
    """While this lasts, a net gives in place of its logits what its output layer reads."""
    head.forward = lambda hidden: hidden
    try:
        yield
    finally:
        del head.forward


def _open(folder: Path) -> SparseEncoder:
    try:
        import transformers
    except ImportError:
        raise MissingExtra("transformers", "language") from None
    library_bars.hide("transformers")
    try:
        if not any((folder / name).exists() for name in TOKENIZERS):
            raise ValueError("it holds no tokenizer, and one without words of its own would be made up")
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        net = transformers.AutoModelForMaskedLM.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise CounterpointError(
            f"{folder} cannot be opened as a masked language model with its tokenizer: {' '.join(str(error).split())[:300]}; give a folder "
            "such as SPLADE's, which save_pretrained of BertForMaskedLM and its tokenizer wrote"
        ) from error
    return SparseEncoder(net, tokenizer).eval()


def _write(encoder: SparseEncoder, folder: Path) -> None:

    library_bars.hide("transformers")
    encoder.net.save_pretrained(folder, safe_serialization=True)
    save_tokenizer(encoder.tokenizer, folder)
    kinds = {"MLMTransformer": "", "SpladePooling": "1_SpladePooling"}
    home = "sentence_transformers.sparse_encoder.models"
    files: dict[str, Any] = {
        "modules.json": [
            {"idx": at, "name": str(at), "path": path, "type": f"{home}.{kind}"}
            for at, (kind, path) in enumerate(kinds.items())
        ],
        "1_SpladePooling/config.json": {
            "pooling_strategy": "max",
            "activation_function": "relu",
            "word_embedding_dimension": encoder.width,
        },
        "config_sentence_transformers.json": {"model_type": "SparseEncoder", "similarity_fn_name": "dot"},
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
