"""What self-play between a solver and a conjecturer needs beside a prover: the archive of proofs, rows to learn from, prompts.

``methods/sgs.py`` composes them. Everything here is plain data: stages keep it, and an archive is part of the run's state.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import torch
from torch import Tensor

from counterpoint.data.language.answer import Answer
from counterpoint.evaluation.scaling_curve import fit_curve
from counterpoint.generation.engine import Engine
from counterpoint.generation.sampler import row_draws
from counterpoint.generation.samplers import Samples
from counterpoint.judges.provers.prover import proof_of
from counterpoint.judges.provers.reviews import JOINTS
from counterpoint.models.language.language import Language
from counterpoint.models.language.likelihood import sampled
from counterpoint.objectives.preference.self_play import overlong
from counterpoint.training import Run

SHARD = 64
"""Statements whose proofs are sampled together: what a crash can cost."""
COMMENTS = re.compile(r"/-.*?-/|\(\*.*?\*\)|--[^\n]*", re.DOTALL)


class Rollout(Answer):
    """A sampled text with the sum of its tokens' log-probabilities, and each of these where an engine gave them."""

    logp: float
    log_probs: NotRequired[list[float]]


class Conjecture(TypedDict):
    """A statement that was posed for a target (its number), as ids and as text."""

    target: int
    statement: str
    ids: list[int]


class Archive:
    """The proofs of every target, by the round that they are of; a round that is done again changes nothing.

    Args:
        most: proofs of a target that are remembered.

    >>> archive = Archive(most=1)
    >>> archive.add(0, [(7, [5, 6]), (7, [5, 8])], generations=16)
    >>> archive.solved(0), archive.solved(1), archive.count(7, 1), archive.recent(1, 3), archive.generations(1)
    (set(), {7}, 1, [(7, [5, 6])], 16)
    """

    def __init__(self, most: int = 16) -> None:
        self.most = most
        self.rounds: list[list[tuple[int, list[int]]]] = []
        self._spent: list[int] = []

    def add(self, number: int, proofs: Sequence[tuple[int, list[int]]], generations: int) -> None:
        """Remember (target, proof's ids) of a round: new ones, up to ``most`` a target; a round that is there stays as it is."""
        if number < len(self.rounds):
            return
        present = {(target, tuple(ids)) for rows in self.rounds for target, ids in rows}
        counts = {target: self.count(target, number) for target, _ in proofs}
        new: list[tuple[int, list[int]]] = []
        for target, ids in proofs:
            if (target, tuple(ids)) not in present and counts[target] < self.most:
                present.add((target, tuple(ids)))
                counts[target] += 1
                new.append((target, list(ids)))
        self.rounds.append(new)
        self._spent.append(generations)

    def generations(self, before: int) -> int:
        """Texts that were sampled in the rounds before this one."""
        return sum(self._spent[:before])

    def solved(self, before: int) -> set[int]:
        """The targets with a proof of a round before this one."""
        return {target for rows in self.rounds[:before] for target, _ in rows}

    def count(self, target: int, before: int) -> int:
        """Proofs of a target from the rounds before this one."""
        return sum(one == target for rows in self.rounds[:before] for one, _ in rows)

    def recent(self, until: int, rounds: int) -> list[tuple[int, list[int]]]:
        """The proofs of the last ``rounds`` rounds up to this one, excluding it."""
        return [proof for rows in self.rounds[max(until - rounds, 0) : until] for proof in rows]

    def state_dict(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {
            "rounds": [[[target, ids] for target, ids in rows] for rows in self.rounds],
            "generations": self._spent,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put everything back."""
        self.rounds = [[(int(target), list(ids)) for target, ids in rows] for rows in state["rounds"]]
        self._spent = [int(each) for each in state["generations"]]


def sample_rollouts(
    run: Run, name: str, sampler: Samples, prompts: Sequence[str], count: int, seed: int
) -> list[list[Rollout]]:
    """``count`` texts to every prompt, as a durable stage."""

    def drawn(shard: Sequence[int]) -> list[list[Rollout]]:
        rows = [number * count + k for number in shard for k in range(count)]
        draws = None if sampler.how.greedy else row_draws(seed, rows, sampler.how.max_new_tokens)
        out = sampler([prompts[number] for number in shard], count, draws)
        sums = out.log_probs.double().sum(1).tolist()
        texts = zip(out.rows(), sampler.model.texts(out), out.ended.tolist(), sums, strict=True)
        flat = [Rollout(ids=ids, text=text, ended=ended, logp=logp) for ids, text, ended, logp in texts]
        if isinstance(sampler, Engine):
            for each, values in zip(flat, out.log_probs.tolist(), strict=True):
                each["log_probs"] = values[: len(each["ids"])]
        return [flat[at : at + count] for at in range(0, len(flat), count)]

    sampler.follow()
    return run.stage(name, drawn, over=range(len(prompts)), size=SHARD)


def surprise(drawn: Sequence[Sequence[Rollout]]) -> float:
    """Mean -log pi of the sampled tokens: an estimate of the entropy."""
    every = [each for row in drawn for each in row]
    return -sum(each["logp"] for each in every) / max(sum(len(each["ids"]) for each in every), 1)


def shaped(answers: Sequence[Answer], proved: Sequence[bool], longest: int, skip: str) -> list[float]:
    """The reward of each rollout: 1 for a proof, less where it is too long, 0 where it has the text that is skipped.

    >>> rows = [Answer(ids=[1] * n, text=text, ended=True) for n, text in ((3, "simp"), (9, "simp"), (3, "try simp"), (3, "-- try\\nsimp"))]
    >>> shaped(rows, [True] * 4, 10, "try")
    [1.0, -0.5, 0.0, 1.0]
    """
    penalty = overlong(torch.tensor([len(answer["ids"]) for answer in answers]), longest).tolist()
    return [
        0.0 if not right or (skip and skip in COMMENTS.sub(" ", answer["text"])) else (over or 1.0)
        for answer, right, over in zip(answers, proved, penalty, strict=True)
    ]


def usable(written: Sequence[str], taken: Sequence[str]) -> list[bool]:
    """Which conjectures are new: not equal to each other (the first stays) or to a target.

    >>> usable(["a = b", "a = b", "c = d"], ["c = d"])
    [True, False, False]
    """
    present, new = {text.strip() for text in taken}, []
    for text in written:
        new.append(text not in present)
        present.add(text)
    return new


def write_proofs(path: Path, archive: Archive, targets: Sequence[str], model: Language) -> None:
    """Write every proof of the archive, a line each: statement, proof, the round that it is of."""
    lines = []
    for number, rows in enumerate(archive.rounds):
        texts = model.texts(sampled(model, [ids for _, ids in rows])) if rows else []
        for (target, _), text in zip(rows, texts, strict=True):
            lines.append(
                json.dumps(
                    {"statement": targets[target], "proof": proof_of(text), "round": number},
                    ensure_ascii=False,
                )
            )
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    os.replace(partial, path)


def filled(template: str, statement: str) -> str:
    """A template with its statement; other braces stay."""
    return template.replace("{statement}", statement)


def round_figures(
    archive: Archive,
    r: int,
    targets: int,
    posed: Sequence[Conjecture],
    drawn: Sequence[Sequence[Rollout]],
    rate: Tensor,
) -> dict[str, float]:
    """What a round came to; shares are of all targets, or of the round's conjectures.

    Args:
        targets: how many there are. drawn: the proofs of those that were attempted.
        rate: solve rates, of these and then of the conjectures.
    """
    mine, theirs = rate[: len(drawn)], rate[len(drawn) :]
    return {
        "generations": archive.generations(r + 1),
        "solved": len(archive.solved(r + 1)) / targets,
        "solved_now": float((mine > 0).sum()) / targets,
        "surprise": surprise(drawn),
        "conjectures": len(posed),
        "learnable": float(((theirs > 0) & (theirs < 1)).double().mean()) if len(theirs) else 0.0,
        "length": sum(len(each["statement"]) for each in posed) / max(len(posed), 1),
        "parts": sum(len(JOINTS.split(each["statement"])) for each in posed) / max(len(posed), 1),
    }


def report_curve(run: Run) -> None:
    """Report the scaling curve of a run whose share of solved targets rose: its points, the fit beside them, and its unknowns."""
    rounds = run.reported.rows("rounds")
    if len(rounds) < 5 or rounds[-1]["solved"] <= rounds[0]["solved"]:
        return
    compute, solved = ([float(row[name]) for row in rounds] for name in ("generations", "solved"))
    curve = fit_curve(compute, solved)
    values = zip(compute, solved, curve(compute).tolist())
    run.report(scaling=[{"step": int(c), "solved": s, "solved_fitted": f} for c, s, f in values])
    run.report(asymptote=curve.asymptote, middle=curve.middle, exponent=curve.exponent)
