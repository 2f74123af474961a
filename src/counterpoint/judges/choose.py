"""A judge by one setting: a name, a person's file, a reward function, or a model that judges."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from counterpoint.errors import CounterpointError, nearest
from counterpoint.judges import reward_function, trained
from counterpoint.judges.answer_format import AnswerFormat
from counterpoint.judges.compared import Anchored, Compared
from counterpoint.judges.judge import Judge
from counterpoint.judges.likelihood import Likelihood
from counterpoint.judges.majority import MajorityVote
from counterpoint.judges.person import Person
from counterpoint.judges.provers.proved import PROVERS, Proved, prover
from counterpoint.judges.rated import Rated
from counterpoint.judges.unit_tests import UnitTests
from counterpoint.judges.verifier import Verifier
from counterpoint.judges.writers import writer
from counterpoint.models.language.language import Language

NAMES = (
    "intrinsic", "verifier", "verifier:SCORER", "majority", "format:PATTERN", "rated:MODEL", "compared:MODEL",
    "anchored:MODEL", "scored:FOLDER", "person:FILE.jsonl", "metamath:FILE.mm", "coq:FILE.v", "lean:FILE.toml", "rewriting:FILE.txt", "MODULE:FUNCTION", "FILE.py:FUNCTION",
)  # fmt: skip


def judge(spec: str, *, scorer: str, model: Language, reference: Language | None = None) -> Judge:
    """The judge that a setting names.

    Args:
        spec: "intrinsic" (a model's own likelihood), "verifier" (the data's answers, by the data's scorer or, "verifier:math", by
            another), "majority", "format:PATTERN" (a name or a regular expression), "rated:MODEL", "compared:MODEL" and
            "anchored:MODEL" (a model marks, compares with each other, with the reference; MODEL as of ``writers.writer``),
            "scored:FOLDER" (a trained sequence classifier), "person:FILE.jsonl", a prover with its theory ("metamath:FILE.mm",
            "coq:FILE.v", "lean:FILE.toml", "rewriting:FILE.txt"; a problem is then a statement), or a reward function with TRL's signature,
            "package.module:function" or "file.py:function".
        scorer: how the verifier compares.
        model, reference: of "intrinsic"; the model is also "self" as MODEL.

    Raises:
        CounterpointError: no such judge, with the nearest name.
    """
    if spec == "intrinsic":
        return Likelihood(model, reference)
    if spec == "verifier":
        return _verifier(scorer)
    if spec == "majority":
        return MajorityVote()
    name, colon, rest = spec.partition(":")
    models = {"rated": Rated, "compared": Compared, "anchored": Anchored}
    named: dict[str, Callable[[], Judge]] = {
        "person": lambda: Person(Path(rest)),
        "verifier": lambda: _verifier(rest),
        "format": lambda: AnswerFormat(rest),
        "scored": lambda: trained.load(rest, model.device),
    }
    if colon and rest:
        if name in models:
            return models[name](writer(rest, model))
        if name in PROVERS:
            return Proved(prover(spec))
        return named[name]() if name in named else reward_function.load(spec)
    raise CounterpointError(f"judge={spec}: there is no such judge; {nearest(spec, NAMES)}")


def _verifier(scorer: str) -> Judge:
    return UnitTests() if scorer == "tests" else Verifier(scorer)
