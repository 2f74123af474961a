"""What keeps old classes while new ones are learnt: contrast with the model as it was, transcripts, and distillation of its head.

Each is a small group of settings and the function that turns a batch into its term. Shapes: B clips of a batch, T tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor
from torch.nn import functional as F

from counterpoint.kernels.vocabulary import log_probs
from counterpoint.objectives.distillation.continual import (
    audio_text_contrast,
    distillation_share,
    old_class_distillation,
    replayed_contrast,
    replayed_share,
    token_distillation,
)
from counterpoint.objectives.distillation.matching import feature_distance
from counterpoint.objectives.reduction import Loss
from counterpoint.objectives.tokens import aggregate
from counterpoint.training import Run
from counterpoint.training.distributed import gather_tensors

KINDS = ("tokens", "sequence", "audio", "classes", "replayed-classes")


@dataclass
class ReplayedContrast:
    """Replayed clips by the previous model's vectors (NSPT).

    Attributes:
        kind: "nspt"; "ntpt", the teacher's vectors as negatives, too; "student", without a teacher.
        weight: lambda_NSPT; 0 is off.
        self_positive, self_negative: a clip's own teacher vector is a positive; its own vector stands in the denominator.
    """

    kind: Literal["nspt", "ntpt", "student"] = "nspt"
    weight: float = 0.1
    self_positive: bool = True
    self_negative: bool = True


@dataclass
class Multimodal:
    """Clips tied to their transcripts.

    Attributes:
        clips: "new" ones or "all". weight: lambda_MM; 0 is off.
    """

    clips: Literal["new", "all"] = "new"
    weight: float = 0.1


@dataclass
class Distillation:
    """What the previous model's head gives, learnt again.

    Attributes:
        kinds: joined by "+", "" is none. Of replayed clips: "tokens" (the teacher's distributions), "sequence" (its own decoded
            transcripts), "audio" (its states), "replayed-classes" (its scores of old intents, weighed by how many clips are
            replayed); of all clips: "classes" (weighed by how many intents are old).
        weight: of "tokens", "sequence" and "audio".
        beams: of the decoding for "sequence".
    """

    kinds: str = ""
    weight: float = 1.0
    beams: int = 4

    def names(self) -> list[str]:
        """The kinds, one by one."""
        return [name.strip() for name in self.kinds.split("+") if name.strip()]


@dataclass(frozen=True)
class StudentTeacherBatch:
    """A batch of clips: what it holds, what the student makes of it, and what the teacher does; zeros where it is not asked.

    Attributes:
        items: of the batch. out, old: named tensors of student and teacher. seen, before: intents up to this stage, and
            before it.
    """

    items: dict[str, Tensor]
    out: dict[str, Tensor]
    old: dict[str, Tensor]
    seen: list[int]
    before: list[int]


def tied(batch: StudentTeacherBatch, how: Multimodal, temperature: float) -> Loss:
    """Clips and their transcripts, against all ranks' clips."""
    new = ~batch.items["replayed"] if how.clips == "new" else True
    rows = batch.out["audio"], batch.out["text"], batch.items["labels"], batch.items["transcribed"] & new
    all_ranks: Any = gather_tensors(rows, constant=(2, 3))
    loss = audio_text_contrast(*rows, temperature=temperature, candidates=all_ranks)
    return Loss(loss.values, loss.counts, how.weight)


def contrasted(batch: StudentTeacherBatch, how: ReplayedContrast, temperature: float, offset: int) -> Loss:
    """Replayed clips: the teacher's vectors of their class as positives."""
    z, labels = batch.out["projected"], batch.items["labels"]
    t = None if how.kind == "student" else batch.old["projected"]
    all_ranks: Any = gather_tensors((z, t, labels), constant=(1, 2))
    loss = replayed_contrast(
        z,
        labels,
        batch.items["replayed"],
        t,
        temperature=temperature,
        negatives="teacher" if how.kind == "ntpt" else "student",
        self_positive=how.self_positive and t is not None,
        self_negative=how.self_negative,
        candidates=all_ranks,
        offset=offset,
    )
    return Loss(loss.values, loss.counts, how.weight, loss.stats)


def distilled(batch: StudentTeacherBatch, how: Distillation, head: Any, teacher_head: Any) -> dict[str, Loss]:
    """The teacher's distributions, transcripts and states of replayed clips."""
    items, out, old, kinds = batch.items, batch.out, batch.old, how.names()
    again, losses = items["replayed"][:, None], {}
    if "tokens" in kinds:
        scores = teacher_head.scores(old["hidden"])
        losses["tokens"] = token_distillation(head.scores(out["hidden"]), scores, items["mask"] & again)
    if "sequence" in kinds:
        mask = items["decoded_mask"]
        losses["sequence"] = aggregate(
            -log_probs(head.scores(out["decoded"]), items["decoded"], mask=mask), mask
        )
    if "audio" in kinds:
        frames = out["frames"] & again
        states = F.pad(old["states"], (0, 0, 0, frames.shape[1] - old["states"].shape[1]))
        losses["audio"] = aggregate(feature_distance(out["states"], states), frames)
    return {name: Loss(loss.values, loss.counts, how.weight) for name, loss in losses.items()}


def old_classes(batch: StudentTeacherBatch, how: Distillation, size: int, run: Run) -> Loss:
    """The teacher's scores of the intents before this stage."""
    kl = old_class_distillation(batch.out["intents"][:, batch.seen], batch.old["intents"][:, batch.before])
    if "classes" in how.names():
        return Loss(kl, weight=distillation_share(len(batch.seen), len(batch.before)))
    share = replayed_share(int(run.gather_constant(batch.items["replayed"]).sum()), size)
    again_B = batch.items["replayed"].to(kl.dtype)
    return Loss(kl * again_B, again_B, share)
