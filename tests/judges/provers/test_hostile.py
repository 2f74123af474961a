"""Proofs and statements that attack: what they may use ends them, nothing outside is read or written, no verdict is forged."""

from __future__ import annotations

import re
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from counterpoint.errors import CounterpointError
from counterpoint.judges import sandbox
from counterpoint.judges.provers import confined
from counterpoint.judges.provers.confined import Command, run_confined
from counterpoint.judges.provers.coq import CLOSED, Coq, tactics
from counterpoint.judges.provers.metamath import Metamath
from counterpoint.judges.provers.prover import LONGEST, checked, verify
from counterpoint.judges.sandbox import Limits
from judges.provers.theories import DOUBLING, EVEN, IMPLICATION

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="isolation is Linux's")
SHORT = Limits(seconds=2.0, memory=2**30, output=2**16)


def metamath(folder: Path, text: str = IMPLICATION) -> Metamath:
    if shutil.which("metamath") is None:
        pytest.skip("metamath is not installed")
    (folder / "theory.mm").write_text(text)
    return Metamath.open(folder / "theory.mm")


def coq(folder: Path) -> Coq:
    if shutil.which("coqtop") is None:
        pytest.skip("coqtop is not installed")
    (folder / "theory.v").write_text(EVEN)
    return replace(Coq.open(folder / "theory.v"), limits=SHORT)


def run(words: list[str], folder: Path, limits: Limits = SHORT) -> sandbox.Outcome:
    return run_confined(Command(words, folder), limits)


def test_a_confined_program_reads_its_folder_and_its_libraries_alone(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "secret.txt"
    inside.mkdir()
    outside.write_text("hunter2")
    (inside / "own.txt").write_text("mine")
    (inside / "link.txt").symlink_to(outside)
    assert run(["/bin/cat", "own.txt"], inside).output == "mine"
    for path in (
        str(outside),
        "link.txt",
        "../secret.txt",
        "/etc/passwd",
        "/proc/self/environ",
        "/proc/1/cmdline",
    ):
        outcome = run(["/bin/cat", path], inside)
        assert outcome.output == ""
        assert "denied" in outcome.errors, path


def test_a_confined_program_changes_nothing(tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("as it was")
    for words in (
        ["/bin/cp", "own.txt", "copy.txt"],
        ["/bin/rm", "-f", "own.txt"],
        ["/bin/mv", "own.txt", "moved.txt"],
        ["/bin/mkdir", "folder"],
        ["/bin/ln", "-s", "/etc", "link"],
        ["/bin/chmod", "0", "own.txt"],
        ["/usr/bin/truncate", "-s", "0", "own.txt"],
        ["/bin/sh", "-c", "echo x > new.txt"],
        ["/bin/touch", "own.txt"],
    ):
        assert run(words, tmp_path).status != 0, words
    assert [each.name for each in tmp_path.iterdir()] == ["own.txt"]
    assert own.read_text() == "as it was"


def test_a_confined_program_starts_no_other_and_signals_nobody(tmp_path: Path) -> None:
    script = "/bin/ls / && echo listed"
    assert run(["/bin/sh", "-c", script], tmp_path).output == ""
    assert run(["/bin/sh", "-c", "exec /bin/ls /"], tmp_path).output == ""
    assert "killed" not in run(["/bin/sh", "-c", "kill -0 $PPID && echo killed"], tmp_path).output


def test_a_confined_program_has_no_network(tmp_path: Path) -> None:
    code = "import socket\nsocket.socket()"
    words = [sys.executable, "-I", "-S", "-c", code]
    outcome = run_confined(Command(words, tmp_path, [Path(sys.base_prefix)]), SHORT)
    assert outcome.status == 1
    assert "PermissionError" in outcome.errors


def test_time_output_and_memory_end_a_confined_program(tmp_path: Path) -> None:
    began = time.monotonic()
    assert (
        run(["/bin/sh", "-c", "while :; do :; done"], tmp_path, Limits(seconds=1.0)).stopped
        == "stopped after 1 seconds"
    )
    assert time.monotonic() - began < 8
    assert "bytes of output" in run(["/usr/bin/yes"], tmp_path).stopped
    words = [sys.executable, "-I", "-S", "-c", "bytearray(2**32)"]
    assert "MemoryError" in run_confined(Command(words, tmp_path, [Path(sys.base_prefix)]), SHORT).errors


def test_no_isolation_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CounterpointError, match="only run in isolation"):
        run([str(tmp_path / "none")], tmp_path)
    monkeypatch.setattr(confined.sys, "platform", "darwin")
    with pytest.raises(CounterpointError, match="needs Linux"):
        run(["/bin/cat"], tmp_path)


SELF = "|- ( x -> x )"
FALSE = "|- x"


@pytest.mark.parametrize(
    "proof",
    [
        "$[ /etc/passwd $]",
        "$[ secret.mm $]",
        "wx i $. evil $a |- x $.",
        "wx i $. $( a comment",
        "wx i $) $.",
        "wx\x00 i",
        "wx i; exit",
        "?",
        "wx i\nMM> exit",
        'wx "i"',
        "ωx i",
    ],
)
def test_text_that_leaves_a_metamath_proof_is_refused_unread(proof: str, tmp_path: Path) -> None:
    (tmp_path / "secret.mm").write_text("evil $a |- x $.")
    prover = metamath(tmp_path)
    calls: list[object] = []
    blind = replace(prover, execute=lambda *given: calls.append(given))  # type: ignore[arg-type,return-value]
    assert not verify(blind, SELF, proof)
    assert not calls
    assert not verify(prover, FALSE, proof)


@pytest.mark.parametrize(
    "statement",
    ["|- x $= wx $. evil $a |- x", "|- $[ /etc/passwd $]", "", "=>", "|- x & => |- x", "|- evil", "MM> exit"],
)
def test_text_that_leaves_a_metamath_statement_is_refused_unread(statement: str, tmp_path: Path) -> None:
    prover = metamath(tmp_path)
    assert prover.refused(statement)
    assert not verify(prover, statement, "wx i")


def test_a_metamath_proof_rests_on_no_other_of_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prover = metamath(tmp_path)
    labels = [(FALSE, f"wx {name}") for name in ("cp-0", "cp-1", "h1", "goal")]
    assert not any(
        each.proved for each in checked(prover, [(FALSE, "wx cp-1"), *labels, (SELF, "wx i")])[:-1]
    )


GROUND = "$c |- a b c $. ${ ab.1 $e |- a $. ab $a |- b $. $} ${ bc.1 $e |- b $. bc $a |- c $. $}"


def test_hypotheses_that_the_metamath_program_does_not_compare_prove_nothing(tmp_path: Path) -> None:
    """Of an assertion without a variable it takes any proof for its hypotheses: a proves c by bc alone."""
    prover = metamath(tmp_path, GROUND)
    assert prover.unchecked == {"ab", "bc"}
    deceived = replace(prover, unchecked=frozenset())
    assert verify(deceived, "|- a => |- c", "h1 bc"), "the program compares them now: the refusal can go"
    for proof in ("h1 bc", "h1 ab bc", "( bc ) AB"):
        (found,) = checked(prover, [("|- a => |- c", proof)])
        assert not found.proved
        assert "'ab'" in found.why or "'bc'" in found.why
    assert not prover.refused("|- a => |- c")


def test_what_an_included_file_asserts_without_variables_proves_nothing(tmp_path: Path) -> None:
    (tmp_path / "ground.mm").write_text(GROUND)
    prover = metamath(tmp_path, "$[ ground.mm $] $( ${ x $e |- a $. y $a |- b $. $} $)")
    assert prover.unchecked == {"ab", "bc"}


@pytest.mark.slow
def test_a_metamath_proof_that_ends_the_program_ends_its_own_verdict_alone(tmp_path: Path) -> None:
    prover = replace(metamath(tmp_path, DOUBLING), limits=replace(SHORT, seconds=10.0, memory=2**28))
    # Every "f" writes its formula twice: 2^40 symbols.
    bomb = "wx " + "f " * 40
    found = checked(prover, [(SELF, "wx i"), (FALSE, bomb), (SELF, "wy i"), ("|- ( y -> y )", "wy i")])
    assert [each.proved for each in found] == [True, False, False, True]


@pytest.mark.parametrize(
    "script",
    [
        'Load "/etc/passwd".',
        "Require Import Classical.",
        'Redirect "out" Print nat.',
        'Extraction "out" nat.',
        "Declare ML Module x.",
        'Cd "/".',
        "Admitted.",
        "Abort. Axiom evil : False. Theorem counterpoint_goal : False. exact evil.",
        "auto. Qed. Axiom evil : False.",
        "Set Printing All. auto.",
        "Time auto.",
        "Fail Load x.",
        "#[local] Axiom evil : False.",
        "idtac. (* open",
        "idtac *) .",
        'idtac "Closed under the global context".',
        "{ Load x. }",
        "- Load x.",
        "1: Load x.",
        "refine ?[g]. [g]: { Print Assumptions nat. [g]: { Load x.",
        "refine ?[g]. [ g ] :{ Axiom evil : False.",
        "[g]: { Set Nested Proofs Allowed. [g]: { Theorem counterpoint_goal : True. exact I.",
        "1,2: [g]: - { Unset Guard Checking.",
        "\u00a0Load x.",
        "auto.\u00a0Load x.",
        "auto.\tAdmitted.",
        "auto.(* *)Admitted.",
        "auto...Admitted.",
        "Proof. Proof. Admitted. Qed.",
        "exact I",
        "Ltac evil := exact I. evil.",
    ],
)
def test_commands_in_a_coq_script_are_refused_unread(script: str) -> None:
    assert tactics(script) is None


@pytest.mark.parametrize(
    "statement",
    [
        "False. Axiom evil : False",
        "True) : Prop). Admitted. (* ",
        "(True",
        "True))",
        'exists s, s = "a"',
        "ltac:(exact True)",
        "",
    ],
)
def test_text_that_leaves_a_coq_statement_is_refused_unread(statement: str) -> None:
    assert Coq(Path("t.v"), "", "coqtop", frozenset()).refused(statement)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statement", "script", "why"),
    [
        ("False", "repeat (assert True by exact I; pose 0).", "stopped after|memory|Stack|Out of"),
        ("False", "do 100000000 idtac.", "stopped after"),
        ("False", "let rec loop n := idtac n; loop (S n) in loop 0.", "bytes of output|stopped after|Stack"),
        ("False", "admit.", "given up"),
        ("False", "give_up.", "given up"),
        ("False", "par: auto.", ""),
        ("False", "exact (fix f (n : nat) : False := f n).", ""),
        ("False", "exact_no_check I.", "Illegal|type|Conversion"),
        ("2 + 2 = 5", "native_compute. reflexivity.", ""),
        ("forall p : Prop, p \\/ ~ p", "apply classic.", "it rests on classic"),
        ("_", "exact I.", ""),
    ],
)
def test_hostile_coq_scripts_prove_nothing(statement: str, script: str, why: str, tmp_path: Path) -> None:
    found = checked(coq(tmp_path), [(statement, script)])[0]
    assert not found.proved
    assert re.search(why, found.why), found


def test_a_coq_verdict_is_not_what_a_script_prints(tmp_path: Path) -> None:
    prover = coq(tmp_path)
    printing = "let Closed := fresh in intros; idtac Closed under the global context. apply classic."
    assert not verify(prover, "forall p : Prop, p \\/ ~ p", printing)
    # A program that prints the words and then fails has proved nothing.
    answer = sandbox.Outcome(1, CLOSED + "\n", "Error: no", "")
    forged = replace(prover, execute=lambda *_: answer)
    assert not verify(forged, "False", "auto.")
    late = sandbox.Outcome(0, CLOSED + "\nAxioms:\nevil : False\n", "", "")
    assert not verify(replace(prover, execute=lambda *_: late), "False", "auto.")


def test_long_texts_are_refused_unread() -> None:
    class Never:
        def verify_all(self, pairs: object) -> list[object]:
            assert not pairs
            return []

    assert not checked(Never(), [("x", "y" * (LONGEST + 1))])[0].proved  # type: ignore[arg-type]
