"""SDFT: on-policy self-distillation from oneself shown the solution (arXiv 2601.19897).

L = E_{y ~ student(.|x)} mean_t D(student_t, teacher_t); the teacher is the same model with the reference in its prompt,
its weights the moving average of the student's.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from counterpoint.data.language.problems import ProblemData, Problems
from counterpoint.errors import CounterpointError
from counterpoint.generation.sampler import Sampler
from counterpoint.generation.samplers import PolicySource
from counterpoint.kernels.scores import Head, Sparse
from counterpoint.kernels.vocabulary import divergence
from counterpoint.methods.base import Method, Search
from counterpoint.methods.optimization import Cosine
from counterpoint.models.language.adapters import Adapter
from counterpoint.models.language.language import Language, adapt
from counterpoint.models.tokens import Tokens, join
from counterpoint.objectives.tokens import aggregate
from counterpoint.pairs import demonstrations as shown
from counterpoint.phases.distillation.engine_weighing import engine_weighing, scaled
from counterpoint.phases.rollouts import record_completions
from counterpoint.teachers.answering import Answering, Teacher
from counterpoint.teachers.ema import Ema
from counterpoint.teachers.frozen import Frozen
from counterpoint.teachers.hinted import Hinted
from counterpoint.teachers.problem_store import rows_of, stored_teacher
from counterpoint.teachers.stored import Stored
from counterpoint.training import Run


@dataclass(kw_only=True)
class SDFT(Method[Language, ProblemData]):
    """Self-distillation fine-tuning.

    Attributes:
        divergence: "reverse" KL(student || teacher), "forward" KL(teacher || student), or another name of the core.
        teacher: "ema" follows the student, "frozen" is the model as given, "student" is the student of this step.
        ema_decay: how much of the average is kept at each step.
        temperature: of sampling and of the divergence.
        max_new_tokens: longest sampled completion.
        store: read the teacher's answers from this folder, where they are written once, sparse and unbiased, about completions that
            the student samples before its training; needs teacher=frozen and divergence=forward.
        template: wording of the teacher's prompt.
        lora_rank: rank of the adapters that are trained; 0 trains every weight.
        adapter: of those adapters. optimizer: how the weights move.
        sampler: the student itself, or a vLLM server that is given its weights at every step; another server is refused, for its
            completions are not the student's of this step.
    """

    key: ClassVar[str] = "sdft"
    shards: ClassVar[bool] = True
    copies: ClassVar[int] = 1
    search: ClassVar[Search] = {"learning_rate": (1e-5, 1e-3), "ema_decay": [0.95, 0.98, 0.99]}
    writes: ClassVar[tuple[str, ...]] = ("store",)

    divergence: Literal["forward", "reverse", "jeffreys", "tv", "hellinger"] = "reverse"
    teacher: Literal["ema", "frozen", "student"] = "ema"
    ema_decay: float = 0.99
    temperature: float = 1.0
    max_new_tokens: int = 1024
    store: str = ""
    template: str = shown.SHOWN
    lora_rank: int = 64
    adapter: Adapter = field(default_factory=Adapter)
    learning_rate: float = 2e-5
    optimizer: Cosine = field(default_factory=Cosine)
    batch_size: int = 16
    epochs: float = 1.0
    sampler: PolicySource = field(default_factory=PolicySource)

    def fit(self, model: Language, data: ProblemData, run: Run) -> Language:
        """Distil the model, shown the references, into the model that is not."""
        shown.require_references(data.train.rows, self.key)
        shown.check_template(self.template, "prompt", "demonstration")
        how = self.sampler.ended_by(Sampler(max_new_tokens=self.max_new_tokens, temperature=self.temperature))
        stored = self._stored(model, data.train, run, how) if self.store else None
        model = adapt(model, self.lora_rank, run.seed, self.adapter)
        frozen = run.constant(Frozen(model)) if self.teacher == "frozen" and stored is None else None
        model = run.state(model=model)
        why = "it learns from what the student itself would say at this step"
        sampler = self.sampler.build(self.key, model, how, on_policy=why, folder=run.out)
        decay = 0.0 if self.teacher == "student" else self.ema_decay
        ema: Any = run.state(teacher=Ema(model, decay)) if self.teacher != "frozen" else None
        teacher: Teacher[Head | Sparse] = stored or self._hinted(frozen or ema, run)
        run.optimize(model, self.optimizer.at(self.learning_rate))
        for batch in run.batches(data.train, self.batch_size, epochs=self.epochs):
            if stored is None:
                questions = [problem.prompt for problem in batch.items]
                completions: Tokens = sampler(questions, 1, batch.random.uniform(self.max_new_tokens))
                prompts = model.prompts(questions)
            else:
                prompts, completions = rows_of(stored, model, batch.items, batch.index)
            record_completions(run, batch.items, model.texts(completions))
            both, mask = join(prompts, completions), completions.authored
            hidden = run.forward(model, both.ids, both.mask, last=completions.width)
            answer = teacher.answer(batch.items, completions, batch.index)
            scores = model.scores(hidden)
            per_token = divergence(scores, answer, self.divergence, temperature=self.temperature, mask=mask)
            weight, figures = engine_weighing(
                self.sampler.largest_weight, scores, completions, self.temperature
            )
            loss = aggregate(scaled(per_token, weight), mask, "sequence_mean")
            run.step(replace(loss, stats=figures), tokens=int(mask.sum()))
            if ema is not None:
                ema.follow(model)
        return model

    def _hinted(self, copy: Any, run: Run) -> Teacher[Head]:
        answering = Answering(copy, at_once=run.micro_batch_size)
        return Hinted(answering, lambda row: shown.with_demonstration(row, row.reference, self.template))

    def _stored(self, model: Language, problems: Problems, run: Run, how: Sampler) -> Stored:
        if self.teacher != "frozen" or self.divergence != "forward":
            raise CounterpointError(
                f"{self.key}: a teacher that follows the student cannot be stored, and a stored one is learnt from by forward KL; got "
                f"teacher={self.teacher} and divergence={self.divergence}; set --teacher frozen --divergence forward, or leave store "
                "empty"
            )

        def live() -> tuple[Teacher[Head], Language]:
            frozen = run.constant(Frozen(model))
            return self._hinted(frozen, run), frozen.model

        return stored_teacher(
            run.stage,
            self.store,
            live,
            model,
            problems.rows,
            method=self.key,
            temperature=self.temperature,
            sampler=how,
        )
