"""COCONUT (arXiv 2310.02699): new intents learnt task by task, old ones kept by contrast with the model as it was.

    L = L_ASR + lambda_MM L_MM + lambda_NSPT L_NSPT        (the last term from the second task on)

A small memory is replayed beside the new clips. For a replayed clip the frozen previous model says where its class was (the
positives), the model at hand says what comes near (the negatives); new clips are tied to their transcripts. Distillation of
what the decoder says can be added. With both weights 0 it is experience replay; without memory, plain fine-tuning.
"""

from __future__ import annotations

from dataclasses import dataclass
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
from counterpoint.methods.base import Method
from counterpoint.models.audio.lexicon import Lexicon
from counterpoint.models.audio.projections import Student
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
from counterpoint.pairs.mel_cache import heard_once
from counterpoint.pairs.rehearsal import Mixed, targets
from counterpoint.teachers.copies import on_rows
from counterpoint.teachers.past import Past
from counterpoint.training import Optimizer, Run
from counterpoint.training.distributed import everyone

KINDS = ("tokens", "sequence", "audio", "classes", "replayed-classes")


@dataclass(kw_only=True)
class Coconut(Method[nn.Module, Audio]):
    """Settings of COCONUT; shapes: B clips of a batch, T tokens, D width of projections.

    Attributes:
        tasks: stages that the classes come in, in an order drawn from the seed; 1 is joint training, the upper bound.
        head: "decoder" says intent and transcript; "classifier" the intent alone.
        memory: clips kept of earlier classes, as a share of the training clips, or a number from 1 on; 0 keeps none.
        selection: which: "random", "herding" or "nearest" to the class mean.
        replay_share: repeat the memory until it is at least this share of a stage's clips; 0 shows it once per pass.
        contrast: "nspt"; "ntpt", the teacher's vectors as negatives, too; "student", without a teacher.
        contrast_weight: lambda_NSPT; 0 is off.
        self_positive, self_negative: a clip's own teacher vector is a positive; its own vector stands in the denominator.
        multimodal: clips that are tied to their transcripts: "new" ones or "all".
        multimodal_weight: lambda_MM; 0 is off.
        temperature: tau of both contrasts.
        distillation: kinds joined by "+", "" is none. Of replayed clips: "tokens" (the teacher's distributions), "sequence"
            (its own decoded transcripts), "audio" (its states), "replayed-classes" (its scores of old intents, weighed by
            how many clips are replayed); of all clips: "classes" (weighed by how many intents are old).
        distillation_weight: of "tokens", "sequence" and "audio".
        beams: of the decoding for "sequence".
        longest: longest target in tokens; the rest of a longer transcript is not learnt.
        batch_size, epochs, weight_decay: AdamW per stage, new and kept clips mixed.
        learning_rate: None is 5e-5 for a pretrained encoder, 1e-3 for the small one.
    """

    key: ClassVar[str] = "coconut"
    search: ClassVar[dict[str, tuple[float, float] | list[Any]]] = {
        "learning_rate": (3e-4, 3e-3),
        "contrast_weight": [0.05, 0.1, 0.5],
    }

    tasks: int = 6
    head: Literal["decoder", "classifier"] = "decoder"
    memory: float = 0.01
    selection: Selection = "random"
    replay_share: float = 0.0
    contrast: Literal["nspt", "ntpt", "student"] = "nspt"
    contrast_weight: float = 0.1
    self_positive: bool = True
    self_negative: bool = True
    multimodal: Literal["new", "all"] = "new"
    multimodal_weight: float = 0.1
    temperature: float = 0.1
    distillation: str = ""
    distillation_weight: float = 1.0
    beams: int = 4
    longest: int = 64
    batch_size: int = 32
    epochs: float = 30
    learning_rate: float | None = None
    weight_decay: float = 0.1

    def fit(self, model: nn.Module, data: Audio, run: Run) -> nn.Module:
        """Train stage by stage and return the encoder with its head; the table of the stages is reported."""
        self._check(data)
        data = heard_once(model, data)
        tasks = class_order(len(data.classes), self.tasks, run.seed)
        lexicon = Lexicon.of(data.classes, data.train.texts)
        goals, cut = targets(lexicon, data.train, self.longest)
        if cut and (self.head == "decoder" or self.multimodal_weight):
            run.say(
                f"{cut} of {len(data.train)} transcripts are longer than longest={self.longest} tokens; their ends are not learnt"
            )
        understanding = with_head(model, self.head, lexicon, seed=run.seed)
        pretrained = hasattr(understanding.encoder, "freeze_front")
        if pretrained:  # convolutions over the waveform stay as they are
            understanding.encoder.freeze_front()  # type: ignore[operator]
        rate = self.learning_rate or (5e-5 if pretrained else 1e-3)
        student = run.state(model=Student(understanding, run.seed))
        memory, past = run.state(
            memory=ReplayMemory(capacity(self.memory, len(data.train), len(data.classes)), len(data.classes)),
            past=Past(student),
        )
        for stage in run.rounds(len(tasks)):
            new = torch.isin(data.train.labels, torch.tensor(tasks[stage])).nonzero().squeeze(1)
            kept = memory.rows()
            if stage:
                run.once("teacher", partial(past.refresh, student))
            said: list[list[int]] | None = [] if stage and "sequence" in self._kinds() else None
            if said is not None and len(kept):
                decode = partial(
                    own_words, past.model.model, data.train, beams=self.beams, limit=self.longest
                )
                said = run.stage("decode", decode, over=kept.tolist(), size=64)
            source = Mixed(data.train, new, kept, goals, said=said, share=self.replay_share)
            run.optimize(student, Optimizer(name="adamw", learning_rate=rate, weight_decay=self.weight_decay))
            for batch in run.batches(source, self.batch_size, epochs=self.epochs):
                run.step(self._losses(student, past, batch, tasks, stage, run))
            chosen = partial(memory.choose, tasks[stage], data.train.labels, self.selection, run.seed)
            run.once("memory", partial(chosen, features=partial(_features, student.model, data.train)))
            measured = partial(stage_rows, student.model, data, tasks, stage, limit=self.longest)
            rows = run.stage("measure", measured)
            run.report(stages=rows)
            run.log(**{f"stage/{row['split']}": row["accuracy"] for row in rows})
        return student.model

    def _losses(
        self,
        student: Student,
        teacher: Past[Student],
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
        asked = {name: items[name] for name in ("said", "said_mask") if name in items}
        wanted = {"intents": scored, "states": "audio" in kinds}
        heard = items["waves"], items["lengths"], ids
        out = run.forward(student, *heard, **wanted, **asked)
        label = intent_loss(head, out, labels, ids, mask, seen)
        terms = {"label": label}
        if self.multimodal_weight:
            chosen = items["told"] & (~replayed if self.multimodal == "new" else True)
            rows = out["audio"], out["text"], labels, chosen
            all_ranks: Any = everyone(rows, constant=(2, 3))
            loss = audio_text_contrast(*rows, temperature=self.temperature, candidates=all_ranks)
            terms["multimodal"] = Loss(loss.values, loss.counts, self.multimodal_weight)
        if not before:
            return terms
        # New clips mean nothing to the teacher; it hears them only where a form asks for it.
        every = self.contrast == "ntpt" or "classes" in kinds
        hears = (self.contrast != "student" and self.contrast_weight) or kinds
        place = torch.arange(len(labels), device=labels.device) if every else replayed.nonzero().squeeze(1)
        old = on_rows(place, partial(run.forward, teacher), *heard, **wanted) if hears else {}
        if self.contrast_weight:
            z, t = out["kept"], None if self.contrast == "student" else old["kept"]
            all_ranks = everyone((z, t, labels), constant=(1, 2))
            loss = replayed_contrast(
                z,
                labels,
                replayed,
                t,
                temperature=self.temperature,
                negatives="teacher" if self.contrast == "ntpt" else "student",
                self_positive=self.self_positive and t is not None,
                self_negative=self.self_negative,
                candidates=all_ranks,
                offset=batch.offset,
            )
            terms["contrast"] = Loss(loss.values, loss.counts, self.contrast_weight, loss.stats)
        weight, again = self.distillation_weight, replayed[:, None]
        if "tokens" in kinds:
            known = teacher.model.model.head.scores(old["hidden"])  # type: ignore[operator]
            loss = token_distillation(head.scores(out["hidden"]), known, mask & again)
            terms["tokens"] = Loss(loss.values, loss.counts, weight)
        if "sequence" in kinds:
            told = items["said_mask"]
            loss = aggregate(-log_probs(head.scores(out["said"]), items["said"], mask=told), told)
            terms["sequence"] = Loss(loss.values, loss.counts, weight)
        if "audio" in kinds:
            frames = out["frames"] & again
            states = F.pad(old["states"], (0, 0, 0, frames.shape[1] - old["states"].shape[1]))
            loss = aggregate(feature_distance(out["states"], states), frames)
            terms["audio"] = Loss(loss.values, loss.counts, weight)
        if scored:
            kl = old_class_distillation(out["intents"][:, seen], old["intents"][:, before])
            if "classes" in kinds:
                share = distillation_share(len(seen), len(before))
                terms["classes"] = Loss(kl, weight=share)
            else:
                share = replayed_share(int(run.gather_constant(replayed).sum()), batch.size)
                again_B = replayed.to(kl.dtype)
                terms["classes"] = Loss(kl * again_B, again_B, share)
            terms["label"] = Loss(label.values, label.counts, 1.0 if "audio" in kinds else 1.0 - share)
        return terms

    def _kinds(self) -> list[str]:
        return [name.strip() for name in self.distillation.split("+") if name.strip()]

    def _check(self, data: Audio) -> None:
        self.demand(above_zero=("temperature", "batch_size", "epochs", "learning_rate"))
        self.demand(
            not_negative=("contrast_weight", "multimodal_weight", "distillation_weight", "weight_decay")
        )
        for name in self._kinds():
            if name not in KINDS:
                raise CounterpointError(
                    f"distillation='{self.distillation}': no kind '{name}'; {nearest(name, KINDS)}"
                )
        if self.head == "classifier" and {"tokens", "sequence"} & set(self._kinds()):
            raise CounterpointError(
                f"distillation='{self.distillation}' distils what a decoder says and head='classifier' says nothing; use "
                "head=decoder, or distillation=classes, replayed-classes or audio"
            )
        if self.multimodal_weight and not any(data.train.texts):
            raise CounterpointError(
                f"{data.name} has no transcripts, which multimodal_weight={self.multimodal_weight} ties to the audio; name their "
                "column with text=COLUMN, or set multimodal_weight=0"
            )
        if not 0 <= self.replay_share < 1:
            raise CounterpointError(f"replay_share={self.replay_share}; expected 0 or a share below 1")
        if self.beams < 1 or self.longest < 2:
            raise CounterpointError(
                f"beams={self.beams}, longest={self.longest}; expected at least 1 beam and 2 tokens"
            )


def _features(model: nn.Module, clips: Clips, rows: Tensor) -> Tensor:
    return vectors(model, clips.subset(rows))[0]
