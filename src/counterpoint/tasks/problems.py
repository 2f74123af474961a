"""Problems: prompts with references and answers, a causal language model, greedy accuracy by the problems' scorer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from torch import nn

from counterpoint.conversation import pictures_of, turns
from counterpoint.data.language import problems
from counterpoint.data.language.problem import Problem
from counterpoint.data.language.problems import ProblemData
from counterpoint.evaluation.language import MEASUREMENTS
from counterpoint.evaluation.measurement import measured
from counterpoint.models.language.language import Language
from counterpoint.models.language.rows_fit import Row
from counterpoint.tasks import language_model, language_rows
from counterpoint.tasks.facts import Facts
from counterpoint.tasks.options import checked_load

STOCK = (
    "bandit",
    "characters",
    "encoder-decoder",
    "adder",
    "mixture",
    "mixture-amateur",
    "pupil",
    "rater",
    "shuffler",
    "follower",
    "copier",
    "tagger",
    "reader",
    "rewriter",
)
"""Models that are made here, by name."""


class ProblemTask:
    """The kind "problems": see ``data.problems.load`` for the options of ``load_data``."""

    kind = "problems"
    primary = "accuracy"
    otherwise = ("reward", "likelihood")
    default_model = "smollm2-135m-instruct"
    lower_is_better = ("perplexity", "reply_tokens")
    measurements = MEASUREMENTS

    def load_data(self, spec: str, **options: Any) -> ProblemData:
        """Load and split problems; options are those of ``data.problems.load``, as values or as text.

        Raises:
            CounterpointError: the data cannot be used, or an option is unknown (with the nearest name).
        """
        return checked_load(problems.load, spec, options, "problems")

    def load_model(self, spec: str, data: ProblemData, seed: int, **options: Any) -> nn.Module:
        """Open a bundled model or a folder with a causal language model.

        "characters" is a small untrained character model, "encoder-decoder" one that reads its prompt with an encoder;
        "pupil" is one that was taught sums and sorting, with and without worked demonstrations in its prompt (two minutes on
        first use, then kept). "adder" learnt backward sums from a teacher who errs (twenty seconds for each seed, then kept).
        "guesser" guesses letters until it is criticised (ten seconds for each seed, then kept). "mixture" is a small mixture
        of experts that learnt worked sums (half a minute for each seed, then kept), "mixture-amateur" a dense model that learnt
        less of them. "shuffler" puts letters in a random order, and is often right with a hint (half a minute, then kept),
        "stylist" repeats letters in capitals or not, and does as it is told in hindsight. "bandit" writes actions as logged data
        have them (a few seconds for each seed, then kept). "follower" names letters as its instruction says, "copier" copies
        a letter, half of the time the wrong number of times (ten seconds each, then kept). "rater" answers pairs of letters
        badly and rates answers well (a minute, then kept). "tagger" writes sums in tags that its prompt names, six times in ten
        in a wrong form (half a minute, then kept). "reader" reads noisy pictures of digits and often errs (some minutes, then kept).
        "rewriter" writes short rewriting proofs and poses statements (a minute, then kept).
        Options are those of ``tasks.language_model.opened``.
        """
        from counterpoint.generation import contrasted
        from counterpoint.models.language import characters

        if spec.split("?")[0] in STOCK:
            language_model.refuse_options(spec, options)
        if spec == "characters":
            return characters.tiny(seed=seed)
        if spec == "encoder-decoder":
            return characters.tiny_encoder_decoder(seed=seed, width=48, heads=4)
        if spec == "adder":
            from counterpoint.tasks.stock import adder

            return adder.load(data, seed)
        if spec == "bandit":
            from counterpoint.tasks.stock import bandit

            return bandit.load(seed)
        if spec == "rewriter":
            from counterpoint.tasks.stock import rewriter

            return rewriter.load()
        if spec == "guesser":
            from counterpoint.tasks.stock import guesser

            return guesser.load(seed)
        if spec in ("mixture", "mixture-amateur"):
            from counterpoint.tasks.stock import mixture

            return mixture.load(spec, data, seed)
        if spec == "shuffler":
            from counterpoint.tasks.stock import shuffler

            return shuffler.load(data)
        if spec == "tagger":
            from counterpoint.tasks.stock import tagger

            return tagger.load()
        if spec == "reader":
            from counterpoint.tasks.stock import reader

            return reader.load()
        if spec == "copier":
            from counterpoint.tasks.stock import copier

            return copier.load()
        if spec == "follower":
            from counterpoint.tasks.stock import follower

            return follower.load()
        if spec == "rater":
            from counterpoint.tasks.stock import rater

            return rater.load()
        if spec == "stylist":
            from counterpoint.tasks.stock import stylist

            return stylist.load()
        if spec.split("?")[0] == "pupil":
            from counterpoint.tasks.stock import pupil

            return pupil.load(spec)
        return contrasted.load(spec, seed=seed, **language_model.checked(options))

    def facts(self, data: ProblemData) -> Facts:
        """How many problems there are, whether they show pictures, and whether they are solved."""
        pictured = any(pictures_of(turns(row.prompt)) for row in data.train[:100])
        worked = any(row.solution for row in data.train[:100])
        return Facts(self.kind, len(data.train), pictured=pictured, worked=worked)

    def fitted(self, model: nn.Module, data: ProblemData) -> ProblemData:
        """Data as the model will read them: see ``tasks.language_rows``."""
        return language_rows.fitted(cast(Language, model), data, _row)

    def preview(self, model: nn.Module, data: ProblemData) -> language_rows.Preview:
        """Lengths in tokens, and one row with what is learnt of it."""
        return language_rows.preview(cast(Language, model), data, _row, _example)

    def save_model(self, model: nn.Module, folder: Path, form: str = "merged") -> None:
        """Write an ordinary folder; adapters are merged into the weights, or as ``tasks.language_model.save`` says."""
        language_model.save(model, folder, form)

    def evaluate(self, model: nn.Module, data: ProblemData, split: str, seed: int = 0) -> dict[str, float]:
        """Greedy accuracy by the problems' scorer, and the perplexity of references; see ``evaluation.language``."""
        return measured(self.measurements, model, data, split, seed)


def _row(problem: Problem) -> Row:
    return problem.prompt, (problem.completion,)


def _example(problem: Problem) -> Row:
    prompt, completion = problem.example("all")
    return prompt, (completion,)


TASK = ProblemTask()
