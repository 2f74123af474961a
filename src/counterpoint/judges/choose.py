"""A judge by one setting: a name, a person's file, or a reward function."""

from __future__ import annotations

from pathlib import Path

from counterpoint.errors import CounterpointError, nearest
from counterpoint.judges import reward_function
from counterpoint.judges.judge import Judge
from counterpoint.judges.likelihood import Likelihood
from counterpoint.judges.majority import MajorityVote
from counterpoint.judges.person import Person
from counterpoint.judges.verifier import Verifier
from counterpoint.models.language.language import Language

NAMES = ("intrinsic", "verifier", "majority", "person:FILE.jsonl", "MODULE:FUNCTION", "FILE.py:FUNCTION")


def judge(spec: str, *, scorer: str, model: Language, reference: Language | None = None) -> Judge:
    """The judge that a setting names.

    Args:
        spec: "intrinsic" (a model's own likelihood), "verifier" (the data's answers), "majority", "person:FILE.jsonl", or a
            reward function with TRL's signature, "package.module:function" or "file.py:function".
        scorer: how the verifier compares.
        model, reference: of "intrinsic".

    Raises:
        CounterpointError: no such judge, with the nearest name.
    """
    if spec == "intrinsic":
        return Likelihood(model, reference)
    if spec == "verifier":
        return Verifier(scorer)
    if spec == "majority":
        return MajorityVote()
    name, colon, rest = spec.partition(":")
    if colon and rest:
        return Person(Path(rest)) if name == "person" else reward_function.load(spec)
    raise CounterpointError(f"judge={spec}: there is no such judge; {nearest(spec, NAMES)}")
