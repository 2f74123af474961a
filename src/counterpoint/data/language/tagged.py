"""Answers in tags, reasoning and answer apart: written, read, supplemented, and five ways of getting the form wrong.

``Tags("think", "answer")`` is the form <think>...</think><answer>...</answer>. A corruption changes the form and nothing that was meant.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from counterpoint.conversation import Prompt, last_text, reworded
from counterpoint.data.language.answer import final_answer
from counterpoint.errors import CounterpointError

CORRUPTIONS = ("bare", "no_answer_tags", "misplaced", "plain", "unclosed")
"""No tags; none around the answer; the answer's opening tag before the reasoning's end; "Answer:" for tags; a tag never closed."""


@dataclass(frozen=True)
class Tags:
    """The names of the two tags.

    >>> tags = Tags("think", "answer")
    >>> tags.written("2+2 makes 4", "4")
    '<think>2+2 makes 4</think><answer>4</answer>'
    >>> tags.parts("<think>so</think> <answer>4</answer>"), tags.parts("<think>so</think> 4")
    (('so', '4'), None)
    """

    reasoning: str
    answer: str

    @classmethod
    def of(cls, names: str) -> Tags:
        """From two names with a space between.

        Raises:
            CounterpointError: not two different names.
        """
        words = names.split()
        if len(words) != 2 or words[0] == words[1] or not all(re.fullmatch(r"\w+", word) for word in words):
            raise CounterpointError(
                f"tags={names!r}; expected two names of tags with a space between, such as 'think answer'"
            )
        return cls(*words)

    @property
    def pattern(self) -> str:
        """A regular expression of a whole answer in this form; each of the four tags stands in it once."""
        marks = "|".join(f"</?{name}>" for name in (self.reasoning, self.answer))
        inner = rf"((?:(?!{marks}).)*)"
        return rf"(?s)\s*<{self.reasoning}>{inner}</{self.reasoning}>\s*<{self.answer}>{inner}</{self.answer}>\s*"

    def parts(self, text: str) -> tuple[str, str] | None:
        """Reasoning and answer of a text in this form; None of any other, and where the answer is empty."""
        match = re.fullmatch(self.pattern, text)
        return (match.group(1), match.group(2)) if match and match.group(2).strip() else None

    def written(self, reasoning: str, answer: str) -> str:
        """A text in this form."""
        return f"<{self.reasoning}>{reasoning}</{self.reasoning}><{self.answer}>{answer}</{self.answer}>"

    def bare(self, text: str) -> str:
        """The text without any tag of these names."""
        return re.sub(rf"</?(?:{self.reasoning}|{self.answer})>", "", text)

    def supplemented(self, text: str) -> str:
        """The text in this form: as it stands where it is, else its final answer in the answer's tags, what precedes it in the others.

        >>> Tags("think", "answer").supplemented("<think>2+2 makes 4. Answer: 4")
        '<think>2+2 makes 4.</think><answer>4</answer>'
        """
        if self.parts(text) is not None:
            return text
        opened = text.rpartition(f"<{self.answer}>")
        if opened[1] and self.bare(opened[2]).strip():
            return self.written(self.bare(opened[0]).strip(), self.bare(opened[2]).strip())
        plain = self.bare(text).strip()
        answer = final_answer(plain)
        before = re.sub(
            r"(?:####|(?:\w+\s+)?answer\s*(?:is)?\s*:?)\s*$", "", plain[: plain.rfind(answer)], flags=re.I
        )
        return self.written(before.strip(), answer)

    def corrupted(self, text: str, kind: str) -> str:
        """A text in this form with its form spoilt.

        Raises:
            CounterpointError: a kind that there is not, or a text in another form.

        >>> for kind in CORRUPTIONS:
        ...     print(Tags("t", "a").corrupted("<t>so</t><a>4</a>", kind))
        so 4
        <t>so</t> 4
        <t>so<a></t>4</a>
        so Answer: 4
        <t>so</t><a>4
        """
        parts = self.parts(text)
        if kind not in CORRUPTIONS or parts is None:
            raise CounterpointError(
                f"corruption={kind!r} of '{text[:60]}'; expected one of {', '.join(CORRUPTIONS)}, of a text in the form "
                f"{self.written('...', '...')}"
            )
        reasoning, answer = parts
        t, a = self.reasoning, self.answer
        return {
            "bare": f"{reasoning} {answer}",
            "no_answer_tags": f"<{t}>{reasoning}</{t}> {answer}",
            "misplaced": f"<{t}>{reasoning}<{a}></{t}>{answer}</{a}>",
            "plain": f"{reasoning} Answer: {answer}",
            "unclosed": f"<{t}>{reasoning}</{t}><{a}>{answer}",
        }[kind]

    def renamed(self, prompt: Prompt, other: Tags) -> Prompt:
        """A prompt that names the other tags wherever it named these, in its last message.

        >>> Tags("think", "answer").renamed("Reason in <think>, answer in <answer>.", Tags("plan", "result"))
        'Reason in <plan>, answer in <result>.'
        """
        names = {self.reasoning: other.reasoning, self.answer: other.answer}
        marks = rf"<(/?)({self.reasoning}|{self.answer})>"
        return reworded(
            prompt, re.sub(marks, lambda match: f"<{match[1]}{names[match[2]]}>", last_text(prompt))
        )

    def named_in(self, prompt: Prompt) -> bool:
        """Whether a prompt's last message names both tags."""
        return all(f"<{name}>" in last_text(prompt) for name in (self.reasoning, self.answer))
