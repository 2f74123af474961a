"""What a run sampled and asked of servers, read from its folder. No torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from counterpoint.errors import CounterpointError
from counterpoint.generation import journal
from counterpoint.study.store import is_run, is_study

SAMPLES = "samples.jsonl"


def samples_of(folder: Path, step: int | None = None, *, missing_ok: bool = False) -> list[dict[str, Any]]:
    """The rows of a run's ``samples.jsonl``, in the order they were sampled; a torn last line is passed over.

    Args:
        step: only those of this step. missing_ok: give nothing where nothing was sampled.

    Raises:
        CounterpointError: no run, a run that sampled nothing, or nothing at this step.
    """
    path = Path(folder) / SAMPLES
    if not path.exists():
        if missing_ok:
            return []
        if is_study(folder):
            raise CounterpointError(
                f"{folder} holds a study; give the folder of one of its runs, in {folder}/runs"
            )
        if not is_run(folder):
            raise CounterpointError(f"{folder} holds no run; give the --out folder of one")
        raise CounterpointError(
            f"the run in {folder} has sampled nothing that is judged (yet); methods with a setting 'judge' do, e.g. grpo"
        )
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    if step is None:
        return rows
    steps = sorted({row["step"] for row in rows})
    mine = [row for row in rows if row["step"] == step]
    if not mine:
        raise CounterpointError(
            f"--step {step}: nothing was sampled there; there are steps {steps[0]} to {steps[-1]}"
        )
    return mine


def requests_of(folder: Path) -> dict[str, float]:
    """How many requests a run sent to servers, with their tokens and cost; empty where it sent none."""
    return journal.used(Path(folder) / journal.FILE)


def prompt_text(prompt: Any) -> str:
    """A prompt as one text: a conversation's turns with their roles, pictures by the first letters of their content's hash.

    >>> prompt_text([{"role": "user", "content": [{"picture": "e16af339ea16"}, {"type": "text", "text": "what?"}]}])
    'user: [picture e16af339] what?'
    """
    if isinstance(prompt, str):
        return prompt
    turns = prompt["messages"] if isinstance(prompt, dict) and "messages" in prompt else prompt
    if not isinstance(turns, list):
        return json.dumps(prompt, ensure_ascii=False)
    return "\n".join(f"{turn.get('role')}: {_shown(turn.get('content'))}" for turn in turns)


def _shown(content: Any) -> str:
    if not isinstance(content, list):
        return str(content)
    return " ".join(
        f"[picture {str(part['picture'])[:8]}]" if "picture" in part else str(part.get("text", part))
        for part in content
    )
