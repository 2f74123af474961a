"""QCRD: a student learns a teacher's good rationales and unlearns bad ones, weighted by a judge (arXiv 2405.13014).

A teacher writes several rationales to each problem; those whose answer most agree on are good, the others bad, and so is what
the student itself wrote some epochs ago, hot. With l(r) the mean token cross-entropy of a rationale and s its score by a judge
that is trained beside the student,

    L = a1 L_predict + a2 (s+ min_j l(r_j+) - beta (1 - s-) max_j min(l(r_j-) - delta, 0)) + a3 L_judge   (eq. 2-8).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from counterpoint.conversation import Prompt
from counterpoint.data.language.problems import Problem, ProblemData
from counterpoint.data.language.prompted import origin_of
from counterpoint.errors import CounterpointError
from counterpoint.generation.sampler import Sampler, row_draws
from counterpoint.generation.samplers import Own, Source
from counterpoint.judges.majority import by_vote
from counterpoint.methods.base import Ablations, Method, Search
from counterpoint.methods.optimization import Constant
from counterpoint.models.language.language import Language
from counterpoint.models.language.rationale_judge import RationaleJudge
from counterpoint.objectives.distillation import rationales
from counterpoint.pairs.demonstrations import check_template, with_demonstration
from counterpoint.pairs.rationales import Recent, spoilt
from counterpoint.phases.rationales import Rationales, entropies, predicted, valid, written
from counterpoint.training import Run

SHARD = 16
"""Problems of a durable shard of sampling."""
MEASURED = 200
"""Training problems that the cross-entropy of rationales is measured on in the end."""


@dataclass
class Negatives:
    """Bad rationales.

    Attributes:
        beta: their weight; 0 leaves them out. margin: delta, the cross-entropy a token up to which they are pushed.
        minority: the teacher's whose answer is not the majority's. own: the student's own.
        back: how many epochs ago the student wrote them. temperature: of that sampling.
        choose: which of a problem's counts after the margin: "max" (the paper's), "min" or "mean".
    """

    beta: float = 0.2
    margin: float = 3.0
    minority: bool = True
    own: bool = True
    back: int = 5
    temperature: float = 1.5
    choose: rationales.Choice = "max"


@dataclass
class Judging:
    """The judge beside the student.

    Attributes:
        weight: a3; 0 does without a judge. decay: what is left of it after an epoch.
        steps: of training on the teacher's rationales, before the student's.
        every: epochs between those in which it goes on learning.
        form: of its loss: "nce", or "ratio" as printed.
        learning_rate: of the judge.
    """

    weight: float = 0.5
    decay: float = 0.9
    steps: int = 500
    every: int = 1
    form: rationales.Form = "nce"
    learning_rate: float = 1e-4


@dataclass(kw_only=True)
class QCRD(Method[Language, ProblemData]):
    """Contrastive rationale distillation.

    Attributes:
        predict_weight, contrast_weight: a1 of the label, a2 of the rationales.
        negatives: bad rationales. judge: what weighs good and bad.
        labels: "gold" (the data's answers) or "voted" (the teacher's majority).
        predict, explain: the two tasks' prompts.
        teacher: who writes rationales; see ``phases.rationales``. sampler: kind=server asks a server instead of a model.
        max_new_tokens: longest rationale that the student writes.
        optimizer: how the student's weights move; learning_rate, batch_size (problems), epochs: of its training.
    """

    key: ClassVar[str] = "qcrd"
    search: ClassVar[Search] = {"learning_rate": (1e-5, 1e-3), "negatives.beta": [0.1, 0.2, 0.4]}
    ablations: ClassVar[Ablations] = {
        "without negatives": {"negatives.minority": False, "negatives.own": False},
        "without minority answers": {"negatives.minority": False},
        "without its own negatives": {"negatives.own": False},
    }

    predict_weight: float = 0.5
    contrast_weight: float = 0.5
    negatives: Negatives = field(default_factory=Negatives)
    judge: Judging = field(default_factory=Judging)
    labels: Literal["gold", "voted"] = "gold"
    predict: str = "{prompt}"
    explain: str = "Explain: {prompt}"
    teacher: Rationales = field(default_factory=Rationales)
    sampler: Source = field(default_factory=Source)
    max_new_tokens: int = 128
    optimizer: Constant = field(default_factory=Constant)
    learning_rate: float = 5e-5
    batch_size: int = 64
    epochs: float = 20.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.demand(above_zero=("negatives.margin", "negatives.temperature", "teacher.temperature"))
        for name in ("negatives.back", "judge.every", "teacher.samples", "max_new_tokens"):
            group, _, last = name.rpartition(".")
            if getattr(getattr(self, group) if group else self, last) < 1:
                raise CounterpointError(f"{self.key}: {name}=0; expected at least 1")
        for template in (self.predict, self.explain, self.teacher.template):
            check_template(template, "prompt")

    def fit(self, model: Language, data: ProblemData, run: Run) -> Language:
        """Collect rationales, vote, teach the judge, then the student; its answers are what is kept."""
        problems, negatives = data.train.rows, self.negatives
        texts = written(problems, self.teacher, self.sampler, model, run, self.key)
        voted = [by_vote(each) for each in texts]
        labels = self._labels(problems, [each.answer for each in voted])
        judge = RationaleJudge(model, seed=run.seed) if self.judge.weight else None
        model, recent = run.state(model=model, recent=Recent(negatives.back))
        if judge is not None:
            judge = run.state(judge=judge)
        good = [list(each.positive) for each in voted]
        bad = [list(each.negative) if negatives.minority else [] for each in voted]
        items = list(range(len(problems)))
        for phase in run.rounds(2):
            if judge is not None:
                run.optimize(judge, self.optimizer.at(self.judge.learning_rate), name="judge")
            if phase == 0:
                self._teach_judge(judge, problems, good, [list(each.negative) for each in voted], run)
                continue
            run.optimize(model, self.optimizer.at(self.learning_rate))
            for batch in run.batches(items, self.batch_size, epochs=self.epochs):
                if negatives.own and negatives.beta and recent.latest < batch.epoch:
                    recent.add(batch.epoch, self._own(model, problems, run, batch.epoch))
                own = recent.of(batch.epoch)
                prompts = [problems[at].prompt for at in batch.items]
                against = [bad[at] + ([own[at]] if own and own[at].strip() else []) for at in batch.items]
                towards = [good[at] for at in batch.items]
                scores: list[Tensor | None] = [None, None]
                there = [valid(each, model.head.weight) for each in (towards, against)]
                if judge is not None:
                    raw = [self._scores(judge, prompts, each, run) for each in (towards, against)]
                    scores = [each.detach() for each in raw]
                    if batch.epoch % self.judge.every == 0:
                        loss = rationales.judged(*raw, *there, form=self.judge.form)
                        weight = self.judge.weight * self.judge.decay**batch.epoch
                        run.step({"judge": replace(loss, weight=weight)}, optimizer="judge")
                to_explain = [with_demonstration(problems[at], "", self.explain) for at in batch.items]
                contrast = rationales.contrasted(
                    entropies(model, to_explain, towards, run),
                    entropies(model, to_explain, against, run),
                    *there,
                    positive_scores=scores[0],
                    negative_scores=scores[1],
                    beta=negatives.beta,
                    margin=negatives.margin,
                    choose_negative=negatives.choose,
                )
                answered = predicted(
                    model,
                    [with_demonstration(problems[at], "", self.predict) for at in batch.items],
                    [labels[at] for at in batch.items],
                    run,
                )
                run.step({
                    "predict": replace(answered, weight=self.predict_weight),
                    "contrast": replace(contrast, weight=self.contrast_weight),
                })  # fmt: skip
        self._report(model, judge, data, problems, good, bad, run)
        return model

    def _labels(self, problems: Sequence[Problem], votes: list[str]) -> list[str]:
        """What the student learns to answer."""
        labels = votes if self.labels == "voted" else [row.answer for row in problems]
        missing = [number for number, label in enumerate(labels) if not label]
        if missing:
            raise CounterpointError(
                f"{self.key}: {len(missing)} of {len(labels)} training problems have no answer to learn, first "
                f"{origin_of(problems, missing[0])}; give the data an 'answer' column, or set labels=voted"
            )
        return labels

    def _teach_judge(
        self,
        judge: RationaleJudge | None,
        problems: Sequence[Problem],
        good: list[list[str]],
        bad: list[list[str]],
        run: Run,
    ) -> None:
        """Good rationales against the minority's and good ones with spoilt words, since bad ones are rare."""
        if judge is None or not self.judge.steps:
            return
        rows = [at for at in range(len(problems)) if good[at]]
        epochs = self.judge.steps * self.batch_size / max(len(rows), 1)
        for batch in run.batches(rows, self.batch_size, epochs=epochs, name="judge"):
            draws = batch.random.uniform(1).squeeze(1).tolist()
            every = [text for at in batch.items for text in good[at]]
            worse = [
                bad[at] + [spoilt(text, every, draw + number) for number, text in enumerate(good[at])]
                for at, draw in zip(batch.items, draws)
            ]
            right = [good[at] for at in batch.items]
            prompts = [problems[at].prompt for at in batch.items]
            scores = [self._scores(judge, prompts, each, run) for each in (right, worse)]
            there = [valid(each, judge.body.head.weight) for each in (right, worse)]
            run.step({"judge": rationales.judged(*scores, *there, form=self.judge.form)}, optimizer="judge")
            if batch.step + 1 >= self.judge.steps:
                break

    def _scores(
        self, judge: RationaleJudge, prompts: Sequence[Prompt], texts: list[list[str]], run: Run
    ) -> Tensor:
        """The judge's scores in (0, 1), [B, K]; 0 where there is no rationale."""
        flat = [(prompt, text) for prompt, row in zip(prompts, texts) for text in row]
        there = valid(texts, judge.body.head.weight)
        table = torch.zeros(there.shape, device=there.device)
        if not flat:
            return table
        raw = run.forward(judge, *judge.body.rows([each for each, _ in flat], [each for _, each in flat]))
        return table.masked_scatter(there, raw.sigmoid().to(table))

    def _own(self, model: Language, problems: Sequence[Problem], run: Run, epoch: int) -> list[str]:
        """A rationale of the student as it is now to every problem, hot; a durable stage."""
        how = Sampler(max_new_tokens=self.max_new_tokens, temperature=self.negatives.temperature)

        def sampled(shard: Sequence[int]) -> list[str]:
            prompts = [with_demonstration(problems[at], "", self.explain) for at in shard]
            draws = row_draws(1000 * run.seed + epoch, shard, self.max_new_tokens)
            return model.texts(Own(model, how)(prompts, 1, draws))

        return run.stage("own", sampled, over=range(len(problems)), size=SHARD)

    @torch.no_grad()
    def _report(
        self,
        model: Language,
        judge: RationaleJudge | None,
        data: ProblemData,
        problems: Sequence[Problem],
        good: list[list[str]],
        bad: list[list[str]],
        run: Run,
    ) -> None:
        """Cross-entropy a token of the teacher's rationales after training, and whether the judge knows good from bad."""
        model.eval()
        figures: dict[str, Any] = {}
        to_explain = [with_demonstration(row, "", self.explain) for row in problems[:MEASURED]]
        for name, texts in (("positive", good), ("negative", bad)):
            total, count = 0.0, 0
            for start in range(0, len(to_explain), SHARD):
                part = texts[: len(to_explain)][start : start + SHARD]
                total += float(entropies(model, to_explain[start : start + SHARD], part, run).sum())
                count += sum(map(len, part))
            if count:
                figures[f"{name}_entropy"] = total / count
        held_out = [row for row in data.validation.rows if row.meta.get("rationales")]
        if judge is not None and held_out:
            judge.eval()
            voted = [by_vote(row.meta["rationales"]) for row in held_out]
            prompts = [row.prompt for row in held_out]
            both = [[list(each.positive) for each in voted], [list(each.negative) for each in voted]]
            right, wrong = (
                self._scores(judge, prompts, each, run)[valid(each, model.head.weight)] for each in both
            )
            if len(right) and len(wrong):
                over = (right[:, None] > wrong).double() + 0.5 * (right[:, None] == wrong).double()
                figures["judge_auc"] = float(over.mean())
        run.report(**figures)
