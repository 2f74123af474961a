"""Speech in, intent out: a speech encoder with a decoder that says the intent and then the words, or with a plain classifier.

The decoder is small: a recurrent layer reads the tokens so far, looks back at the encoder's states by attention, and its
output is compared with the table of token embeddings (which is also the text encoder). Both heads answer alike:

    hidden_NTW = head(pooled_ND, states_NFD, mask_NF, ids_NT)       # decoder: position t predicts ids[:, t]
    head.intent_logits(pooled, states, mask) -> [N, C]               # what the first token says of the intents
    head.text_vectors(ids, mask) -> [N, W]                           # mean of the words' embeddings

N clips, F frames, D encoder features, T tokens, W width of the embeddings, C intents, V tokens.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from counterpoint.errors import CounterpointError
from counterpoint.kernels.scores import Head
from counterpoint.models.audio.encoder import masked_mean
from counterpoint.models.audio.lexicon import END, PAD, START, Lexicon
from counterpoint.models.model_folders import Saved, state

FOLDER, STAGES = "intents", "stages.csv"


class IntentHead(Saved):
    """What decoder and classifier share: the tokens and their embeddings.

    Args:
        num_features: D.
        intents, words, letters: of the ``Lexicon``.
        width: W.
        dropout: on embeddings and before the output.
    """

    whole = False

    decodes = False

    def __init__(
        self,
        num_features: int,
        intents: Sequence[str],
        words: Sequence[str] = (),
        letters: str = "",
        width: int = 128,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.lexicon, self.width = Lexicon(intents, words, letters), width
        self.table = nn.Embedding(self.lexicon.size, width, padding_idx=PAD)
        nn.init.normal_(self.table.weight, std=width**-0.5)
        with torch.no_grad():
            self.table.weight[PAD] = 0
        self.dropout = nn.Dropout(dropout)

    @property
    def intents(self) -> tuple[str, ...]:
        """Names of the intents."""
        return self.lexicon.intents

    def text_vectors(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[N, T] targets and their mask -> [N, W], the mean embedding of words and letters.

        The intent is left out, since as a part of the text it would give the label away, and so are all marks.
        """
        words = mask.bool() & (ids >= self.lexicon.first_word)
        vectors = torch.where(words[..., None], self.table(ids), 0.0)
        return vectors.sum(1) / words.sum(1, keepdim=True).clamp(min=1)

    def intent_logits(self, pooled: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        """[N, D], [N, F, D], [N, F] -> [N, C]."""
        raise NotImplementedError


class IntentClassifier(IntentHead):
    """A linear layer on the mean state; the embeddings serve the contrast with text alone.

    >>> head = IntentClassifier(8, ["dial", "hang up"], width=4)
    >>> head.intent_logits(torch.zeros(3, 8), torch.zeros(3, 5, 8), torch.ones(3, 5) > 0).shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        num_features: int,
        intents: Sequence[str],
        words: Sequence[str] = (),
        letters: str = "",
        width: int = 128,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(num_features, intents, words, letters, width, dropout)
        self.linear = nn.Linear(num_features, len(self.lexicon.intents))

    def intent_logits(self, pooled: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        """See ``IntentHead``."""
        return self.linear(self.dropout(pooled))


class IntentDecoder(IntentHead):
    """Says the intent, then the transcript, one token at a time.

    >>> head = IntentDecoder(8, ["dial", "hang up"], ["please"], "abc", width=4)
    >>> ids = torch.tensor([head.lexicon.encode(0, "please")])
    >>> head(torch.zeros(1, 8), torch.zeros(1, 5, 8), torch.ones(1, 5) > 0, ids).shape
    torch.Size([1, 3, 4])
    """

    decodes = True

    def __init__(
        self,
        num_features: int,
        intents: Sequence[str],
        words: Sequence[str] = (),
        letters: str = "",
        width: int = 128,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(num_features, intents, words, letters, width, dropout)
        self.begin = nn.Linear(num_features, width)
        self.recurrent = nn.GRU(width, width, batch_first=True)
        self.query = nn.Linear(width, num_features)
        self.mix = nn.Linear(width + num_features, width)
        self.bias = nn.Parameter(torch.zeros(self.lexicon.size))

    def forward(self, pooled: Tensor, states: Tensor, mask: Tensor, ids: Tensor) -> Tensor:
        """Hidden states [N, T, W] at the positions that predict ``ids`` [N, T], which they see up to the one before."""
        start = torch.full_like(ids[:, :1], START)
        read = self.dropout(self.table(torch.cat([start, ids[:, :-1]], 1)))
        recurrent_out, _ = self.recurrent(read, torch.tanh(self.begin(pooled))[None])
        return self._look(recurrent_out, states, mask)

    def scores(self, hidden: Tensor) -> Head:
        """Scores [..., V] of hidden states [..., W]; the output layer is the table of embeddings."""
        return Head(hidden, self.table.weight, self.bias)

    def first(self, pooled: Tensor) -> Tensor:
        """[N, D] -> [N, W], the recurrent state before the first token."""
        return torch.tanh(self.begin(pooled))

    def step(self, memory: Tensor, ids: Tensor, states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Recurrent state [N, W] and last ids [N] -> log-probabilities [N, V] of the next, and the next state."""
        recurrent_out, last = self.recurrent(self.table(ids)[:, None], memory[None].contiguous())
        hidden = self._look(recurrent_out, states, mask)[:, 0]
        logits = F.linear(hidden, self.table.weight, self.bias)
        logits[:, [PAD, START]] = -torch.inf
        return logits.log_softmax(-1), last[0]

    def intent_logits(self, pooled: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        """See ``IntentHead``."""
        lexicon = self.lexicon
        hidden = self(pooled, states, mask, torch.full((len(pooled), 1), END, device=pooled.device))
        intents = slice(lexicon.first_intent, lexicon.first_word)
        return F.linear(hidden[:, 0], self.table.weight[intents], self.bias[intents])

    def _look(self, queries: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        scores = self.query(queries) @ states.mT / states.shape[-1] ** 0.5
        seen = scores.masked_fill(~mask[:, None], -torch.inf).softmax(-1) @ states
        return torch.tanh(self.mix(self.dropout(torch.cat([queries, seen], -1))))


HEADS: dict[str, type[IntentHead]] = {"decoder": IntentDecoder, "classifier": IntentClassifier}


class Understanding(nn.Module):
    """A speech encoder with an intent head. It is an encoder itself: calling it gives features [N, D]."""

    def __init__(self, encoder: nn.Module, head: IntentHead) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    @property
    def num_features(self) -> int:
        """D."""
        return int(self.encoder.num_features)  # type: ignore[arg-type]

    @property
    def sample_rate(self) -> int:
        """Samples per second of the waveforms it hears."""
        return int(self.encoder.sample_rate)  # type: ignore[arg-type]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the intents."""
        return self.head.intents

    def frames(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """See ``SpeechEncoder.frames``."""
        return self.encoder.frames(waves, lengths)  # type: ignore[operator]

    def forward(self, waves: Tensor, lengths: Tensor) -> Tensor:
        """[N, S], [N] -> [N, D]."""
        return masked_mean(*self.frames(waves, lengths))

    def hidden_states(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[N, S], [N] -> mean state [N, D], states [N, F, D], mask [N, F]."""
        states, mask = self.frames(waves, lengths)
        return masked_mean(states, mask), states, mask

    def for_classes(self, classes: Sequence[str], folder: Path) -> Understanding:
        """This model, for data of its own intents; ``folder`` is where it came from.

        Raises:
            CounterpointError: it knows other intents than the data has.
        """
        if self.classes != tuple(classes):
            raise CounterpointError(
                f"{folder} understands {', '.join(self.classes[:12])}; the data has {', '.join(list(classes)[:12])}: give data with "
                "the same classes, or start from the encoder alone (without intents/)"
            )
        return self

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the encoder's ordinary folder with the head's in ``intents/``."""
        whole: Any = self.encoder
        whole.save_pretrained(folder)
        folder = Path(folder)
        self.head.save_pretrained(folder / FOLDER)
        state(folder, self)


def with_head(
    encoder: nn.Module, kind: str, lexicon: Lexicon, *, width: int = 128, dropout: float = 0.1, seed: int = 0
) -> Understanding:
    """Put a fresh head on an encoder; a model whose head has these tokens goes on with it. In training mode.

    Args:
        kind: "decoder" or "classifier".
        seed: of the head's initial weights.
    """
    wanted = HEADS[kind]
    if isinstance(encoder, Understanding):
        mine, head = encoder.head.lexicon, encoder.head
        same = (mine.intents, mine.words, mine.letters) == (lexicon.intents, lexicon.words, lexicon.letters)
        if same and type(head) is wanted and head.width == width:
            return encoder.train()
        encoder = encoder.encoder
    else:
        encoder = getattr(encoder, "encoder", encoder)  # of a classifier of another sort, the encoder
    if not hasattr(encoder, "frames"):
        raise CounterpointError(
            f"{type(encoder).__name__} has no frames(waves, lengths); expected a speech encoder such as small-conv, or a class "
            "derived from counterpoint.models.audio.encoder.SpeechEncoder"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = wanted(
            int(encoder.num_features),  # type: ignore[arg-type]
            list(lexicon.intents),
            list(lexicon.words),
            lexicon.letters,
            width,
            dropout,
        )
    return Understanding(encoder, head).train()


def load_head(encoder: nn.Module, folder: Path) -> Understanding:
    """Open the model that ``save_pretrained`` wrote to ``folder``, its encoder already opened.

    Raises:
        CounterpointError: it holds no intent head.
    """
    described: Mapping[str, Any] = json.loads((folder / FOLDER / "config.json").read_text(encoding="utf-8"))
    kinds = {each.__name__: each for each in HEADS.values()}
    named = described.get("architecture")
    if named not in kinds:
        raise CounterpointError(f"{folder / FOLDER} holds '{named}'; expected one of {', '.join(kinds)}")
    return Understanding(encoder, kinds[named].from_pretrained(folder / FOLDER))
