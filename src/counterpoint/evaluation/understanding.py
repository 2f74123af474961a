"""What a model that understands speech says of clips: intents, words, and how both stood after every stage of its training.

Intents are measured among those seen so far. With R[t, k] the accuracy on the intents of stage k after stage t of T:
average accuracy is the mean over t of the accuracy on all intents seen by then, forgetting the mean over k < T of
``max_{k <= t < T} R[t, k] - R[T, k]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from counterpoint.data.audio.load import Audio, Clips
from counterpoint.evaluation.measurement import Measurement, Subject, is_a
from counterpoint.evaluation.speech import macro_f1
from counterpoint.generation.beam import beam_search
from counterpoint.models.audio.understanding import IntentDecoder, Understanding
from counterpoint.models.text.words import split

Row = dict[str, Any]


@dataclass(frozen=True)
class Answers:
    """Predictions for N clips: intents [N], transcripts where they were wanted, and scores [N, allowed intents]."""

    intents: Tensor
    texts: list[str] | None = None
    scores: Tensor | None = None


@torch.no_grad()
def understand(
    model: Understanding,
    clips: Clips,
    *,
    among: Sequence[int] | None = None,
    transcribe: bool = False,
    beams: int = 1,
    limit: int = 64,
) -> Answers:
    """Run a model over clips and leave it in the mode it was in.

    Args:
        model: with a decoder, if ``transcribe``.
        clips: N of them.
        among: intents to choose from; None allows all.
        beams, limit: of the transcripts' search.
        size: clips at a time.
    """
    size = 64
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    intents = torch.full((len(clips),), -1)
    texts, every = [""] * len(clips), torch.empty(0)
    allowed = torch.arange(len(model.classes)) if among is None else torch.tensor(sorted(among))
    try:
        for index in torch.argsort(clips.lengths, stable=True).split(size):
            batch = clips[index].to(device)
            states = model.hidden_states(batch.waves, batch.lengths)
            scores = model.head.intent_logits(*states).float().cpu()
            intents[index] = allowed[scores[:, allowed].argmax(1)]
            every = every if len(every) else scores.new_zeros(len(clips), len(allowed))
            every[index] = scores[:, allowed]
            if transcribe and isinstance(model.head, IntentDecoder):
                for number, ids in zip(
                    index.tolist(),
                    beam_search(model.head, *states, beams=beams, limit=limit),
                    strict=True,
                ):
                    texts[number] = model.head.lexicon.decode(ids)[1]
    finally:
        model.train(training)
    return Answers(intents, texts if transcribe else None, every)


def word_errors(predicted: Sequence[str], true: Sequence[str]) -> tuple[int, int]:
    """Substituted, left-out and added words over all texts, and how many words there were.

    >>> word_errors(["please dial one"], ["dial two now"])
    (3, 3)
    """
    errors = words = 0
    for one, other in zip(predicted, true, strict=True):
        left, right = split(one), split(other)
        words += len(right)
        row = list(range(len(right) + 1))
        for i, word in enumerate(left, 1):
            above, row[0] = row[0], i
            for j, wanted in enumerate(right, 1):
                above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (word != wanted))
        errors += row[-1]
    return errors, words


def figures(truth: Tensor, predicted: Tensor) -> dict[str, float]:
    """``accuracy`` over clips, and ``balanced_accuracy``, the mean over the intents that are there."""
    right = (truth == predicted).double()
    each = [right[truth == label].mean() for label in truth.unique()]
    return {"accuracy": float(right.mean()), "balanced_accuracy": float(torch.stack(each).mean())}


def of_texts(texts: Sequence[str], clips: Clips) -> dict[str, float]:
    """``wer``, word errors per word, over the clips whose words are known; nothing where none are."""
    transcribed = [i for i, text in enumerate(clips.texts) if split(text)]
    errors, words = word_errors([texts[i] for i in transcribed], [clips.texts[i] for i in transcribed])
    return {"wer": errors / words} if words else {}


def stage_rows(
    model: Understanding, data: Audio, tasks: Sequence[Sequence[int]], stage: int, *, limit: int = 64
) -> list[Row]:
    """One row per held-out split after a stage (from 0): what was new, and how well everything seen is understood.

    A split without a clip of the intents seen has no row. A row's ``task k`` is the accuracy on the intents of stage k, among all seen ones.
    """
    seen = [label for part in tasks[: stage + 1] for label in part]
    rows: list[Row] = []
    for name in ("validation", "test"):
        part = data.splits()[name]
        clips = part.subset(torch.isin(part.labels, torch.tensor(seen)).nonzero().squeeze(1))
        if not len(clips):
            continue
        answers = understand(model, clips, among=seen, transcribe=model.head.decodes, limit=limit)
        row: Row = {
            "split": name,
            "stage": stage + 1,
            "new": " + ".join(data.classes[label] for label in tasks[stage]),
            "seen": len(seen),
            "clips": len(clips),
            **figures(clips.labels, answers.intents),
            **(of_texts(answers.texts, clips) if answers.texts is not None else {}),
        }
        for number, task in enumerate(tasks[: stage + 1], 1):
            mine = torch.isin(clips.labels, torch.tensor(list(task)))
            if not mine.any():
                continue
            row[f"task {number}"] = float((answers.intents == clips.labels)[mine].double().mean())
        rows.append(row)
    return rows


def stage_figures(rows: Sequence[Row], split_name: str) -> dict[str, float]:
    """Average and last accuracies, forgetting and the average word error rate over a training's stages; {} of no stages.

    >>> rows = [
    ...     {"split": "test", "stage": 1, "accuracy": 1.0, "balanced_accuracy": 1.0, "task 1": 1.0},
    ...     {"split": "test", "stage": 2, "accuracy": 0.5, "balanced_accuracy": 0.6, "task 1": 0.2, "task 2": 1.0},
    ... ]
    >>> stage_figures(rows, "test")["average_accuracy"], stage_figures(rows, "test")["forgetting"]
    (0.75, 0.8)
    """
    mine = sorted((row for row in rows if row["split"] == split_name), key=lambda row: row["stage"])
    if not mine:
        return {}
    last, result = mine[-1], {}
    for name in ("accuracy", "balanced_accuracy"):
        result[f"average_{name}"] = float(np.mean([row[name] for row in mine]))
        result[f"last_{name}"] = float(last[name])
    lost = []
    for name in (name for name in last if name.startswith("task ")):
        before = [row[name] for row in mine[:-1] if name in row]
        lost += [max(before) - last[name]] if before else []
    result["forgetting"] = float(np.mean(lost)) if lost else 0.0
    if "wer" in last:
        result["average_wer"] = float(np.mean([row["wer"] for row in mine]))
    return result


def understood(subject: Subject[Understanding, Audio]) -> dict[str, float]:
    """Figures over all intents; those of a training's stages are ``stage_figures``."""
    model, part, data = subject.model, subject.part, subject.data
    answers = understand(model, part, transcribe=model.head.decodes)
    truth, predicted = part.labels.numpy(), answers.intents.numpy()
    return {
        "macro_f1": macro_f1(truth, predicted, len(data.classes)),
        **figures(part.labels, answers.intents),
        **(of_texts(answers.texts, part) if answers.texts is not None else {}),
    }


MEASUREMENTS: tuple[Measurement[Any, Audio], ...] = (
    Measurement(applies=is_a(Understanding), measure=understood),
)
