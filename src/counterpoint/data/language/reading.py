"""How a model is to read rows: as text or as a conversation, by which template, up to which length. Options of the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from counterpoint.conversation import Prompt, Text, turns
from counterpoint.errors import CounterpointError

Format = Literal["auto", "text", "chat"]
TooLong = Literal["drop", "truncate"]


@dataclass(frozen=True)
class Reading:
    """What the rows' options say of the model that will read them; ``tasks`` apply it when both are there.

    Attributes:
        format: of prompts that are text: "auto" makes one a turn of the user where the model has a chat template and the text does
            not carry it already; "chat" always; "text" leaves text as it stands.
        template: a chat template for a model without one: a name of ``models.language.templates`` or a .jinja file.
        max_length: longest row in tokens, prompt and completion together; None: what the model's positions hold.
        too_long: what becomes of longer rows in every split: they are left out ("drop"), or cut at their end ("truncate"),
            unless the prompt alone is as long.

    Raises:
        CounterpointError: a length below 2.
    """

    format: Format = "auto"
    template: str = ""
    max_length: int | None = None
    too_long: TooLong = "drop"

    def __post_init__(self) -> None:
        if self.max_length is not None and self.max_length < 2:
            raise CounterpointError(f"max_length={self.max_length}; expected 2 tokens or more")
        if self.too_long == "truncate" and self.max_length is None:
            raise CounterpointError("too_long=truncate says where to cut nothing: give max_length, too")

    def prompt(self, prompt: Prompt, where: str) -> Prompt:
        """A row's prompt in this format.

        Raises:
            CounterpointError: messages, where text is wanted.

        >>> Reading("chat").prompt("1+1=", "row 1")
        [{'role': 'user', 'content': '1+1='}]
        """
        if self.format == "text":
            if isinstance(prompt, str):
                return Text(prompt)
            raise CounterpointError(f"{where}: format=text, and the prompt is messages; give format=auto")
        return turns(prompt) if self.format == "chat" else prompt


AS_IT_COMES = Reading()
"""Without any of these options."""
