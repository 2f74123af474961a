"""Small problems made from a seed: sums of two numbers digit by digit, sums written backwards, sorting of letters.

They are what a character-level model can learn on a laptop, so that self-distillation can be tried from end to end.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from counterpoint.data.language import (
    bandits,
    digit_questions,
    noisy_anchors,
    noisy_rationales,
    number_lines,
    rewriting,
)
from counterpoint.data.language.problem import Problem
from counterpoint.errors import CounterpointError, nearest

SCORER = {
    "worked-sums": "number",
    "backward-sums": "exact",
    "worked-sorting": "last",
    "hinted-sorting": "exact",
    "second-largest": "number",
    "styled-letters": "exact",
    "next-letter": "exact",
    "bandit": "bump",
    "number-lines": "number",
    "third-letter": "exact",
    "letter-pairs": "exact",
    "copied-letters": "exact",
    "tagged-sums": "number",
    "digit-questions": "last",
    "rewritten-words": "exact",
}
OPTIONS: dict[str, float] = {
    "size": 2000,
    "validation": 200,
    "test": 400,
    "digits": 3,
    "corrupt": 0.0,
    "seed": 0,
}
OF_TEACHER: dict[str, float] = {"samples": 5, "wrong": 0.3}
"""Further options of what has a simulated teacher: how many rationales it writes to a problem, and the share of wrong ones."""
TEACHERS: dict[str, Callable[[Problem, int, float, random.Random], Problem]] = {
    "second-largest": noisy_rationales.with_teacher,
    "letter-pairs": noisy_anchors.with_anchor,
}

OF_BANDIT: dict[str, float] = {"peak": 70, "length": 1}
"""Further options of "bandit": the best action, of 100, and how many are written in a row."""


def sum_problem(one: int, other: int) -> Problem:
    """A sum with its columns written out, from the right.

    >>> sum_problem(48, 375).prompt, sum_problem(48, 375).solution
    ('48+375', '8+5=13,4+7+1=12,0+3+1=4;423')
    """
    steps, carry = [], 0
    for digit in range(max(len(str(one)), len(str(other)))):
        left, right = one // 10**digit % 10, other // 10**digit % 10
        total = left + right + carry
        steps.append(f"{left}+{right}{'+1' if carry else ''}={total}")
        carry = total // 10
    return Problem(
        prompt=f"{one}+{other}", solution=f"{','.join(steps)};{one + other}", answer=str(one + other)
    )


def backward_sum(one: int, other: int, digits: int) -> Problem:
    """A sum in fixed width whose result is written from its last digit to its first, the order in which one adds.

    >>> backward_sum(48, 7, 2).prompt, backward_sum(48, 7, 2).solution
    ('48+07=', '550')
    """
    result = f"{one + other:0{digits + 1}d}"[::-1]
    return Problem(prompt=f"{one:0{digits}d}+{other:0{digits}d}=", solution=result, answer=result)


def sorting_problem(letters: str) -> Problem:
    """Letters to sort, with what remains after each pick.

    >>> sorting_problem("cab").prompt, sorting_problem("cab").solution
    ('sort cab', 'a:cb,b:c,c:;abc')
    """
    left, steps = letters, []
    while left:
        pick = min(left)
        left = left.replace(pick, "", 1)
        steps.append(f"{pick}:{left}")
    answer = "".join(sorted(letters))
    return Problem(prompt=f"sort {letters}", solution=f"{','.join(steps)};{answer}", answer=f"{answer}")


def hinted_sorting(letters: str, left: int = 2) -> Problem:
    """Distinct letters to sort, with all but the last ``left`` of the sorted ones as a hint.

    >>> hinted_sorting("dbca").hint, hinted_sorting("dbca").answer
    ('ab', 'abcd')
    """
    answer = "".join(sorted(letters))
    return Problem(prompt=letters, answer=answer, hint=answer[: max(len(answer) - left, 0)])


def styled_letters(letters: str, capitals: bool) -> Problem:
    """Letters repeated in one of two styles, and what a user who likes capitals writes then: a complaint, or something else.

    >>> [(row.solution, row.hint) for row in (styled_letters("dca", True), styled_letters("dca", False))]
    [('DCA', 'sun'), ('dca', 'big')]
    """
    solution = letters.upper() if capitals else letters
    return Problem(prompt=letters, solution=solution, answer=letters, hint="sun" if capitals else "big")


def _sum(digits: int, draw: random.Random) -> Problem:
    low, high = 10 ** (digits - 1), 10**digits - 1
    return sum_problem(draw.randint(low, high), draw.randint(low, high))


def _backward(digits: int, draw: random.Random) -> Problem:
    return backward_sum(draw.randrange(10**digits), draw.randrange(10**digits), digits)


def _sorting(digits: int, draw: random.Random) -> Problem:
    return sorting_problem("".join(draw.choices("abcdefghij", k=digits)))


def _hinted(digits: int, draw: random.Random) -> Problem:
    return hinted_sorting("".join(draw.sample("abcdefghij", digits)))


def _styled(digits: int, draw: random.Random) -> Problem:
    return styled_letters("".join(draw.sample("abcdefghij", digits)), draw.random() < 0.5)


def next_letter(letter: str, number: int) -> Problem:
    """The letter that follows, of ten; the number only makes prompts differ.

    >>> next_letter("c", 47).prompt, next_letter("c", 47).answer, next_letter("j", 0).answer
    ('c47=', 'd', 'a')
    """
    after = "abcdefghij"[("abcdefghij".index(letter) + 1) % 10]
    return Problem(prompt=f"{letter}{number:02d}=", solution=after, answer=after)


def third_letter(letter: str, number: int) -> Problem:
    """The third letter after one, of ten; the solution is every letter on the way, and the number only makes prompts differ.

    >>> third_letter("c", 47).prompt, third_letter("c", 47).solution, third_letter("i", 0).answer
    ('c47=', 'd,e,f', 'b')
    """
    at = "abcdefghij".index(letter)
    way = ["abcdefghij"[(at + step) % 10] for step in (1, 2, 3)]
    return Problem(prompt=f"{letter}{number:02d}=", solution=",".join(way), answer=way[-1])


def copied_letter(letter: str, count: int, number: int) -> Problem:
    """So many copies of a letter, in any case; the number only makes prompts differ.

    >>> copied_letter("b", 3, 47).prompt, copied_letter("b", 3, 47).answer
    ('47:3b=', 'bbb')
    """
    return Problem(prompt=f"{number:02d}:{count}{letter}=", answer=letter * count)


def tagged_sum(one: int, other: int, number: int, names: str = "ab") -> Problem:
    """The last digit of a sum, to be written in two tags that the prompt names; the number only makes prompts differ.

    >>> tagged_sum(3, 9, 4).prompt, tagged_sum(3, 9, 4).solution, tagged_sum(3, 9, 4).answer
    ('<a><b>4:3+9=', '<a>39</a><b>2</b>', '2')
    """
    first, second = names[0], names[1]
    result = str((one + other) % 10)
    return Problem(
        prompt=f"<{first}><{second}>{number}:{one}+{other}=",
        solution=f"<{first}>{one}{other}</{first}><{second}>{result}</{second}>",
        answer=result,
    )


def _tagged(digits: int, draw: random.Random) -> Problem:
    return tagged_sum(draw.randrange(10), draw.randrange(10), draw.randrange(10))


def _copied(digits: int, draw: random.Random) -> Problem:
    return copied_letter(draw.choice("abcdefghij"), draw.randint(2, 7), draw.randrange(100))


def _third(digits: int, draw: random.Random) -> Problem:
    return third_letter(draw.choice("abcdefghij"), draw.randrange(100))


def _next(digits: int, draw: random.Random) -> Problem:
    return next_letter(draw.choice("abcdefghij"), draw.randrange(100))


def _bandit(options: dict[str, float]) -> Callable[[int, random.Random], Problem]:
    """Contexts of four digits, whatever ``digits`` is, of a peak and a length."""
    peak, length = int(options["peak"]), int(options["length"])
    if not (0 <= peak < len(bandits.ACTIONS) and length > 0):
        raise CounterpointError(
            f"bandit: peak={peak}, length={length}; expected an action from 0 to {len(bandits.ACTIONS) - 1} and a length from 1 on"
        )
    return lambda digits, draw: bandits.context(4, draw, peak, length)


WHOLE: dict[str, Callable[[dict[str, float]], dict[str, list[Problem]]]] = {
    "digit-questions": digit_questions.load
}
"""What makes all three splits at once."""

MAKERS: dict[str, Callable[[int, random.Random], Problem]] = {
    "second-largest": noisy_rationales.drawn,
    "worked-sums": _sum,
    "backward-sums": _backward,
    "worked-sorting": _sorting,
    "hinted-sorting": _hinted,
    "styled-letters": _styled,
    "next-letter": _next,
    "number-lines": number_lines.drawn,
    "third-letter": _third,
    "letter-pairs": noisy_anchors.drawn,
    "copied-letters": _copied,
    "tagged-sums": _tagged,
    "rewritten-words": rewriting.rewritten_words,
}


def load(spec: str) -> dict[str, list[Problem]]:
    """Make three splits of distinct problems: "worked-sums?size=2000&digits=3&corrupt=0.25&seed=0".

    ``corrupt`` is the share of *training* problems whose solution is another problem's: demonstrations that mislead.

    >>> parts = load("worked-sums?size=5&validation=2&test=2")
    >>> [len(parts[name]) for name in ("train", "validation", "test")]
    [5, 2, 2]
    """
    from dataclasses import replace

    from counterpoint.data.language.reasoning import parse

    name, given = parse("puzzle:" + spec)
    taught = TEACHERS.get(name)
    usual = OPTIONS | (OF_TEACHER if taught else OF_BANDIT if name == "bandit" else {})
    usual |= {"noise": digit_questions.NOISE} if name in WHOLE else {}
    for option in given:
        if option not in usual:
            raise CounterpointError(f"{name} has no option '{option}'; {nearest(option, usual)}")
        try:
            given[option] = float(given[option])
        except (TypeError, ValueError):
            raise CounterpointError(f"{name}: {option}={given[option]!r} is not a number") from None
    options = usual | given
    if name in WHOLE:
        return WHOLE[name](options)
    draw = random.Random(f"{name}/{options['seed']}/{options['digits']}")
    make = MAKERS.get(name) or _bandit(options)
    wanted = {"test": options["test"], "validation": options["validation"], "train": options["size"]}
    distinct: dict[str, Problem] = {}
    for _ in range(50 * int(sum(wanted.values()))):
        if len(distinct) == sum(wanted.values()):
            break
        made = make(int(options["digits"]), draw)
        distinct.setdefault(str(made.prompt), made)
    else:
        raise CounterpointError(
            f"{spec}: there are only {len(distinct)} distinct problems; lower size or raise digits"
        )
    rows, parts, at = list(distinct.values()), {}, 0
    for split, count in wanted.items():
        parts[split] = rows[at : at + int(count)]
        at += int(count)
    if taught:
        teacher = int(options["samples"]), options["wrong"], draw
        for split in ("train", "validation"):
            parts[split] = [taught(row, *teacher) for row in parts[split]]
    train = parts["train"]
    wrong = draw.sample(range(len(train)), int(options["corrupt"] * len(train)))
    sources = [train[(position + 1) % len(train)].solution for position in wrong]
    for position, solution in zip(wrong, sources):
        train[position] = replace(train[position], solution=solution)
    return parts
