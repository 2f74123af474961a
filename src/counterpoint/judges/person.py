"""A person as judge, by way of a file: what waits for a rating is written down, and ratings are read from there.

A line of JSON per answer: ``{"prompt": ..., "answer": ..., "reward": null}``. The run stops, a person puts numbers in place
of null (and, if wanted, a text under "note"), and the same command goes on.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from counterpoint.data.language.answer import Answers
from counterpoint.data.language.problem import Problem
from counterpoint.errors import CounterpointError
from counterpoint.judges.judge import Verdicts


class Person:
    """Rewards that a person wrote into a JSONL file; the same answer to the same prompt is rated once.

    Args:
        file: the JSONL file; made when it is not there.
    """

    def __init__(self, file: str | Path) -> None:
        self.file = Path(file)

    def __call__(self, problems: Sequence[Problem], answers: Answers) -> Verdicts:
        """Look every answer up.

        Raises:
            CounterpointError: answers wait for a rating (they stand in the file now), or a line cannot be read.
        """
        rows = self._read()
        keys = [[(p.key(), a["text"]) for a in row] for p, row in zip(problems, answers, strict=True)]
        prompts = {p.key(): p.prompt for p in problems}
        new = [key for key in dict.fromkeys(each for row in keys for each in row) if key not in rows]
        if new:
            self._append(
                [{"prompt": prompts[key[0]], "answer": key[1], "reward": None, "key": key[0]} for key in new]
            )
        waiting = [key for row in keys for key in row if key not in rows or rows[key].get("reward") is None]
        if waiting:
            raise CounterpointError(
                f"{len(set(waiting))} answers in {self.file} wait for a rating; put a number (higher is better) in place of "
                'null after "reward" in each line, and run the same command again'
            )
        return Verdicts.of(
            [[float(rows[key]["reward"]) for key in row] for row in keys],
            [[str(rows[key].get("note", "")) for key in row] for row in keys],
        )

    def _read(self) -> dict[tuple[str, str], dict[str, Any]]:
        verdicts: dict[tuple[str, str], dict[str, Any]] = {}
        if not self.file.exists():
            return verdicts
        for at, line in enumerate(self.file.read_text(encoding="utf-8").splitlines(), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                key = row["key"], row["answer"]
                usable = row["reward"] is None or math.isfinite(float(row["reward"]))
            except (ValueError, KeyError, TypeError):
                usable = False
            if not usable:
                raise CounterpointError(
                    f"{self.file}, line {at}: {line[:80]}; expected a line such as "
                    '{"prompt": "2+2=", "answer": "4", "reward": 1, "key": "2+2="}'
                )
            verdicts[key] = row
        return verdicts

    def _append(self, rows: list[dict[str, Any]]) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        before = self.file.read_text(encoding="utf-8") if self.file.exists() else ""
        if before and not before.endswith("\n"):
            before += "\n"
        partial = self.file.with_name(self.file.name + ".partial")
        partial.write_text(before + "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        os.replace(partial, self.file)
