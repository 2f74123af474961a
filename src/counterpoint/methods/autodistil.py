"""AutoDistil (arXiv 2201.12507): students of many sizes are distilled at once in a few super-networks, and the best under a cost is cut out.

    W*_k = argmin E_{a ~ A_k} L(W_a; teacher),    a* = argmin_{a in A_1..K, cost(a) < c} L(W*_a; held out)

L compares the relations among tokens of the last layers of student and teacher, so no labels are needed and any width will do. One
super-network a compact space of architectures, each step on its largest, its smallest and two random parts (the sandwich rule).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from counterpoint.data.text.load import Texts
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.probe import linear_probe
from counterpoint.methods.base import Ablations, Method, Search
from counterpoint.models.text import folder as text_folder
from counterpoint.models.text.elastic.architecture import Architecture, Sizes, Space, space_of
from counterpoint.models.text.elastic.super_network import cut, part_of, sizes_of, whole
from counterpoint.models.text.encoder import Coded, coded, encoder_of, pooled
from counterpoint.models.text.transformer import TransformerText, open_transformer
from counterpoint.objectives.distillation.relations import relation_loss
from counterpoint.phases.distillation.text_rows import Both, cost
from counterpoint.training import Optimizer, Run


@dataclass
class Choice:
    """Which student is cut out.

    Attributes:
        by: "agnostic" takes the least relation loss on held-out texts, "proxy" the best probe of labels.
        candidates: those of least loss that are probed; 0 probes all.
        cost: what is limited, "operations" or "parameters".
        share: the limit, as a part of the teacher's.
        formula: "paper" counts as its tables do, "exact" what there is.
        texts: held-out texts that the loss is measured on, at most.
    """

    by: Literal["agnostic", "proxy"] = "agnostic"
    cost: Literal["operations", "parameters"] = "operations"
    share: float = 0.5
    formula: Literal["paper", "exact"] = "paper"
    candidates: int = 16
    texts: int = 256


@dataclass
class Training:
    """Of each super-network, by AdamW with a rate that falls linearly.

    Attributes:
        batch_size, epochs, learning_rate, weight_decay, max_grad_norm: of it.
    """

    batch_size: int = 128
    epochs: float = 10
    learning_rate: float = 4e-5
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0


@dataclass(kw_only=True)
class AutoDistil(Method[nn.Module, Texts]):
    """Settings of AutoDistil; shapes: B texts, L tokens.

    Attributes:
        teacher: a BERT encoder's folder or bundled name, with the tokenizer of the model the super-networks start from.
        spaces: of architectures, one super-network each: the paper's "base", "small", "tiny" (of 12 layers of 768), or sizes written
            out, as in "layers=3-4 width=96-128/16 ratio=2-4 heads=9-12".
        draws: random parts that a step trains beside the largest and the smallest.
        relation: "softmax" compares relations as the paper's equations, "raw" scores before the softmax, as its program.
        choice, training: see there.
    """

    key: ClassVar[str] = "autodistil"
    search: ClassVar[Search] = {"training.learning_rate": (1e-5, 1e-3)}
    ablations: ClassVar[Ablations] = {
        "relations before the softmax": {"relation": "raw"},
        "one space": {"spaces": ("base",)},
        "largest and smallest alone": {"draws": 0},
        "chosen by a probe": {"choice.by": "proxy"},
    }

    teacher: str = "minilm-l6"
    spaces: tuple[str, ...] = ("base", "small", "tiny")
    draws: int = 2
    relation: Literal["softmax", "raw"] = "softmax"
    choice: Choice = field(default_factory=Choice)
    training: Training = field(default_factory=Training)

    def __post_init__(self) -> None:
        """Refuse what no search can have."""
        super().__post_init__()
        self.demand(above_zero=("choice.share", "choice.texts", "training.max_grad_norm"))
        if not self.spaces:
            raise CounterpointError(f"{self.key}: spaces=(); name at least one, such as spaces=('tiny',)")

    def fit(self, model: nn.Module, data: Texts, run: Run) -> nn.Module:
        """Train a super-network a space, measure all its parts, and return the chosen one as an encoder of its own."""
        start, teacher = bert(model), run.constant(self._teacher())
        sizes, rows = sizes_of(start), self._rows(start, teacher, data)
        spaces, heads = [space_of(text, sizes) for text in self.spaces], sizes_of(teacher).heads
        for text, space in zip(self.spaces, spaces, strict=True):
            if min(space.heads) * sizes.head < heads:
                raise CounterpointError(
                    f"space '{text}': {min(space.heads)} heads of {sizes.head} are {min(space.heads) * sizes.head} features, and the teacher's "
                    f"{heads} relation heads need one each; give more heads"
                )
        limit = self.choice.share * whole(sizes_of(teacher), teacher.net).cost(
            sizes_of(teacher), self.choice.cost, self.choice.formula
        )
        if not [a for a in parts_of(spaces) if self._cost(a, sizes) < limit]:
            raise CounterpointError(
                f"no student of spaces {', '.join(self.spaces)} has less than {limit:.3g} {self.choice.cost}, a share of {self.choice.share} "
                "of the teacher's; give a larger choice.share, or smaller spaces"
            )
        supers: list[TransformerText] = [
            run.state(**{f"super_{k}": bert(text_copy(start)).train()}) for k in range(len(spaces))
        ]
        for r in run.rounds(len(spaces)):
            self._train(supers[r], spaces[r], teacher, rows, run)
        table = self._measured(supers, spaces, teacher, data, limit, run)
        best = self._chosen(table)
        student = cut(supers[int(best["super"])], spaces_part(spaces, best)).to(run.device)
        both = self._rows(student, teacher, data)
        run.report(
            students=[row for row in table],
            relation_loss=float(best["relation_loss"]),
            students_measured=float(len(table)),
            **cost("teacher", teacher, both.teacher),
            **cost("student", student, both.student),
        )
        return student

    def _teacher(self) -> TransformerText:
        path = Path(self.teacher)
        return bert(text_folder.load(path) if path.is_dir() else open_transformer(self.teacher))

    def _rows(self, student: Any, teacher: Any, data: Texts) -> Both:
        """Training texts, labels unread, as both models read them."""
        part = data.train
        rows = Both(*(coded(m, part.texts, part.targets, part.labelled) for m in (student, teacher)))
        if not rows.alike:
            raise CounterpointError(
                f"relations are compared token by token, and {self.teacher} cuts texts into other tokens than the model; give "
                f"--model {self.teacher}, or a BERT with its tokenizer"
            )
        return rows

    def _train(
        self, net: TransformerText, space: Space, teacher: TransformerText, rows: Both, run: Run
    ) -> None:
        """The sandwich rule: gradients of the largest, the smallest and random parts add up."""
        how = self.training
        run.optimize(net, Optimizer(
            name="adamw", learning_rate=how.learning_rate, weight_decay=how.weight_decay, schedule="linear",
            max_grad_norm=how.max_grad_norm,
        ))  # fmt: skip
        for batch in run.batches(rows, how.batch_size, epochs=how.epochs):
            ids, mask = as_long_everywhere(batch.items.student, net.pad_id, run)
            with torch.no_grad():
                target = run.forward(part_of, teacher, ids, mask)
            terms = {
                name: self._loss(run.forward(part_of, net, ids, mask, part), target, mask, teacher)
                for name, part in self.sandwich(space, run.seed, batch.step).items()
            }
            run.step(terms)

    def sandwich(self, space: Space, seed: int, step: int) -> dict[str, Architecture]:
        """The parts that a step trains: the same on every process."""
        largest, smallest = space.extremes
        between = space.between()
        draw = random.Random(f"autodistil/{seed}/{step}")
        drawn = draw.sample(between, min(self.draws, len(between)))
        return {"largest": largest, "smallest": smallest, **{f"random_{i}": a for i, a in enumerate(drawn)}}

    def _loss(
        self, mine: Sequence[Tensor], theirs: Sequence[Tensor], mask: Tensor, teacher: TransformerText
    ) -> Tensor:
        """[B] of what ``part_of`` gave of both."""
        return relation_loss(mine[1:], theirs[1:], mask, sizes_of(teacher).heads, self.relation)

    def _cost(self, part: Architecture, sizes: Sizes) -> float:
        return part.cost(sizes, self.choice.cost, self.choice.formula)

    @torch.no_grad()
    def _measured(
        self,
        supers: list[TransformerText],
        spaces: list[Space],
        teacher: TransformerText,
        data: Texts,
        limit: float,
        run: Run,
    ) -> list[dict[str, float | str]]:
        """A row a student: its sizes, costs by both formulas, relation loss on held-out texts, accuracy where it was probed."""
        held = data.validation if len(data.validation) else data.train
        count, sizes = min(self.choice.texts, len(held)), sizes_of(supers[0])
        rows = coded(teacher, held.texts[:count], held.targets[:count], held.labelled[:count])
        table: list[dict[str, float | str]] = []
        for k, (net, space) in enumerate(zip(supers, spaces, strict=True)):
            net.eval()
            for part in space:
                table.append({
                    "space": self.spaces[k], "super": k, "layers": part.layers, "width": part.width,
                    "ratio": float(part.ratio), "heads": part.heads,
                    "million_weights": part.parameters(sizes) / 1e6, "exact_million_weights": part.parameters(sizes, "exact") / 1e6,
                    "gigaflops": part.operations(sizes) / 1e9, "exact_gigaflops": part.operations(sizes, "exact") / 1e9,
                    "affordable": float(self._cost(part, sizes) < limit),
                })  # fmt: skip

            def body(net: TransformerText = net, space: Space = space) -> list[float]:
                return [self._held_out(net, part, teacher, rows, run) for part in space]

            losses = run.stage(f"losses-{k}", body)
            for row, loss in zip(table[-len(losses) :], losses, strict=True):
                row["relation_loss"] = loss
        if self.choice.by == "proxy":
            few = sorted((row for row in table if row["affordable"]), key=lambda row: row["relation_loss"])
            for i, row in enumerate(few[: self.choice.candidates or None]):
                net, part = supers[int(row["super"])], spaces_part(spaces, row)

                def probe(net: TransformerText = net, part: Architecture = part) -> float:
                    return self._probed(net, part, data, run)

                row["accuracy"] = run.stage(f"proxy-{i}", probe)
        return table

    def _held_out(
        self, net: TransformerText, part: Architecture, teacher: TransformerText, rows: Coded, run: Run
    ) -> float:
        """Mean relation loss over held-out texts."""
        total = 0.0
        for first in range(0, len(rows), 64):
            batch = rows[torch.arange(first, min(first + 64, len(rows)))]
            ids, mask = batch.ids.to(run.device), batch.mask.to(run.device)
            target = part_of(teacher, ids, mask)
            total += float(self._loss(part_of(net, ids, mask, part), target, mask, teacher).sum())
        return total / len(rows)

    def _probed(self, net: TransformerText, part: Architecture, data: Texts, run: Run) -> float:
        """Validation accuracy of a linear probe of the labels on a student's sentence vectors."""
        sets = []
        for split in (data.train, data.validation):
            texts = split.with_labels()
            if not len(texts):
                raise CounterpointError(
                    f"choice.by=proxy probes labels, and {data.name} has none in training or validation; give labels, or choice.by=agnostic"
                )
            rows, vectors = coded(net, texts.texts, texts.targets, texts.labelled), []
            for first in range(0, len(rows), 64):
                batch = rows[torch.arange(first, min(first + 64, len(rows)))]
                ids, mask = batch.ids.to(run.device), batch.mask.to(run.device)
                vectors.append(pooled(part_of(net, ids, mask, part).states, mask).cpu())
            sets.append((torch.cat(vectors).double().numpy(), np.asarray(rows.targets.argmax(1))))
        return linear_probe(sets[0], sets[1], sets[1]).validation

    def _chosen(self, table: list[dict[str, float | str]]) -> dict[str, float | str]:
        """The affordable student of least loss, or of the best probe."""
        there = [row for row in table if row["affordable"]]
        if self.choice.by == "proxy":
            return max((row for row in there if "accuracy" in row), key=lambda row: row["accuracy"])
        return min(there, key=lambda row: row["relation_loss"])


def as_long_everywhere(rows: Coded, pad_id: int, run: Run) -> tuple[Tensor, Tensor]:
    """[B, L] ids and mask as long as the longest of all processes: a relation's mean is over padding, too."""
    length = rows.ids.shape[1]
    if run.world > 1:
        lengths = run.gather_constant(torch.full((1,), length, device=rows.ids.device))
        length = int(lengths.max())
    more = (0, length - rows.ids.shape[1])
    return pad(rows.ids, more, value=pad_id), pad(rows.mask, more)


def bert(model: nn.Module) -> TransformerText:
    """The encoder of a model, which must be a BERT."""
    encoder = encoder_of(model)
    sizes_of(encoder)
    assert isinstance(encoder, TransformerText)
    return encoder


def text_copy(encoder: TransformerText) -> TransformerText:
    """A copy to train."""
    import copy

    return copy.deepcopy(encoder)


def parts_of(spaces: list[Space]) -> list[Architecture]:
    """All students of all spaces."""
    return [part for space in spaces for part in space]


def spaces_part(spaces: list[Space], row: dict[str, float | str]) -> Architecture:
    """The student of a row of the table."""
    sizes = [int(row[name]) for name in ("layers", "width", "heads")]
    for part in spaces[int(row["super"])]:
        if [part.layers, part.width, part.heads] == sizes and float(part.ratio) == row["ratio"]:
            return part
    raise AssertionError(row)
