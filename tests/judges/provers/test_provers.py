"""Provers: what they accept and refuse, by the programs themselves where these are installed and by recorded answers everywhere."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

import pytest

from counterpoint.data.language.problem import Problem
from counterpoint.errors import CounterpointError
from counterpoint.judges.choose import judge
from counterpoint.judges.provers.confined import Command
from counterpoint.judges.provers.coq import Coq, declared_axioms
from counterpoint.judges.provers.metamath import Metamath, symbols_of
from counterpoint.judges.provers.proved import Proved, prover
from counterpoint.judges.provers.prover import Prover, checked, verify
from counterpoint.judges.provers.rewriting import Rewriting
from counterpoint.judges.sandbox import Limits, Outcome
from judges.provers.theories import EVEN, IMPLICATION, recorded

METAMATH = [
    ("|- ( x -> x )", "wx i", True),
    ("|- ( x -> ( y -> y ) )", "wy wy w wx wy i k", True),
    ("|- x => |- ( y -> x )", "wx wy h1 k", True),
    ("|- x & |- ( x -> y ) => |- ( z -> y )", "wy wz wx wy h1 h2 m k", True),
    ("|- ( x -> ( y -> y ) )", "wx i", False),
    ("|- ( x -> x )", "zork", False),
    ("|- ( x -> x )", "?", False),
    ("|- ( x -> x )", "wx i i", False),
    ("|- x", "wx", False),
    ("wff ( x -> y )", "wx wy w", True),
    ("|- ( x -> x )", "", False),
]
COQ = [
    ("even 4", "apply even_SS. apply even_SS. apply even_O.", True),
    ("even 4", "Proof.\n  repeat constructor. (* two steps *)\nQed.", True),
    ("forall p q : Prop, p /\\ q -> q /\\ p", "intros p q [a b].\nsplit.\n- exact b.\n- exact a.", True),
    ("forall p : Prop, p \\/ ~ p", "exact middle.", True),
    ("forall p : Prop, p \\/ ~ p", "apply classic.", False),
    ("even 3", "repeat constructor.", False),
    ("even 4", "apply even_SS.", False),
    ("nat", "exact 0.", False),
]


def rebuilt(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Prover:
    """A prover whose program answers from the record."""
    monkeypatch.setattr(secrets, "token_hex", lambda size: "0" * 2 * size)
    path = folder / "theory"
    if name == "metamath":
        return Metamath(path, IMPLICATION, symbols_of(IMPLICATION, folder), "metamath", execute=recorded())
    return Coq(path, EVEN, "coqtop", declared_axioms(EVEN), execute=recorded())


@pytest.mark.parametrize(("name", "rows"), [("metamath", METAMATH), ("coq", COQ)])
def test_verdicts_of_recorded_programs(
    name: str, rows: list[tuple[str, str, bool]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = checked(
        rebuilt(name, tmp_path, monkeypatch), [(statement, proof) for statement, proof, _ in rows]
    )
    assert [each.proved for each in found] == [right for *_, right in rows]
    assert all(bool(each.why) != each.proved for each in found)


@pytest.mark.parametrize("confirmed", [True, False])
def test_what_a_run_with_errors_leaves_unnamed_is_proved_by_a_second_run_alone(
    confirmed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda size: "0" * 2 * size)
    nonce, runs = "cp" + "0" * 16, 0

    def program(command: Command, limits: Limits) -> Outcome:
        nonlocal runs
        runs += 1
        error = (
            f'?Error on line 9 of file "theory.mm" at statement 9, label "{nonce}-1", type "$p":\n no step\n'
        )
        verdict = error if runs == 1 else f"{nonce}-0\n" if confirmed else ""
        return Outcome(0, f"MM> verify proof {nonce}-*\n{verdict}MM> exit", "")

    metamath = Metamath(tmp_path, IMPLICATION, symbols_of(IMPLICATION, tmp_path), "metamath", execute=program)
    first, second = checked(metamath, [("|- ( x -> x )", "wx i"), ("|- ( x -> y )", "wx i")])
    assert (first.proved, second.proved, runs) == (confirmed, False, 2)


def opened(name: str, folder: Path) -> Prover:
    program = {"metamath": "metamath", "coq": "coqtop"}[name]
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed; the recorded answers are tested above")
    path = folder / {"metamath": "theory.mm", "coq": "theory.v"}[name]
    path.write_text({"metamath": IMPLICATION, "coq": EVEN}[name])
    return prover(f"{name}:{path}")


@pytest.mark.parametrize(("name", "rows"), [("metamath", METAMATH), ("coq", COQ)])
def test_verdicts_of_the_programs_themselves(
    name: str, rows: list[tuple[str, str, bool]], tmp_path: Path
) -> None:
    found = checked(opened(name, tmp_path), [(statement, proof) for statement, proof, _ in rows])
    assert [each.proved for each in found] == [right for *_, right in rows]


def test_a_theory_with_an_error_is_refused(tmp_path: Path) -> None:
    for name, text, word in (
        ("metamath", IMPLICATION + "bad $p |- x $= wx i $.", "not valid"),
        ("coq", "Theorem t : False. Proof. exact I. Qed.", "does not load"),
    ):
        opened(name, tmp_path)
        path = tmp_path / "wrong"
        path.write_text(text)
        with pytest.raises(CounterpointError, match=word):
            prover(f"{name}:{path}")


def test_a_program_that_is_missing_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "t").write_text(IMPLICATION)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    for name, package in (("metamath", "metamath"), ("coq", "coq")):
        with pytest.raises(CounterpointError, match=f"apt-get install {package}"):
            prover(f"{name}:{tmp_path / 't'}")


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ("metamth:x.mm", "did you mean 'metamath'"),
        ("metamath", "expected a file after it"),
        ("rewriting:none.txt", "cannot be read"),
        ("coq:none.v", "cannot be read"),
    ],
)
def test_a_prover_that_is_none(spec: str, word: str) -> None:
    with pytest.raises(CounterpointError, match=word):
        prover(spec)


WORDS = Rewriting.of_text("A: ab -> ba  # they change places\nB: aa -> b")


@pytest.mark.parametrize(
    ("statement", "proof", "right"),
    [
        ("aab = baa", "A1 A0", True),
        ("aab = baa", "A0 A1", False),
        ("ba = ab", "a0", True),
        ("b = aa", "b0", True),
        ("aab = bb", "B0", True),
        ("ab = ab", "", True),
        ("ab = zz | aab = bb", "B0", True),
        ("ab = zz | aab = bc", "B0", False),
        ("ab = ", "", False),
        ("aab = baa", "A1, A0", False),
        ("aab = baa", "A1 A9999 A0", False),
        ("b = aa", " ".join(["b0"] * 201), False),
    ],
)
def test_words_are_rewritten(statement: str, proof: str, right: bool) -> None:
    assert verify(WORDS, statement, proof) == right


def test_words_grow_no_further_than_their_limit() -> None:
    assert not verify(Rewriting.of_text("A: a -> aaaaaaaaaaaaaaaaaaaa"), "a = a", " ".join(["A0"] * 30))


@pytest.mark.parametrize("text", ["", "# none", "A: ab", "a: ab -> b", "A: ab -> b\nA: b -> a", "A: -> b"])
def test_rules_that_are_none(text: str) -> None:
    with pytest.raises(CounterpointError, match="rule"):
        Rewriting.of_text(text)


def test_the_judge_checks_the_last_block_of_an_answer_against_its_problem(tmp_path: Path) -> None:
    path = tmp_path / "rules.txt"
    path.write_text("A: ab -> ba")
    proved = judge(f"rewriting:{path}", scorer="exact", model=None)  # type: ignore[arg-type]
    assert isinstance(proved, Proved)
    answers = [
        [
            {"ids": [], "text": text, "ended": True}
            for text in ("so\n```\nA1 A0\n```", "A0", "```\nA1 A0\n```\n```\nA0\n```")
        ]
    ]
    verdicts = proved([Problem("aab = baa")], answers)  # type: ignore[arg-type]
    assert verdicts.rewards.tolist() == [[1.0, 0.0, 0.0]]
    assert verdicts.texts == [["proved", "a step does not apply", "a step does not apply"]]
    assert proved.score("A1 A0", Problem("aab = baa")) == 1.0
