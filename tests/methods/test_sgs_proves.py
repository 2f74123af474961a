"""SGS proves in Coq what its start could not: a tiny model and theory, the program itself."""

from __future__ import annotations

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


def coq_example(word: str) -> Example:
    """T (a (b e)), and its proof f. g. h."""
    return f"T {''.join(f'({each} ' for each in word)}e{')' * len(word)}", " ".join(
        [*({"a": "f.", "b": "g."}[each] for each in word), "h."]
    )


def taught(
    example: Callable[[str], Example], letters: str, alphabet: str, longest: int, steps: int
) -> Language:
    """A model that proves words of up to two letters, and writes statements of up to ``longest`` ones for any target."""
    draw = random.Random(0)
    model = tiny(seed=0, layers=2, width=48, heads=2, length=96, alphabet=alphabet)

    def one() -> Example:
        word = "".join(draw.choice(letters) for _ in range(draw.choice((0, 1, 1, 2, 2, 2))))
        if draw.random() < 0.7:
            return example(word)
        target = "".join(draw.choice(letters) for _ in range(draw.randint(1, longest)))
        return f"{example(target)[0]}>", example(target[: draw.randint(1, 3)])[0]

    rows = lambda: model.rows(*zip(*(one() for _ in range(32))))  # noqa: E731
    return teach(model, rows, steps=steps, learning_rate=6e-3, warm_up=20)


def attempts(model: Language, checker: Prover, statements: list[str], count: int, longest: int) -> int:
    """How many of ``count`` proofs of each statement hold, in all."""
    prompts = [each for each in statements for _ in range(count)]
    how = Sampler(max_new_tokens=longest)
    texts = model.texts(how(model, model.prompts(prompts), row_draws(99, range(len(prompts)), longest)))
    return sum(each.proved for each in checked(checker, list(zip(prompts, texts))))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "program", "theory", "example", "letters", "alphabet", "sizes", "settings"),
    [
        ("coq", "coqtop", EVEN, coq_example, "ab", "Teab() >fgh.", (3, 4), {"rounds": 5}),
    ],
)
def test_what_the_start_could_not_prove_is_proved(
    name: str, program: str, theory: str, example: Callable[[str], Example], letters: str, alphabet: str,
    sizes: tuple[int, int], settings: dict[str, Any], tmp_path: Path,
) -> None:  # fmt: skip
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    path = tmp_path / "theory"
    path.write_text(theory)
    checker = prover(f"{name}:{path}")
    draw = random.Random(1)
    words = sorted({"".join(draw.choice(letters) for _ in range(draw.randint(*sizes))) for _ in range(24)})
    assert all(verify(checker, *example(word)) for word in words[:2])
    (tmp_path / "targets.jsonl").write_text(
        "".join(json.dumps({"prompt": example(word)[0]}) + "\n" for word in words)
    )
    data = load(str(tmp_path / "targets.jsonl"), validation=0.1, test=0.1)
    start = taught(example, letters, alphabet, sizes[1], 150)
    targets = [row.question for row in data.train]
    longest = 24
    unproved = [each for each in targets if not attempts(start, checker, [each], 16, longest)]
    assert unproved, "the start proves everything"
    given = {
        "prover": f"{name}:{path}", "answers": 8, "max_new_tokens": longest, "learning_rate": 2e-3, "batch_size": 16,
        "conjecturer.template": "{statement}>", "conjecturer.max_new_tokens": 24, "conjecturer.learning_rate": 5e-4,
        "guide.kind": "rubric", "solver.most": 0.9, **settings,
    }  # fmt: skip
    with Run(tmp_path / "run", seed=0, progress=False) as run:
        SGS.settings(**given).fit(start, data, run)
        rounds = run.reported.rows("rounds")
    lines = (tmp_path / "run" / "proofs.jsonl").read_text().splitlines()
    proofs = {row["statement"]: row["proof"] for row in map(json.loads, lines)}
    new = [each for each in unproved if each in proofs]
    print(
        name,
        f"{len(unproved)} of {len(targets)} unproved in 16 attempts at the start, {len(new)} of them proved;",
        rounds[-1],
    )
    assert new
    assert all(verify(checker, each, proofs[each]) for each in new)
