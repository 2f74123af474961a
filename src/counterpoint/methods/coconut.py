"""COCONUT (arXiv 2310.02699): new intents learnt task by task, old ones kept by contrast with the model as it was.

    L = L_ASR + lambda_MM L_MM + lambda_NSPT L_NSPT        (the last term from the second task on)

A small memory is replayed beside the new clips. For a replayed clip the frozen previous model says where its class was (the
positives), the model at hand says what comes near (the negatives); new clips are tied to their transcripts. Distillation of
what the decoder says can be added. With both weights 0 it is experience replay; without memory, plain fine-tuning.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from counterpoint.data.audio.load import Audio, Clips
from counterpoint.errors import CounterpointError, nearest
from counterpoint.evaluation.speech import vectors
from counterpoint.evaluation.understanding import stage_rows
from counterpoint.generation.beam import own_words
from counterpoint.kernels.vocabulary import log_probs
from counterpoint.methods.base import Method, Search
from counterpoint.models.audio.lexicon import Lexicon
from counterpoint.models.audio.projections import ProjectedStudent
from counterpoint.models.audio.understanding import with_head
from counterpoint.objectives.distillation.continual import (
    audio_text_contrast,
    distillation_share,
    old_class_distillation,
    replayed_contrast,
    replayed_share,
    token_distillation,
)
from counterpoint.objectives.distillation.matching import feature_distance
from counterpoint.objectives.labels.intent_classification import intent_loss
from counterpoint.objectives.reduction import Loss
from counterpoint.objectives.tokens import aggregate
from counterpoint.pairs.exemplars import ReplayMemory, Selection, capacity, class_order
from counterpoint.pairs.mel_cache import cached_bands
from counterpoint.pairs.rehearsal import Mixed, targets
from counterpoint.teachers.copies import on_rows
from counterpoint.teachers.past import Past
from counterpoint.training import Optimizer, Run
from counterpoint.training.distributed import gather_tensors

KINDS = ("tokens", "sequence", "audio", "classes", "replayed-classes")


@dataclass
class ReplaySettings:
    """Clips of earlier classes that are replayed.

    Attributes:
        size: a share of the training clips, or a number of clips from 1 on; 0 keeps none.
        selection: which: "random", "herding" or "nearest" to the class mean.
        replay_share: repeat the memory until it is at least this share of a stage's clips; 0 shows it once per pass.
    """

    size: float = 0.01
    selection: Selection = "random"
    replay_share: float = 0.0


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


@dataclass(kw_only=True)
class Coconut(Method[nn.Module, Audio]):
    """Settings of COCONUT; shapes: B clips of a batch, T tokens, D width of projections.

    Attributes:
        tasks: stages that the classes come in, in an order drawn from the seed; 1 is joint training, the upper bound.
        head: "decoder" says intent and transcript; "classifier" the intent alone.
        memory, contrast, multimodal, distillation: the mechanisms.
        temperature: tau of both contrasts.
        longest: longest target in tokens; the rest of a longer transcript is not learnt.
        batch_size, epochs, weight_decay: AdamW per stage, new and kept clips mixed.
        learning_rate: None is 5e-5 for a pretrained encoder, 1e-3 for the small one.
    """

    key: ClassVar[str] = "coconut"
    search: ClassVar[Search] = {
        "learning_rate": (3e-4, 3e-3),
        "contrast.weight": [0.05, 0.1, 0.5],
    }
    moved: ClassVar[dict[str, str]] = {
        "selection": "memory.selection",
        "replay_share": "memory.replay_share",
        "self_positive": "contrast.self_positive",
        "self_negative": "contrast.self_negative",
        "beams": "distillation.beams",
    }

    tasks: int = 6
    head: Literal["decoder", "classifier"] = "decoder"
    memory: ReplaySettings = field(default_factory=ReplaySettings)
    contrast: ReplayedContrast = field(default_factory=ReplayedContrast)
    multimodal: Multimodal = field(default_factory=Multimodal)
    distillation: Distillation = field(default_factory=Distillation)
    temperature: float = 0.1
    longest: int = 64
    batch_size: int = 32
    epochs: float = 30
    learning_rate: float | None = None
    weight_decay: float = 0.1

    def fit(self, model: nn.Module, data: Audio, run: Run) -> nn.Module:
        """Train stage by stage and return the encoder with its head; the table of the stages is reported."""
        self._check(data)
        data = cached_bands(model, data)
        tasks = class_order(len(data.classes), self.tasks, run.seed)
        lexicon = Lexicon.of(data.classes, data.train.texts)
        goals, cut = targets(lexicon, data.train, self.longest)
        if cut and (self.head == "decoder" or self.multimodal.weight):
            run.say(
                f"{cut} of {len(data.train)} transcripts are longer than longest={self.longest} tokens; their ends are not learnt"
            )
        understanding = with_head(model, self.head, lexicon, seed=run.seed)
        pretrained = hasattr(understanding.encoder, "freeze_front")
        if pretrained:  # convolutions over the waveform stay as they are
            understanding.encoder.freeze_front()  # type: ignore[operator]
        rate = self.learning_rate or (5e-5 if pretrained else 1e-3)
        student = run.state(model=ProjectedStudent(understanding, run.seed))
        memory, past = run.state(
            memory=ReplayMemory(
                capacity(self.memory.size, len(data.train), len(data.classes)), len(data.classes)
            ),
            past=Past(student),
        )
        for stage in run.rounds(len(tasks)):
            new = torch.isin(data.train.labels, torch.tensor(tasks[stage])).nonzero().squeeze(1)
            replayed_rows = memory.rows()
            if stage:
                run.once("teacher", partial(past.refresh, student))
            decoded: list[list[int]] | None = [] if stage and "sequence" in self._kinds() else None
            if decoded is not None and len(replayed_rows):
                decode = partial(
                    own_words, past.model.model, data.train, beams=self.distillation.beams, limit=self.longest
                )
                decoded = run.stage("decode", decode, over=replayed_rows.tolist(), size=64)
            source = Mixed(
                data.train, new, replayed_rows, goals, decoded=decoded, share=self.memory.replay_share
            )
            run.optimize(student, Optimizer(name="adamw", learning_rate=rate, weight_decay=self.weight_decay))
            for batch in run.batches(source, self.batch_size, epochs=self.epochs):
                run.step(self._losses(student, past, batch, tasks, stage, run))
            chosen = partial(memory.choose, tasks[stage], data.train.labels, self.memory.selection, run.seed)
            run.once("memory", partial(chosen, features=partial(_features, student.model, data.train)))
            measured = partial(stage_rows, student.model, data, tasks, stage, limit=self.longest)
            rows = run.stage("measure", measured)
            run.report(stages=rows)
            run.log(**{f"stage/{row['split']}": row["accuracy"] for row in rows})
        return student.model

    def _losses(
        self,
        student: ProjectedStudent,
        teacher: Past[ProjectedStudent],
        batch: Any,
        tasks: list[list[int]],
        stage: int,
        run: Run,
    ) -> dict[str, Loss]:
        """The named terms of a batch of new and replayed clips."""
        items, kinds = batch.items, self._kinds()
        head: Any = student.model.head
        scored = bool({"classes", "replayed-classes"} & set(kinds))
        replayed, labels, ids, mask = (items[name] for name in ("replayed", "labels", "ids", "mask"))
        seen = [label for part in tasks[: stage + 1] for label in part]
        before = [label for part in tasks[:stage] for label in part]
        more = {name: items[name] for name in ("decoded", "decoded_mask") if name in items}
        wanted = {"intents": scored, "states": "audio" in kinds}
        inputs = items["waves"], items["lengths"], ids
        out = run.forward(student, *inputs, **wanted, **more)
        label = intent_loss(head, out, labels, ids, mask, seen)
        terms = {"label": label}
        batch_of = partial(StudentTeacherBatch, items, out, seen=seen, before=before)
        if self.multimodal.weight:
            terms["multimodal"] = self._tied(batch_of(old={}))
        if not before:
            return terms
        # New clips mean nothing to the teacher; it is given them only where a form asks for it.
        every = self.contrast.kind == "ntpt" or "classes" in kinds
        needed = (self.contrast.kind != "student" and self.contrast.weight) or kinds
        index = torch.arange(len(labels), device=labels.device) if every else replayed.nonzero().squeeze(1)
        old = on_rows(index, partial(run.forward, teacher), *inputs, **wanted) if needed else {}
        both = batch_of(old=old)
        if self.contrast.weight:
            terms["contrast"] = self._contrasted(both, batch.offset)
        terms |= self._distilled(both, head, teacher.model.model.head)
        if scored:
            terms["classes"] = self._old_classes(both, batch.size, run)
            share = 0.0 if "audio" in kinds else terms["classes"].weight
            terms["label"] = Loss(label.values, label.counts, 1.0 - share)
        return terms

    def _tied(self, batch: StudentTeacherBatch) -> Loss:
        """Clips and their transcripts, against all ranks' clips."""
        new = ~batch.items["replayed"] if self.multimodal.clips == "new" else True
        rows = batch.out["audio"], batch.out["text"], batch.items["labels"], batch.items["transcribed"] & new
        all_ranks: Any = gather_tensors(rows, constant=(2, 3))
        loss = audio_text_contrast(*rows, temperature=self.temperature, candidates=all_ranks)
        return Loss(loss.values, loss.counts, self.multimodal.weight)

    def _contrasted(self, batch: StudentTeacherBatch, offset: int) -> Loss:
        """Replayed clips: the teacher's vectors of their class as positives."""
        z, labels = batch.out["projected"], batch.items["labels"]
        t = None if self.contrast.kind == "student" else batch.old["projected"]
        all_ranks: Any = gather_tensors((z, t, labels), constant=(1, 2))
        loss = replayed_contrast(
            z,
            labels,
            batch.items["replayed"],
            t,
            temperature=self.temperature,
            negatives="teacher" if self.contrast.kind == "ntpt" else "student",
            self_positive=self.contrast.self_positive and t is not None,
            self_negative=self.contrast.self_negative,
            candidates=all_ranks,
            offset=offset,
        )
        return Loss(loss.values, loss.counts, self.contrast.weight, loss.stats)

    def _distilled(self, batch: StudentTeacherBatch, head: Any, teacher_head: Any) -> dict[str, Loss]:
        """The teacher's distributions, transcripts and states of replayed clips."""
        items, out, old = batch.items, batch.out, batch.old
        again, losses = items["replayed"][:, None], {}
        if "tokens" in self._kinds():
            scores = teacher_head.scores(old["hidden"])
            losses["tokens"] = token_distillation(head.scores(out["hidden"]), scores, items["mask"] & again)
        if "sequence" in self._kinds():
            mask = items["decoded_mask"]
            losses["sequence"] = aggregate(
                -log_probs(head.scores(out["decoded"]), items["decoded"], mask=mask), mask
            )
        if "audio" in self._kinds():
            frames = out["frames"] & again
            states = F.pad(old["states"], (0, 0, 0, frames.shape[1] - old["states"].shape[1]))
            losses["audio"] = aggregate(feature_distance(out["states"], states), frames)
        return {
            name: Loss(loss.values, loss.counts, self.distillation.weight) for name, loss in losses.items()
        }

    def _old_classes(self, batch: StudentTeacherBatch, size: int, run: Run) -> Loss:
        """The teacher's scores of the intents before this stage."""
        kl = old_class_distillation(
            batch.out["intents"][:, batch.seen], batch.old["intents"][:, batch.before]
        )
        if "classes" in self._kinds():
            return Loss(kl, weight=distillation_share(len(batch.seen), len(batch.before)))
        share = replayed_share(int(run.gather_constant(batch.items["replayed"]).sum()), size)
        again_B = batch.items["replayed"].to(kl.dtype)
        return Loss(kl * again_B, again_B, share)

    def _kinds(self) -> list[str]:
        return [name.strip() for name in self.distillation.kinds.split("+") if name.strip()]

    def _check(self, data: Audio) -> None:
        self.demand(above_zero=("temperature", "batch_size", "epochs", "learning_rate"))
        self.demand(
            not_negative=("contrast.weight", "multimodal.weight", "distillation.weight", "weight_decay")
        )
        for name in self._kinds():
            if name not in KINDS:
                raise CounterpointError(
                    f"distillation.kinds='{self.distillation.kinds}': no kind '{name}'; {nearest(name, KINDS)}"
                )
        if self.head == "classifier" and {"tokens", "sequence"} & set(self._kinds()):
            raise CounterpointError(
                f"distillation.kinds='{self.distillation.kinds}' distils a decoder's tokens and head='classifier' has no decoder; use "
                "head=decoder, or distillation.kinds=classes, replayed-classes or audio"
            )
        if self.multimodal.weight and not any(data.train.texts):
            raise CounterpointError(
                f"{data.name} has no transcripts, which multimodal.weight={self.multimodal.weight} ties to the audio; name their "
                "column with --data-option text=COLUMN, or set multimodal.weight=0"
            )
        if not 0 <= self.memory.replay_share < 1:
            raise CounterpointError(
                f"memory.replay_share={self.memory.replay_share}; expected 0 or a share below 1"
            )
        if self.distillation.beams < 1 or self.longest < 2:
            raise CounterpointError(
                f"distillation.beams={self.distillation.beams}, longest={self.longest}; expected at least 1 beam and 2 tokens"
            )


def _features(model: nn.Module, clips: Clips, rows: Tensor) -> Tensor:
    return vectors(model, clips.subset(rows))[0]
