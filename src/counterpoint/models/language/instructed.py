"""A language model with an instruction in front of every prompt, as a model like any other: what prompt optimisation results in.

The weights are the model's own; ``instruction.json`` beside them says what is put in front, and ``prompt.txt`` holds it for people and
other programs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from counterpoint.conversation import last_text, reworded
from counterpoint.errors import CounterpointError
from counterpoint.models import model_folders
from counterpoint.models.language.language import Completion, Language, Prompt
from counterpoint.models.tokens import Replies, Tokens

FILE = "instruction.json"
TEXT = "prompt.txt"


def with_instruction(prompt: Prompt, instruction: str) -> Prompt:
    """The instruction, a blank line and the question, in one message; of a conversation, in its last one.

    >>> with_instruction("1+1=", "Think step by step.")
    'Think step by step.\\n\\n1+1='
    >>> with_instruction("1+1=", "")
    '1+1='
    """
    return reworded(prompt, f"{instruction}\n\n{last_text(prompt)}") if instruction else prompt


class Instructed(Language):
    """A model that is given an instruction with every prompt.

    Args:
        model: the model; its weights are shared, not copied.
        instruction: stands in front of each prompt.

    >>> from counterpoint.models.language.characters import tiny
    >>> Instructed(tiny(seed=0), "Sum:").prompts(["1+1="]).lengths.tolist()
    [12]
    """

    def __init__(self, model: Language, instruction: str) -> None:
        super().__init__(model.causal, model.tokenizer, runs=model.runs, max_length=model.max_length)
        self.instruction = instruction

    def prompts(self, texts: Sequence[Prompt], *, width: int | None = None) -> Tokens:
        """As of ``Language``, with the instruction in front of each."""
        return super().prompts([with_instruction(text, self.instruction) for text in texts], width=width)

    def rows(
        self, prompts: Sequence[Prompt], completions: Sequence[Completion], *, answers: int = 1
    ) -> tuple[Tokens, Replies]:
        """As of ``Language``, with the instruction in front of each prompt."""
        given = [with_instruction(prompt, self.instruction) for prompt in prompts]
        return super().rows(given, completions, answers=answers)

    def save(self, folder: Path | str, *, adapter: bool = False) -> Path:
        """Write the ordinary folder, and beside the weights the instruction; ``load`` reads both."""

        def beside(part: Path) -> None:
            (part / FILE).write_text(
                json.dumps({"instruction": self.instruction}, indent=2) + "\n", encoding="utf-8"
            )
            (part / TEXT).write_text(self.instruction + "\n", encoding="utf-8")

        if adapter:
            written = super().save(folder, adapter=True)
            beside(Path(folder))
            return written
        return model_folders.write(folder, self.merged().causal, self.tokenizer, beside)


def with_stored(model: Language, folder: Path) -> Language:
    """The model with the instruction that stands in its folder; the model itself where there is none.

    Raises:
        CounterpointError: the file cannot be read.
    """
    file = folder / FILE
    if not file.exists():
        return model
    try:
        instruction = json.loads(file.read_text(encoding="utf-8"))["instruction"]
        if not isinstance(instruction, str):
            raise TypeError("the instruction is no text")
    except (ValueError, KeyError, TypeError) as error:
        raise CounterpointError(
            f'{file} holds no instruction ({error}); expected {{"instruction": "..."}}, or remove it to use the model plainly'
        ) from None
    return Instructed(model, instruction)
