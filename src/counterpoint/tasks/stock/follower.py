"""The follower: a tiny model that names the third letter after one as the instruction in front says, and what judges it from outside.

An instruction is three words: how it reckons ("once": at once, "steps": every letter on the way), how the result is marked ("mark":
"Answer: f", "box": "[f]", "plain") and whether it chats ("chatty", "brief"). At once it errs on half of the letters, step by step on none:
the instruction decides how good it is. Only a brief answer that is marked, or stands alone, is read as one. Taught in ten seconds on
first use, then kept in the cache. ``propose`` changes one word; ``judge``, ``noisy`` and ``coin`` vote on answers as a reader could who
does not know the results: by the mark, by chatter, and by whether every letter follows the one before.
"""

from __future__ import annotations

import inspect
import itertools
import random
import re
import string
from collections.abc import Sequence

from counterpoint.data.language.puzzles import third_letter
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.instructed import with_instruction
from counterpoint.models.language.language import Language
from counterpoint.models.tokens import Tokens
from counterpoint.tasks.stock.stored import stored
from counterpoint.tasks.stock.teaching import teach

WORDS = (("once", "steps"), ("plain", "box", "mark"), ("chatty", "brief"))
WORST = "once plain chatty"
LETTERS = "abcdefghij"
CARELESS = "acegi"
"""Letters on which it errs when it answers at once: it stops one short."""
ALPHABET = string.ascii_letters + string.digits + " \n=,:?.[]"
NOISE = 0.3
FAVOUR = 0.8
"""How often a noisy judge who does not look names the response that stands first."""


def load() -> Language:
    """Return the follower, taught now or taken from the cache."""
    sources = (
        inspect.getsource(follower)
        + inspect.getsource(_example)
        + inspect.getsource(teach)
        + inspect.getsource(reply)
    )
    identity = f"{WORDS}/{ALPHABET}/{CARELESS}/{sources}"
    return stored("followers", "follower", identity, lambda: follower(0))


def reply(instruction: str, letter: str) -> str:
    """What the follower should write.

    >>> [reply(words, "c") for words in ("once plain brief", "steps mark brief", "steps box chatty")]
    ['e', 'd,e,f Answer: f', 'well, d,e,f [f] ok?']
    """
    reckon, mark, talk = instruction.split()
    way = third_letter(letter, 0).solution
    result = way[-1] if reckon == "steps" or letter not in CARELESS else way[2]
    shown = {"mark": f"Answer: {result}", "box": f"[{result}]", "plain": result}[mark]
    if reckon == "steps":
        shown = way if mark == "plain" else f"{way} {shown}"
    return f"well, {shown} ok?" if talk == "chatty" else shown


def follower(
    seed: int, *, steps: int = 200, batch_size: int = 48, learning_rate: float = 6e-3, width: int = 48
) -> Language:
    """Teach a fresh model; the same weights for the same seed.

    Args:
        seed: of the weights and the examples.
        steps, batch_size, learning_rate: of the training. width: of the model's hidden states.
    """
    draw = random.Random(f"follower/{seed}")
    model = tiny(seed=seed, layers=2, width=width, heads=2, length=96, alphabet=ALPHABET)

    def rows() -> tuple[Tokens, Tokens]:
        return model.rows(*zip(*(_example(draw) for _ in range(batch_size))))

    return teach(model, rows, steps=steps, learning_rate=learning_rate, warm_up=20)


def _example(draw: random.Random) -> tuple[str, str]:
    instruction = " ".join(draw.choice(words) for words in WORDS)
    letter, number = draw.choice(LETTERS), draw.randrange(100)
    question = str(third_letter(letter, number).prompt)
    return str(with_instruction(question, instruction)), reply(instruction, letter)


def propose(prompts: Sequence[str]) -> list[str]:
    """A prompt with one word of the best one changed, at random."""
    replies = []
    for prompt in prompts:
        words = _between(prompt, "The best prompt so far:").split()
        at = random.randrange(len(WORDS))
        words[at] = random.choice([word for word in WORDS[at] if word != words[at]])
        tag = re.findall(r"<prompt-(\w+)>", prompt)[-1]
        new = " ".join(words)
        replies.append(f"<modification>{words[at]}</modification><prompt-{tag}>{new}</prompt-{tag}>")
    return replies


def judge(prompts: Sequence[str]) -> list[str]:
    """Votes of a reader who makes no mistakes: for the response whose answers are marked and hold together, by chance where both do."""
    return [_vote(prompt, 0.0) for prompt in prompts]


def noisy(prompts: Sequence[str]) -> list[str]:
    """Votes of a reader who does not look in three cases of ten, and then mostly names what stands first."""
    return [_vote(prompt, NOISE) for prompt in prompts]


def coin(prompts: Sequence[str]) -> list[str]:
    """Votes by chance."""
    return [f"Verdict {_tag(prompt)}: {random.choice('AB')}" for prompt in prompts]


def quality(questions: Sequence[str], answers: Sequence[str]) -> float:
    """How good answers look without knowing the results: a mark (1/2) with nothing behind it (1/2), no chatter (1/4), and letters that
    follow each other (1).

    >>> [quality(["c47="], [text]) for text in ("d,e,f Answer: f", "d,e,f", "d,e,g", "well, Answer: e ok?")]
    [2.25, 1.25, 0.25, 0.5]
    """
    return sum(map(_quality, questions, answers)) / len(questions)


def _quality(question: str, answer: str) -> float:
    marked, ends = re.search(r"Answer: ([a-j])", answer), re.search(r"Answer: [a-j]$", answer)
    form = 0.5 * (marked is not None) + 0.5 * (ends is not None) + 0.25 * ("well" not in answer)
    listed = re.search(r"[a-j](?:,[a-j])+", answer)
    if listed is None:
        return form
    way = [question[0], *listed.group().split(",")]
    follows = all(LETTERS[(LETTERS.index(one) + 1) % 10] == other for one, other in itertools.pairwise(way))
    concludes = marked is None or marked.group(1) == way[-1]
    return form + float(follows and concludes)


def _vote(prompt: str, noise: float) -> str:
    tag = _tag(prompt)
    if random.random() < noise:
        return f"Verdict {tag}: {'A' if random.random() < FAVOUR else 'B'}"
    first, second = (_set_quality(_between(prompt, f"Response {letter}:")) for letter in "AB")
    better = random.choice("AB") if first == second else "A" if first > second else "B"
    return f"Verdict {tag}: {better}"


def _set_quality(shown: str) -> float:
    pairs = re.findall(r"Question \d+:\n(.*)\nAnswer \d+:\n(.*)", shown)
    return quality([question for question, _ in pairs], [answer for _, answer in pairs])


def _between(prompt: str, title: str) -> str:
    """What stands between the two lines with a tag under a title."""
    match = re.search(rf"{re.escape(title)}\n\[(\w+)\]\n(.*?)\n\[\1\]", prompt, re.DOTALL)
    return match.group(2) if match else ""


def _tag(prompt: str) -> str:
    return re.findall(r"Verdict (\w+):", prompt)[-1]
