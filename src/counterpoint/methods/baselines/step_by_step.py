"""Distilling step-by-step: a student learns labels and, as a second task, a teacher's rationales (arXiv 2305.02301).

L = CE(label | predict prompt) + lambda CE(rationale | explain prompt), one rationale a problem. QCRD adds bad rationales, a choice
among good ones and a judge.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from counterpoint.data.language.problems import ProblemData
from counterpoint.data.language.prompted import origin_of
from counterpoint.errors import CounterpointError
from counterpoint.generation.samplers import Source
from counterpoint.judges.majority import by_vote
from counterpoint.methods.base import Method, Search
from counterpoint.methods.optimization import Constant
from counterpoint.models.language.language import Language
from counterpoint.pairs.demonstrations import check_template, with_demonstration
from counterpoint.phases.rationales import Rationales, predicted, written
from counterpoint.training import Run


@dataclass(kw_only=True)
class StepByStep(Method[Language, ProblemData]):
    """Settings.

    Attributes:
        weight: lambda; 0 learns labels alone, and no teacher is asked.
        rationale: which of the teacher's: the "first", whatever it answers, or the first whose answer is the "majority"'s.
        predict, explain: the two tasks' prompts.
        teacher: who writes rationales; see ``phases.rationales``. sampler: kind=server asks a server instead of a model.
        optimizer: how the weights move; learning_rate, batch_size (problems), epochs: of the training.
    """

    key: ClassVar[str] = "step-by-step"
    search: ClassVar[Search] = {"learning_rate": (1e-5, 1e-3), "weight": [0.5, 1.0, 2.0]}

    weight: float = 1.0
    rationale: Literal["first", "majority"] = "first"
    predict: str = "{prompt}"
    explain: str = "Explain: {prompt}"
    teacher: Rationales = field(default_factory=Rationales)
    sampler: Source = field(default_factory=Source)
    optimizer: Constant = field(default_factory=Constant)
    learning_rate: float = 5e-5
    batch_size: int = 64
    epochs: float = 20.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for template in (self.predict, self.explain, self.teacher.template):
            check_template(template, "prompt")

    def fit(self, model: Language, data: ProblemData, run: Run) -> Language:
        """Train on labels and rationales side by side."""
        problems = data.train.rows
        missing = [number for number, row in enumerate(problems) if not row.answer]
        if missing:
            raise CounterpointError(
                f"{self.key}: {len(missing)} of {len(problems)} training problems have no answer, first {origin_of(problems, missing[0])}; "
                "give the data an 'answer' column"
            )
        chosen = [""] * len(problems)
        if self.weight:
            texts = written(problems, self.teacher, self.sampler, model, run, self.key)
            rows = texts if self.rationale == "first" else [list(by_vote(each).positive) for each in texts]
            chosen = [next((text for text in row if text.strip()), "") for row in rows]
        model = run.state(model=model)
        run.optimize(model, self.optimizer.at(self.learning_rate))
        for batch in run.batches(list(range(len(problems))), self.batch_size, epochs=self.epochs):
            rows_here = [problems[at] for at in batch.items]
            terms = {
                "predict": predicted(
                    model,
                    [with_demonstration(row, "", self.predict) for row in rows_here],
                    [row.answer for row in rows_here],
                    run,
                )
            }
            if self.weight:
                explained = [at for at in batch.items if chosen[at]]
                loss = predicted(
                    model,
                    [with_demonstration(problems[at], "", self.explain) for at in explained],
                    [chosen[at] for at in explained],
                    run,
                )
                terms["explain"] = replace(loss, weight=self.weight)
            run.step(terms)
        return model
