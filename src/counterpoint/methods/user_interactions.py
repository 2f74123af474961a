"""Learning from how users went on: a message that follows an answer is hindsight about it (arXiv 2603.12273).

The same weights are shown the follow-up o, and their log-ratio on the answer y that was given is an advantage of every token:

    A_i = log pi(y_i | x, o, y_<i) - log pi(y_i | x, y_<i),     L = - (1/B) sum_b (1/n_b) sum_i A_bi log pi(y_bi | x_b, y_b,<i)

no reward, no critic, no reading of what the user meant. Offline y and o come from logs; online y is sampled now and a user answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import torch

from counterpoint.conversation import Prompt, stored
from counterpoint.data.language.problems import Problem, ProblemData
from counterpoint.errors import CounterpointError
from counterpoint.generation import users
from counterpoint.generation.sampler import Sampler, row_draws
from counterpoint.generation.samplers import Own, Source
from counterpoint.kernels.vocabulary import divergence
from counterpoint.methods.base import Ablations, Method, Search
from counterpoint.methods.optimization import Cosine
from counterpoint.models.language.adapters import Adapter
from counterpoint.models.language.language import Language, adapt
from counterpoint.models.tokens import Tokens
from counterpoint.objectives.distillation.hindsight import (
    Center,
    advantages,
    token_losses,
    without_first,
)
from counterpoint.objectives.preference.kl_estimate import kl_estimate
from counterpoint.objectives.reduction import Loss
from counterpoint.objectives.tokens import Aggregation, aggregate, sequence_mean
from counterpoint.pairs import hindsight as later
from counterpoint.pairs.demonstrations import check_template
from counterpoint.phases.two_views import Views
from counterpoint.teachers.frozen import Frozen
from counterpoint.training import Run
from counterpoint.training.batches import Batch


@dataclass
class Log:
    """How logged conversations become interactions; offline.

    Attributes:
        history: messages that precede an answer, counted from the last; 0 keeps all.
        longest: answers of more characters are left out; 0 keeps all.
    """

    history: int = 5
    longest: int = 4096


@dataclass
class Simulated:
    """Who answers the model's answers; online.

    Attributes:
        kind: "script", a function; "model", a model with a persona; "person", at the terminal.
        function: of a script, "FILE.py:FUNCTION" or "package.module:FUNCTION", which takes (prompt, completion, number) and
            gives the user's next message, "" where there is none.
        persona: of a model, who it is and likes.
        max_new_tokens: of a model's message.
    """

    kind: Literal["script", "model", "person"] = "script"
    function: str = ""
    persona: str = ""
    max_new_tokens: int = 64


@dataclass
class Hindsight:
    """What the follow-up is worth.

    Attributes:
        template: the prompt with {prompt} and {follow_up}; empty is the form's own.
        estimate: "sampled", the advantage of the tokens that were written; "full", the reverse KL over the vocabulary, of
            which that is one sample (online it has the same expectation and less noise).
        center: "none", or "sequence", which subtracts each answer's mean, as the authors' online program does.
        ignore_first: tokens of an answer that are left out; None is 2 offline and 0 online.
        aggregation: of token losses; the paper sums, its programs average by answer.
    """

    template: str = ""
    estimate: Literal["sampled", "full"] = "sampled"
    center: Center = "none"
    ignore_first: int | None = None
    aggregation: Aggregation = "sequence_mean"


@dataclass
class Descent(Cosine):
    """As ``Cosine``, with the paper's warm-up and gradient norm of the offline form."""

    warmup: float = 0.05
    max_grad_norm: float | None = 10.0


@dataclass(kw_only=True)
class UserInteractions(Method[Language, ProblemData]):
    """Learn from what users write after an answer.

    Attributes:
        form: "offline" learns from logged conversations, "online" from the model's own answers to the data's prompts and what a
            user says of them.
        user: of the online form.
        temperature: of sampling. max_new_tokens: longest answer.
        kl: weight of a KL to the model as it was given, k2 on the answers' tokens; 0 has none.
        watched: interactions whose tokens are reported, as they were and as they are after the training; 0 reports none.
        lora_rank: rank of the adapters that are trained; 0 trains every weight.
        adapter: of those adapters. optimizer: how the weights move.
        sampler: who plays a user of the kind "model": the model as it was given, or a server.
    """

    key: ClassVar[str] = "user-interactions"
    shards: ClassVar[bool] = True
    search: ClassVar[Search] = {"learning_rate": (1e-6, 1e-3)}
    ablations: ClassVar[Ablations] = {
        "the whole distribution": {"hindsight.estimate": "full"},
        "centred by completion": {"hindsight.center": "sequence"},
        "tied to the start": {"kl": 0.1},
    }

    form: Literal["offline", "online"] = "offline"
    log: Log = field(default_factory=Log)
    user: Simulated = field(default_factory=Simulated)
    hindsight: Hindsight = field(default_factory=Hindsight)
    kl: float = 0.0
    watched: int = 8
    temperature: float = 1.0
    max_new_tokens: int = 1024
    lora_rank: int = 0
    adapter: Adapter = field(default_factory=Adapter)
    optimizer: Descent = field(default_factory=Descent)
    learning_rate: float = 2e-6
    batch_size: int = 32
    epochs: float = 2.0
    sampler: Source = field(default_factory=Source)

    def fit(self, model: Language, data: ProblemData, run: Run) -> Language:
        """Score each answer with and without its follow-up, and push its tokens by the difference."""
        self.check(data)
        template = self._template()
        # Without dropout, which would be noise in the log-ratio.
        model = adapt(model, self.lora_rank, run.seed, self.adapter).eval()
        given = run.constant(Frozen(model)).model
        policy = run.state(model=model)
        online = self.form == "online"
        rows = data.train.rows
        logged = [] if online else self._logged(rows)
        user = self._user(given) if online else None
        run.optimize(policy, self.optimizer.at(self.learning_rate))
        for batch in run.batches(rows if online else logged, self.batch_size, epochs=self.epochs):
            if user is not None:
                items, completions = self._answered(policy, user, batch, run)
            else:
                items = list(batch.items)
                completions = policy.completions([item.completion for item in items])
            answered = torch.tensor(
                [bool(item.follow_up) for item in items], device=run.device, dtype=torch.bool
            )
            views = Views.of(
                policy,
                [later.in_hindsight(item.prompt, item.follow_up, template) for item in items],
                [item.prompt for item in items],
                completions,
                completions.mask * answered[:, None],
            )
            run.step(self._loss(policy, given, views, run), tokens=int(views.mask.sum()))
        self._report(policy, given, logged, rows, template, run)
        return policy

    def _loss(self, policy: Language, given: Language, views: Views, run: Run) -> Loss:
        """Eq. 4, or eq. 2 with the full estimate, one value an answer."""
        first = self._first
        mask = without_first(views.mask.long(), first).bool()
        scores = views.scores(policy, "student", run)
        hindsight = views.constant(policy, "teacher", run)
        logp, after = views.log_probs(scores), views.log_probs(hindsight)
        advantage = advantages(logp, after, mask, self.hindsight.center)
        if self.hindsight.estimate == "full":
            losses = divergence(scores, hindsight, "reverse", temperature=views.temperature, mask=mask)
        else:
            losses = token_losses(logp, advantage, mask)
        if self.kl:
            reference = views.log_probs(views.constant(given, "student", run))
            losses = losses + self.kl * kl_estimate(logp, reference, "k2")
        reduced = aggregate(losses, mask, self.hindsight.aggregation, max_length=self.max_new_tokens)
        stats = {
            "advantage": sequence_mean(advantage, mask),
            "advantage_size": sequence_mean(advantage.abs(), mask),
            "answered": mask.any(-1).to(advantage.dtype),
        }
        return replace(reduced, stats=stats)

    def _answered(
        self, policy: Language, user: users.User, batch: Batch, run: Run
    ) -> tuple[list[later.Interaction], Tokens]:
        """Answers of this step and what the user says of them; that is a durable stage: nobody is asked twice."""
        how = Sampler(max_new_tokens=self.max_new_tokens, temperature=self.temperature)
        prompts: list[Prompt] = [row.prompt for row in batch.items]
        sampled = Own(policy, how)(prompts, 1, batch.random.uniform(self.max_new_tokens))
        texts = policy.texts(sampled)

        def follow_ups(_: Sequence[int]) -> list[list[str]]:
            first = batch.step * self.batch_size + batch.offset
            return [user(prompts, texts, first)]

        # One shard a process, and each process owns its own.
        parts = run.stage("follow-ups", follow_ups, over=range(run.world), size=1)
        items = [
            later.Interaction(prompt, text, follow_up)
            for prompt, text, follow_up in zip(prompts, texts, parts[run.rank], strict=True)
        ]
        run.record_samples(
            [
                {
                    "prompt": stored(item.prompt),
                    "answers": [{"text": item.completion, "follow_up": item.follow_up}],
                }
                for item in items
            ]
        )
        if run.rank == 0:
            run.report(
                interactions=[
                    {
                        "step": batch.step,
                        "row": row,
                        "completion": item.completion,
                        "follow_up": item.follow_up,
                    }
                    for row, item in zip(batch.index.tolist(), items)
                ]
            )
        return items, sampled

    def _report(
        self,
        policy: Language,
        given: Language,
        logged: list[later.Interaction],
        rows: Sequence[Problem],
        template: str,
        run: Run,
    ) -> None:
        """Which tokens moved and why: of some interactions every token's advantage, and its log-probability then and now."""
        watched = [item for item in logged if item.follow_up][: self.watched]
        if not logged:
            lines = [
                [line["row"], line["completion"], line["follow_up"]]
                for line in run.reported.rows("interactions")
                if line["follow_up"] and line["completion"]
            ][: self.watched]
            if (
                run.mesh is not None
            ):  # the first process alone has what was reported, and all of them run the model
                lines = run.stage("watched", lambda: lines)
            watched = [later.Interaction(rows[row].prompt, text, reply) for row, text, reply in lines]
        if not watched:
            return
        views = Views.of(
            given,
            [later.in_hindsight(item.prompt, item.follow_up, template) for item in watched],
            [item.prompt for item in watched],
            given.completions([item.completion for item in watched]),
        )
        before = views.log_probs(views.constant(given, "student", run))
        after = views.log_probs(views.constant(given, "teacher", run))
        now = views.log_probs(views.constant(policy, "student", run))
        moved: list[dict[str, Any]] = []
        for at, item in enumerate(watched):
            for position in range(int(views.mask[at].sum())):
                cells = {"advantage": after - before, "before": before, "now": now, "moved": now - before}
                moved.append(
                    {
                        "interaction": at,
                        "token": given.tokenizer.decode([int(views.completions.ids[at, position])]),
                        **{name: float(value[at, position]) for name, value in cells.items()},
                        "follow_up": item.follow_up,
                    }
                )
        size = (after - before)[views.mask].abs().mean()
        together = torch.stack([(after - before)[views.mask], (now - before)[views.mask]])
        run.report(moved_tokens=moved, advantage_size=float(size))
        if together.shape[1] > 1:
            run.report(moved_with_advantage=float(torch.corrcoef(together.double())[0, 1]))

    def _logged(self, rows: Sequence[Problem]) -> list[later.Interaction]:
        interactions = later.interactions(rows, self.log.history or None, self.log.longest or None)
        if not interactions:
            raise CounterpointError(
                f"{self.key}: none of {len(rows)} training rows holds an answer that the user answered; give conversations "
                "(column 'messages') in which a turn of the user follows one of the assistant, or 'prompt', 'completion' and "
                "'privileged_context' with what the user wrote next; prompts alone are for --form online"
            )
        return interactions

    def _user(self, given: Language) -> users.User:
        on = self.user
        if on.kind == "person":
            return users.AtTerminal()
        if on.kind == "script":
            return users.script(on.function)
        how = Sampler(max_new_tokens=on.max_new_tokens, temperature=self.temperature)
        writer = self.sampler.build(self.key, given, how)

        def write(prompts: list[Prompt]) -> list[str]:
            return given.texts(writer(prompts, 1, row_draws(0, range(len(prompts)), how.max_new_tokens)))

        return users.Modelled(write, on.persona)

    @property
    def _first(self) -> int:
        own = 2 if self.form == "offline" else 0
        return own if self.hindsight.ignore_first is None else self.hindsight.ignore_first

    def _template(self) -> str:
        return self.hindsight.template or (later.ONLINE if self.form == "online" else later.OFFLINE)

    def check(self, data: ProblemData) -> None:
        """Refuse settings that contradict each other."""
        on = self.user
        check_template(self._template(), "prompt", "follow_up")
        if self.form == "online":
            self.demand(above_zero=["temperature"])
            if on.kind == "script" and not on.function:
                raise CounterpointError(
                    f"{self.key}: form=online needs somebody who answers: --user script --user.function mine.py:follow_up, "
                    "--user model --user.persona 'You like short answers.', or --user person"
                )
            if on.kind == "model" and not on.persona:
                raise CounterpointError(
                    f"{self.key}: user=model plays a persona and got none; give --user.persona 'You like short answers.'"
                )
        elif on != Simulated():
            raise CounterpointError(
                f"{self.key}: form=offline learns from logs and asks nobody; leave user out, or set --form online"
            )
        if self.sampler.kind == "server" and (self.form == "offline" or on.kind != "model"):
            raise CounterpointError(
                f"{self.key}: sampler=server plays a user of the kind model; answers are always the model's own"
            )
