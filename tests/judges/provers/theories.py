"""Small theories for provers, and a program's answers that were recorded where the program is not installed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from counterpoint.judges.provers.confined import Command, run_confined
from counterpoint.judges.sandbox import Limits, Outcome

RECORDED = Path(__file__).with_name("recorded.json")
IMPLICATION = """
$( Implication: anything implies itself, and what holds is implied by anything. $)
$c ( ) -> |- wff $.  $v x y z $.
wx $f wff x $.  wy $f wff y $.  wz $f wff z $.
w $a wff ( x -> y ) $.
i $a |- ( x -> x ) $.
${ k.1 $e |- x $.  k $a |- ( y -> x ) $. $}
${ m.1 $e |- x $.  m.2 $e |- ( x -> y ) $.  m $a |- y $. $}
"""
DOUBLING = IMPLICATION + "f $a wff ( x -> x ) $."
EVEN = """
Inductive even : nat -> Prop := even_O : even 0 | even_SS : forall n, even n -> even (S (S n)).
Axiom middle : forall p : Prop, p \\/ ~ p.
Require Import Classical.
"""


def key_of(command: Command) -> str:
    """What a command runs, without the folders of this run."""
    words = []
    for word in command.words[1:]:
        found = re.search(r"(/[^\"]*/(?:theory\.mm|goal\.v))", word)
        text = Path(found[1]).read_text() if found else ""
        words.append(word.replace(found[1], "FILE") + text if found else word)
    return hashlib.sha256("\0".join([Path(command.words[0]).name, *words]).encode()).hexdigest()[:24]


def recorded() -> Callable[[Command, Limits], Outcome]:
    """Answers that were recorded; with COUNTERPOINT_RECORD set they are asked for and recorded anew."""
    answers = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}

    def execute(command: Command, limits: Limits) -> Outcome:
        key = key_of(command)
        if os.environ.get("COUNTERPOINT_RECORD"):
            words = [shutil.which(command.words[0]) or command.words[0], *command.words[1:]]
            answers[key] = asdict(run_confined(replace(command, words=words), limits))
            text = json.dumps(answers, indent=1)
            RECORDED.write_text(
                re.sub(r"/tmp/counterpoint-(\w+)-\w+/", r"/tmp/counterpoint-\1/", text) + "\n"
            )
        return Outcome(**answers[key])

    return execute
