"""SGS proves in Coq and in Metamath what its start could not: tiny models and theories, the programs themselves."""

from __future__ import annotations

import itertools
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from counterpoint.data.language.problems import load
from counterpoint.generation.sampler import Sampler, row_draws
from counterpoint.judges.provers.proved import prover
from counterpoint.judges.provers.prover import Prover, checked, verify
from counterpoint.methods.sgs import SGS
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import Language
from counterpoint.tasks.stock.teaching import teach
from counterpoint.training import Run

EVEN = """
Inductive w := e | a (x : w) | b (x : w).
Inductive T : w -> Prop := s : T e | A : forall x, T x -> T (a x) | B : forall x, T x -> T (b x).
Ltac f := apply A. Ltac g := apply B. Ltac h := apply s.
"""
Example = tuple[str, str]
TRIED = 64
"""Attempts at the start that a statement is not proved in."""


def coq_example(word: str) -> Example:
    """T (a (b e)), and its proof f. g. h."""
    return f"T {''.join(f'({each} ' for each in word)}e{')' * len(word)}", " ".join(
        [*({"a": "f.", "b": "g."}[each] for each in word), "h."]
    )


def coq_teaching(draw: random.Random) -> Example:
    """Words of up to two letters with their proofs, and statements of up to four for any target."""
    word = "".join(draw.choice("ab") for _ in range(draw.choice((0, 1, 1, 2, 2, 2))))
    if draw.random() < 0.7:
        return coq_example(word)
    target = "".join(draw.choice("ab") for _ in range(draw.randint(1, 4)))
    return f"{coq_example(target)[0]}>", coq_example(target[: draw.randint(1, 3)])[0]


def coq_targets(draw: random.Random) -> list[Example]:
    words = sorted({"".join(draw.choice("ab") for _ in range(draw.randint(3, 4))) for _ in range(24)})
    return [coq_example(word) for word in words]


SIDE = 5
PLACES = "abcdefghijklmnopqrstuvwxy"
"""Of a grid of five rows; a rule goes from each to its right and to its lower neighbour: z a => z b by ab, z a => z f by af."""


def steps_from(at: int) -> list[int]:
    return [at + 1] * (at % SIDE < SIDE - 1) + [at + SIDE] * (at // SIDE < SIDE - 1)


def grid() -> str:
    """The rules as a database: what is shown of any z at one place holds at the next."""
    rules = [(PLACES[at], PLACES[to]) for at in range(len(PLACES)) for to in steps_from(at)]
    lines = [
        f"${{ {a}{b}.1 $e |- z {a} $. {a}{b} $a |- z {b} $. $}}" for a, b in rules
    ]  # a variable, for without one the program would not compare hypotheses
    return "\n".join([f"$c |- at {' '.join(PLACES)} $. $v z $. 0 $f at z $.", *lines])


def path(draw: random.Random, size: int) -> list[int]:
    while True:
        places = [draw.randrange(len(PLACES))]
        while len(places) <= size and steps_from(places[-1]):
            places.append(draw.choice(steps_from(places[-1])))
        if len(places) == size + 1:
            return places


def straight(places: list[int]) -> bool:
    return len({b - a for a, b in itertools.pairwise(places)}) == 1


def metamath_example(places: list[int]) -> Example:
    """|- z a => |- z c, and its proof 0 0 h1 ab bc."""
    labels = [PLACES[a] + PLACES[b] for a, b in itertools.pairwise(places)]
    return f"|- z {PLACES[places[0]]} => |- z {PLACES[places[-1]]}", " ".join(
        ["0"] * len(labels) + ["h1", *labels]
    )


def metamath_teaching(draw: random.Random) -> Example:
    """Paths of up to two steps, or of three that are straight, with their proofs; parts of a target's path for any target."""
    if draw.random() < 0.7:
        places = path(draw, draw.choice((1, 2, 2, 3, 3)))
        while len(places) > 3 and not straight(places):
            places = path(draw, len(places) - 1)
        return metamath_example(places)
    places = path(draw, draw.randint(2, 4))
    first = draw.randrange(len(places) - 1)
    last = min(len(places) - 1, first + draw.randint(1, 4))
    return f"{metamath_example(places)[0]}>", metamath_example(places[first : last + 1])[0]


def metamath_targets(draw: random.Random) -> list[Example]:
    """Paths of three and four steps that turn."""
    paths = [path(draw, draw.randint(3, 4)) for _ in range(200)]
    examples = dict(metamath_example(places) for places in paths if not straight(places))
    return sorted(examples.items())


def taught(example: Callable[[random.Random], Example], alphabet: str, steps: int) -> Language:
    """A model of some 20 thousand weights, taught examples."""
    draw = random.Random(0)
    model = tiny(seed=0, layers=2, width=48, heads=2, length=96, alphabet=alphabet)
    rows = lambda: model.rows(*zip(*(example(draw) for _ in range(32))))  # noqa: E731
    return teach(model, rows, steps=steps, learning_rate=6e-3, warm_up=20)


def attempts(model: Language, checker: Prover, statements: list[str], count: int, longest: int) -> int:
    """How many of ``count`` proofs of each statement hold, in all."""
    prompts = [each for each in statements for _ in range(count)]
    how = Sampler(max_new_tokens=longest)
    texts = model.texts(how(model, model.prompts(prompts), row_draws(99, range(len(prompts)), longest)))
    return sum(each.proved for each in checked(checker, list(zip(prompts, texts))))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "program", "theory", "teaching", "targeting", "alphabet", "steps", "settings"),
    [
        (
            "coq",
            "coqtop",
            EVEN,
            coq_teaching,
            coq_targets,
            "Teab() >fgh.",
            150,
            {"rounds": 10, "learning_rate": 1e-3},
        ),
        (
            "metamath",
            "metamath",
            grid(),
            metamath_teaching,
            metamath_targets,
            f"|-=> 01z{PLACES}",
            400,
            {"rounds": 10, "learning_rate": 1e-3, "max_new_tokens": 34, "conjecturer.max_new_tokens": 18},
        ),
    ],
)
def test_what_the_start_could_not_prove_is_proved(
    name: str, program: str, theory: str, teaching: Callable[[random.Random], Example],
    targeting: Callable[[random.Random], list[Example]], alphabet: str, steps: int, settings: dict[str, Any], tmp_path: Path,
) -> None:  # fmt: skip
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    file = tmp_path / "theory"
    file.write_text(theory)
    checker = prover(f"{name}:{file}")
    examples = targeting(random.Random(1))
    assert all(verify(checker, *each) for each in examples[:2])
    lines = "".join(json.dumps({"prompt": statement}) + "\n" for statement, _ in examples)
    (tmp_path / "targets.jsonl").write_text(lines)
    data = load(str(tmp_path / "targets.jsonl"), validation=0.1, test=0.1)
    start = taught(teaching, alphabet, steps)
    targets = [row.question for row in data.train]
    given = {
        "prover": f"{name}:{file}", "answers": 8, "max_new_tokens": 24, "learning_rate": 2e-3, "batch_size": 16,
        "conjecturer.template": "{statement}>", "conjecturer.max_new_tokens": 24, "conjecturer.learning_rate": 5e-4,
        "guide.kind": "rubric", "solver.most": 0.9, **settings,
    }  # fmt: skip
    longest = given["max_new_tokens"]
    unproved = [each for each in targets if not attempts(start, checker, [each], TRIED, longest)]
    assert unproved, "the start proves everything"
    with Run(tmp_path / "run", seed=0, progress=False) as run:
        SGS.settings(**given).fit(start, data, run)
        rounds = run.reported.rows("rounds")
    written = (tmp_path / "run" / "proofs.jsonl").read_text().splitlines()
    proofs = {row["statement"]: row["proof"] for row in map(json.loads, written)}
    new = [each for each in unproved if each in proofs]
    print(
        name,
        f"{len(unproved)} of {len(targets)} unproved in {TRIED} attempts at the start, {len(new)} of them proved:",
        *(f"{each} by {proofs[each]};" for each in new),
        rounds[-1],
    )
    assert new
    assert all(verify(checker, each, proofs[each]) for each in new)
