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

from counterpoint.data.audio.load import Audio, Clips
from counterpoint.errors import CounterpointError, nearest
from counterpoint.evaluation.speech import vectors
from counterpoint.evaluation.understanding import stage_rows
from counterpoint.generation.beam import own_words
from counterpoint.methods.base import Ablations, Method, Search
from counterpoint.models.audio.lexicon import Lexicon
from counterpoint.models.audio.projections import ProjectedStudent
from counterpoint.models.audio.understanding import with_head
from counterpoint.objectives.labels.intent_classification import intent_loss
from counterpoint.objectives.reduction import Loss
from counterpoint.pairs.exemplars import ReplayMemory, Selection, capacity, class_order
from counterpoint.pairs.mel_cache import cached_bands
from counterpoint.pairs.rehearsal import Mixed, targets
from counterpoint.phases.old_classes import (
    KINDS,
    Distillation,
    Multimodal,
    ReplayedContrast,
    StudentTeacherBatch,
    contrasted,
    distilled,
    old_classes,
    tied,
)
from counterpoint.teachers.copies import on_rows
from counterpoint.teachers.past import Past
from counterpoint.training import Optimizer, Run


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
    ablations: ClassVar[Ablations] = {
        "without contrast": {"contrast.weight": 0.0},
        "not its own positive": {"contrast.self_positive": False},
        "not its own negative": {"contrast.self_negative": False},
        "negatives of the student": {"contrast.kind": "student"},
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
        self.check(data)
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
            decoded: list[list[int]] | None = (
                [] if stage and "sequence" in self.distillation.names() else None
            )
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
        items, kinds = batch.items, self.distillation.names()
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
            terms["multimodal"] = tied(batch_of(old={}), self.multimodal, self.temperature)
        if not before:
            return terms
        # New clips mean nothing to the teacher; it is given them only where a form asks for it.
        every = self.contrast.kind == "ntpt" or "classes" in kinds
        needed = (self.contrast.kind != "student" and self.contrast.weight) or kinds
        index = torch.arange(len(labels), device=labels.device) if every else replayed.nonzero().squeeze(1)
        old = on_rows(index, partial(run.forward, teacher), *inputs, **wanted) if needed else {}
        both = batch_of(old=old)
        if self.contrast.weight:
            terms["contrast"] = contrasted(both, self.contrast, self.temperature, batch.offset)
        terms |= distilled(both, self.distillation, head, teacher.model.model.head)
        if scored:
            terms["classes"] = old_classes(both, self.distillation, batch.size, run)
            share = 0.0 if "audio" in kinds else terms["classes"].weight
            terms["label"] = Loss(label.values, label.counts, 1.0 - share)
        return terms

    def check(self, data: Audio) -> None:
        """Refuse settings that contradict each other or the data."""
        self.demand(above_zero=("temperature", "batch_size", "epochs", "learning_rate"))
        self.demand(
            not_negative=("contrast.weight", "multimodal.weight", "distillation.weight", "weight_decay")
        )
        for name in self.distillation.names():
            if name not in KINDS:
                raise CounterpointError(
                    f"distillation.kinds='{self.distillation.kinds}': no kind '{name}'; {nearest(name, KINDS)}"
                )
        if self.head == "classifier" and {"tokens", "sequence"} & set(self.distillation.names()):
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
