"""SDFT: on-policy self-distillation from oneself shown the solution (arXiv 2601.19897).

L = E_{y ~ student(.|x)} mean_t D(student_t, teacher_t); the teacher is the same model with the reference in its prompt,
its weights the moving average of the student's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from counterpoint.data.language.problems import ProblemData
from counterpoint.generation.sampler import Sampler
from counterpoint.generation.samplers import Source
from counterpoint.kernels.vocabulary import divergence
from counterpoint.methods.base import Method, Search
from counterpoint.methods.optimization import Cosine
from counterpoint.models.language.adapters import Adapter
from counterpoint.models.language.language import Language, adapt
from counterpoint.models.tokens import join
from counterpoint.objectives.tokens import aggregate
from counterpoint.pairs import demonstrations as shown
from counterpoint.phases.rollouts import record_completions
from counterpoint.teachers.answering import Answering
from counterpoint.teachers.ema import Ema
from counterpoint.teachers.frozen import Frozen
from counterpoint.teachers.hinted import Hinted
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
        template: wording of the teacher's prompt.
        lora_rank: rank of the adapters that are trained; 0 trains every weight.
        adapter: of those adapters. optimizer: how the weights move.
        sampler: the student itself; a server is refused, for its completions are not the student's of this step.
    """

    key: ClassVar[str] = "sdft"
    search: ClassVar[Search] = {"learning_rate": (1e-5, 1e-3), "ema_decay": [0.95, 0.98, 0.99]}

    divergence: Literal["forward", "reverse", "jeffreys", "tv", "hellinger"] = "reverse"
    teacher: Literal["ema", "frozen", "student"] = "ema"
    ema_decay: float = 0.99
    temperature: float = 1.0
    max_new_tokens: int = 1024
    template: str = shown.SHOWN
    lora_rank: int = 64
    adapter: Adapter = field(default_factory=Adapter)
    learning_rate: float = 2e-5
    optimizer: Cosine = field(default_factory=Cosine)
    batch_size: int = 16
    epochs: float = 1.0
    sampler: Source = field(default_factory=Source)

    def fit(self, model: Language, data: ProblemData, run: Run) -> Language:
        """Distil the model, shown the references, into the model that is not."""
        shown.require_references(data.train.rows, self.key)
        shown.check_template(self.template, "prompt", "demonstration")
        how = Sampler(max_new_tokens=self.max_new_tokens, temperature=self.temperature)
        size, model = run.micro_batch_size, adapt(model, self.lora_rank, run.seed, self.adapter)
        frozen = run.constant(Frozen(model)) if self.teacher == "frozen" else None
        model = run.state(model=model)
        why = "it learns from what the student itself would say at this step"
        sampler = self.sampler.build(self.key, model, how, on_policy=why)
        decay = 0.0 if self.teacher == "student" else self.ema_decay
        ema: Any = run.state(teacher=Ema(model, decay)) if frozen is None else None
        answering = Answering(frozen or ema, at_once=size)
        teacher = Hinted(answering, lambda row: shown.with_demonstration(row, row.reference, self.template))
        run.optimize(model, self.optimizer.at(self.learning_rate))
        for batch in run.batches(data.train, self.batch_size, epochs=self.epochs):
            prompts = [problem.prompt for problem in batch.items]
            completions = sampler(prompts, 1, batch.random.uniform(self.max_new_tokens))
            record_completions(run, batch.items, model.texts(completions))
            both, mask = join(model.prompts(prompts), completions), completions.mask.bool()
            hidden = run.forward(model, both.ids, both.mask, last=completions.width)
            answer = teacher.answer(batch.items, completions)
            per_token = divergence(
                model.scores(hidden), answer, self.divergence, temperature=self.temperature, mask=mask
            )
            run.step(aggregate(per_token, mask, "sequence_mean"), tokens=int(mask.sum()))
            if ema is not None:
                ema.follow(model)
        return model
