"""Lean 4 by its REPL, against a process that answers as the REPL does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from counterpoint.errors import CounterpointError
from counterpoint.judges.provers.lean import Lean, bare
from counterpoint.judges.provers.proved import prover
from counterpoint.judges.provers.prover import checked, verify

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="isolation is Linux's")
FAKE = Path(__file__).with_name("fake_repl.py")
STATEMENT = "theorem two : 1 + 1 = 2 := by sorry"


def lean(folder: Path, header: str = "import Mathlib", seconds: float = 20.0) -> Lean:
    text = f"""
command = ["{sys.executable}", "-I", "-S", "{FAKE}"]
reads = ["{sys.base_prefix}", "{FAKE.parent}"]
header = "{header}"
seconds = {seconds}
memory = 1
"""
    (folder / "lean.toml").write_text(text)
    found = prover(f"lean:{folder / 'lean.toml'}")
    assert isinstance(found, Lean)
    return found


def test_verdicts_follow_errors_sorries_warnings_and_axioms(tmp_path: Path) -> None:
    rows = [
        ("rfl", True, ""),
        ("choose", True, ""),
        ("linted", True, ""),
        ("trusting", False, "it rests on Lean.trustCompiler"),
        ("hole", False, "declaration uses 'sorry'"),
        ("quiet", False, "a part is left out"),
        ("tried", False, "aesop: failed"),
        ("silent", False, "what it rests on was not printed"),
        ("unknown", False, "Unknown environment"),
        ("linarith", False, "unsolved goals"),
        ("by rfl", True, ""),
        (":= by\n  rfl", True, ""),
    ]
    found = checked(lean(tmp_path), [(STATEMENT, proof) for proof, *_ in rows])
    assert [each.proved for each in found] == [right for _, right, _ in rows]
    assert all(each.why.startswith(why) for each, (*_, why) in zip(found, rows, strict=True)), found


@pytest.mark.slow
def test_hostile_answers_end_their_own_verdict_alone(tmp_path: Path) -> None:
    proofs = ["rfl", "endless", "rfl", "flood", "rfl", "forged", "rfl", "crash", "rfl"]
    found = checked(
        lean(tmp_path, seconds=4.0), [(f"(n : Nat) : {at} = {at}", proof) for at, proof in enumerate(proofs)]
    )
    assert [each.proved for each in found] == [proof == "rfl" for proof in proofs]
    assert "stopped after 4 seconds" in found[1].why
    assert "bytes of output" in found[3].why
    assert "more than one answer" in found[5].why or "Lean did not write" in found[5].why
    assert "ended with status 3" in found[7].why


@pytest.mark.parametrize(
    "proof",
    [
        "sorry",
        "admit",
        "rfl\n#eval 1",
        "rfl\naxiom evil : False",
        "run_tac IO.println x",
        "exact (unsafe evil)",
        "native_decide",
        "open Lean in rfl",
        "rfl\nend\nnamespace x",
        "@[simp] rfl",
        "rfl\nmacro x",
        'exact (IO.FS.readFile "x")',
        "rfl\ninstance : Inhabited False",
        "set_option maxRecDepth 1 in rfl",
        'rfl -- "',
    ],
)
def test_words_that_command_are_refused_unread(proof: str, tmp_path: Path) -> None:
    assert not verify(lean(tmp_path), STATEMENT, proof)


@pytest.mark.parametrize(
    "statement",
    [": True := trivial\ntheorem evil : False", "", "True", ": True\n#eval 1", ": sorry", "(x := 1) : True"],
)
def test_text_that_leaves_a_statement_is_refused_unread(statement: str, tmp_path: Path) -> None:
    assert lean(tmp_path).refused(statement)


def test_statements_lose_their_name_and_their_hole() -> None:
    assert bare("lemma Nat.x' {n : Nat} : n = n :=") == "{n : Nat} : n = n"
    assert bare("(n : Nat) : n = n") == "(n : Nat) : n = n"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("command = ", "no TOML"),
        ("header = 'x'", "expected command"),
        ("command = []", "expected command"),
        ("command = ['a']\ntimeout = 3", "expected command"),
        ("command = ['/none/repl']", "is not installed"),
    ],
)
def test_a_file_that_starts_nothing(text: str, word: str, tmp_path: Path) -> None:
    (tmp_path / "lean.toml").write_text(text)
    with pytest.raises(CounterpointError, match=word):
        prover(f"lean:{tmp_path / 'lean.toml'}")


def test_a_header_that_does_not_load(tmp_path: Path) -> None:
    with pytest.raises(CounterpointError, match="unknown module"):
        verify(lean(tmp_path, header="import Missing"), STATEMENT, "rfl")


def test_a_program_that_cannot_start_is_one_error(tmp_path: Path) -> None:
    found = lean(tmp_path)
    (tmp_path / "text").write_text("no program")
    broken = Lean(type(found.command)([str(tmp_path / "text")], tmp_path), "", found.limits)
    with pytest.raises(CounterpointError, match="nothing was run"):
        verify(broken, STATEMENT, "rfl")
