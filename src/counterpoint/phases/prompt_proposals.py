"""How somebody is asked for a better prompt, and how the reply is read (prompt SPO, arXiv 2502.06855, section 3).

With a tag (``judges.enclosed``) only <prompt-TAG> holds the new prompt: an answer that holds a <prompt> of its own, or a reply that
quotes it, changes nothing. Without one the published contract holds, the first <prompt>.
"""

from __future__ import annotations

import re

from counterpoint.judges.enclosed import CAUTION, enclosed, tag_of


def request_for(
    requirements: str, prompt: str, shown: str, *, sketch: str = "", words: int = 0, guarded: bool = True
) -> tuple[str, str]:
    """What somebody who proposes is asked, and the tag of the new prompt, empty where it is not guarded.

    Args:
        requirements: what the task asks for.
        prompt: the best one so far. shown: its answers, listed.
        sketch: the form of an answer that is wanted; perhaps empty.
        words: at most so many in the new prompt; 0 sets no limit.
        guarded: enclose prompt and answers, and ask for a prompt with the tag.
    """
    tag = tag_of(requirements, prompt, shown) if guarded else ""
    name = f"prompt-{tag}" if tag else "prompt"
    short = f", within {words} words" if words else ""
    parts = [
        f"Write a better prompt for a task. The prompt stands in front of each question of the task.{' ' + CAUTION.format(tag=tag) if tag else ''}",
        f"Requirement:\n{requirements}",
        *([f"The form of answer that is expected:\n{sketch}"] if sketch else []),
        enclosed("The best prompt so far:", prompt, tag) if tag else f"The best prompt so far:\n{prompt}",
        enclosed("What it led to:", shown, tag) if tag else f"What it led to:\n{shown}",
        "Change one thing that makes the answers meet the requirement better; the new prompt must differ. Reply with "
        "<analyse>what is wrong with the answers and what would mend it</analyse>, <modification>the change, in one "
        f"sentence</modification> and <{name}>the whole new prompt{short}</{name}>.",
    ]
    return "\n\n".join(parts), tag


def proposed(reply: str, tag: str = "") -> str | None:
    """The prompt that a reply holds, stripped; None without one. With a tag the last tagged one, else the first.

    >>> proposed("<prompt> a\\nb </prompt>"), proposed("none"), proposed("<prompt>x</prompt>", "0a")
    ('a\\nb', None, None)
    >>> proposed("it holds <prompt>x</prompt>, so <prompt-0a>y</prompt-0a>", "0a")
    'y'
    """
    name = f"prompt-{tag}" if tag else "prompt"
    matches = re.findall(rf"<{name}>(.*?)</{name}>", reply, re.DOTALL)
    return matches[-1 if tag else 0].strip() if matches else None


def modification(reply: str) -> str:
    """What a reply says that it changed; perhaps empty."""
    matches = re.search(r"<modification>(.*?)</modification>", reply, re.DOTALL)
    return matches.group(1).strip() if matches else ""
