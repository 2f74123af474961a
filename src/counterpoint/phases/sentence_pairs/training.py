"""A sentence encoder trained on rows of pairs: what methods of this sort share, one pass for each side, and who is compared with whom.

n rows of this process, N of all, K negatives of each, D dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from counterpoint.data.sentence_pairs.items import PairRows, SentencePairs
from counterpoint.errors import CounterpointError, counted
from counterpoint.models.sentence_pairs.encoder import PROMPTS, SentenceEncoder
from counterpoint.pairs.repeats import text_repeats
from counterpoint.training import Optimizer, Run

QUERY, DOCUMENT = PROMPTS


@dataclass
class Encoding:
    """How texts become vectors; what is set here is kept in the model's folder.

    Attributes:
        pooling: of the states: "mean", the first one's ("cls"), or as the model's folder says ("model").
        max_length: tokens of a text, the markers and the prompt among them; 0 is the model's.
        query_prompt: what stands before an anchor. document_prompt: before positives and negatives; none keeps the model's.
    """

    pooling: Literal["model", "mean", "cls"] = "model"
    max_length: int = 0
    query_prompt: str | None = None
    document_prompt: str | None = None

    def applied(self, model: nn.Module) -> SentenceEncoder:
        """The model under this form.

        Raises:
            CounterpointError: a model that is no sentence encoder.
        """
        if not isinstance(model, SentenceEncoder):
            raise CounterpointError(
                f"a {type(model).__name__} was given; expected a SentenceEncoder: counterpoint.models.sentence_pairs.open_sentence_encoder(FOLDER)"
            )
        given = {QUERY: self.query_prompt, DOCUMENT: self.document_prompt}
        prompts = {**model.form.prompts, **{name: text for name, text in given.items() if text is not None}}
        changes: dict[str, Any] = {"prompts": {name: text for name, text in prompts.items() if text}}
        if self.pooling != "model":
            changes["pooling"] = self.pooling
        if self.max_length:
            changes["max_length"] = self.max_length
        return model.with_form(**changes)


@dataclass(frozen=True)
class Embedded:
    """A batch, embedded.

    Attributes:
        anchors, positives: [n, D]. negatives: [n, K, D], None without any.
        candidates: the same of all processes; None on one. texts: [N], [N] and [N, K] numbers of their texts; None where repeats count.
        scores: [n]. index: [n], the rows' numbers in the training split. offset: of this process's rows.
    """

    anchors: Tensor
    positives: Tensor
    negatives: Tensor | None
    candidates: tuple[Tensor, Tensor, Tensor | None] | None
    texts: tuple[Tensor, Tensor, Tensor | None] | None
    scores: Tensor
    index: Tensor
    offset: int


def embedded_batches(
    run: Run,
    model: SentenceEncoder,
    data: SentencePairs,
    optimizer: Optimizer,
    *,
    batch_size: int,
    epochs: float,
    mask_repeats: bool = False,
    negatives: bool = True,
    drop_last: bool = False,
) -> Iterator[Embedded]:
    """Register and optimise the encoder, then embed batch by batch; the caller makes each step.

    Args:
        mask_repeats: number the texts, so that equal ones are no negatives of one another.
        negatives: embed those of the rows, too.
        drop_last: leave out a last batch that is not full.
    """
    net = run.state(model=model.train())
    run.optimize(net, optimizer)
    train = (
        data.train
        if negatives
        else PairRows(data.train.anchors, data.train.positives, ((),) * len(data.train), data.train.scores)
    )
    numbers = _numbers(train) if mask_repeats else None
    lengthy = _cut(model, train)
    if lengthy:
        sentences = counted(lengthy, "sentence is", "sentences are")
        run.say(f"{sentences} longer than {model.form.max_length} tokens, and read up to there")
    for batch in run.batches(train, batch_size, epochs=epochs, drop_last=drop_last):
        rows: PairRows = batch.items
        first = _vectors(run, net, rows.anchors, QUERY)
        wrong = [text for texts in rows.negatives for text in texts]
        second = _vectors(run, net, (*rows.positives, *wrong), DOCUMENT)
        count = len(train.negatives[0])
        hard = second[len(rows) :].unflatten(0, (len(rows), count)) if count else None
        mine = first, second[: len(rows)], hard
        every = None
        if run.world > 1:
            every = run.gather(mine[0]), run.gather(mine[1]), None if hard is None else run.gather(hard)
        texts = None
        if numbers is not None:
            a, p, n = (
                None if each is None else run.gather_constant(each[batch.index].to(run.device))
                for each in numbers
            )
            assert a is not None
            assert p is not None
            texts = a, p, n
        yield Embedded(
            *mine, every, texts, rows.scores.to(run.device), batch.index.to(run.device),
            run.row_offset if every is not None else 0,
        )  # fmt: skip


def _vectors(run: Run, net: SentenceEncoder, texts: tuple[str, ...], prompt: str) -> Tensor:
    tokens = net.tokenize(texts, prompt)
    vectors: Tensor = run.forward(net, tokens.ids.to(run.device), tokens.mask.to(run.device))
    return vectors.to(torch.promote_types(vectors.dtype, torch.float32))


def _numbers(rows: PairRows) -> tuple[Tensor, Tensor, Tensor | None]:
    """[N], [N] and [N, K] numbers of the texts, the same for texts that differ by capitals and blanks only."""
    count, width = len(rows), len(rows.negatives[0])
    every = text_repeats(
        [*rows.anchors, *rows.positives, *(text for texts in rows.negatives for text in texts)]
    )
    return every[:count], every[count : 2 * count], every[2 * count :].view(count, width) if width else None


def _cut(model: SentenceEncoder, rows: PairRows) -> int:
    """Texts that surely pass the model's length: they have more words than it reads tokens."""
    return sum(len(text.split()) > model.form.max_length for column in rows.columns for text in column)


def refuse_form(key: str, data: SentencePairs, *, scored: bool, negatives: bool = False) -> None:
    """Refuse data of another form, before anything is trained.

    Raises:
        CounterpointError: scores where there must be none or none where they must be, or no negatives.
    """
    if scored and not data.scored:
        raise CounterpointError(
            f"{key} learns from scores, and {data.name} has none; give a column score, or train with multiple-negatives"
        )
    if data.scored and not scored:
        raise CounterpointError(
            f"{key} learns from pairs that belong together, and {data.name} has scores; train with cosent, or read those with a high score "
            "as pairs: --data-option positive_from=0.8"
        )
    if negatives and not data.num_negatives:
        raise CounterpointError(
            f"{key} learns from triplets, and {data.name} has no negatives; give a column negative, or train with multiple-negatives, whose "
            "negatives are those of the batch"
        )
