"""Rows with pictures for a vision-language model: its processor writes the tokens, and each row's pictures go through with them.

A batch stays two tensors, ids and mask. Where the processor wrote tokens that stand for pictures, the ids of the row hold a negative
number that names these pictures by their content, so that whatever cuts, sorts, joins or compares rows carries them along; when the
model runs (``passes``), the numbers become its own token again, beside the pixels. B rows, L positions.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from counterpoint.conversation import Completion, Conversation, Prompt, pictures_of, replies, turns
from counterpoint.errors import CounterpointError
from counterpoint.models.language.rendering import Rendered
from counterpoint.models.language.templated import templated

HELD = 2**30
"""Bytes of pixels that are held; others are read again."""
WRITTEN = 4096
"""Rows whose tokens are held; others are written again."""
TYPES = ("token_type_ids", "mm_token_type_ids")
"""Inputs that say of each token whether it stands for a picture."""


class Pictures:
    """The pictures of rows, by number.

    Args:
        processor: of the model, with its image processor. token: the id that stands for a piece of a picture.
    """

    def __init__(self, processor: Any, token: int) -> None:
        self.processor, self.token = processor, token
        self._sources: dict[int, tuple[str, ...]] = {}
        self._written: dict[tuple[str, str], list[int]] = {}
        self._read: dict[int, dict[str, Any]] = {}
        self._bytes = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> Pictures:
        """Copies of a model (a teacher, a reference) read the rows that the model read."""
        return self

    def rendered(self, prompt: Prompt, completion: Completion) -> Rendered:
        """Ids of a whole row and which of them the assistant wrote, by what each of its turns adds.

        Raises:
            CounterpointError: a picture in the completion; a template or a processor that refuses the row, or that writes earlier
                turns differently once others follow.
        """
        talk = turns(prompt)
        after = replies(completion)
        if pictures_of(after):
            raise CounterpointError("a completion holds a picture; pictures belong to the prompt")
        whole = Conversation([*talk, *after], talk.tools, talk.options)
        ids = self._ids(whole)
        head = self._ids(talk, reply=True)
        start = _common(head, ids)
        own = [False] * len(ids)
        for at in range(len(talk), len(whole)):
            if whole[at]["role"] != "assistant":
                continue
            before = self._ids(Conversation(whole[:at], talk.tools, talk.options), reply=True)
            upto = self._ids(Conversation(whole[: at + 1], talk.tools, talk.options))
            begin = _common(before, ids)
            end = len(ids) if at == len(whole) - 1 else _common(upto, ids)
            if begin < len(before) or end <= begin:
                raise CounterpointError(
                    "the chat template writes earlier turns differently once others follow, so that the assistant's tokens of a row "
                    "with pictures cannot be told; learn the last turn only (--turns last)"
                )
            own[begin:end] = [True] * (end - begin)
        return Rendered(ids, own, max(start, 1))

    def prompt(self, prompt: Prompt) -> list[int]:
        """Ids of a prompt, ready for the assistant's turn."""
        return self._ids(turns(prompt), reply=True)

    def inputs(self, ids_BL: Tensor, takes: Sequence[str] | None) -> dict[str, Tensor] | None:
        """What the model is given for rows with pictures, the pixels of all of them behind one another.

        Args:
            ids_BL: with the pictures' numbers among them. takes: names of the inputs that the model has; None: any.

        Returns:
            Its inputs by name; None where the pixels of these rows have shapes that do not go together.

        Raises:
            CounterpointError: pixels that the model does not take.
        """
        of_pictures = ids_BL < 0
        read = [self._pixels(int(row[row < 0][0])) for row in ids_BL]
        names = [name for name in read[0] if name not in TYPES]
        missing = [name for name in names if takes is not None and name not in takes]
        if missing:
            raise CounterpointError(
                f"the processor makes {missing[0]} of a picture, and the model's forward does not take it; they are not from one folder"
            )
        if any(
            each.keys() != read[0].keys() or each[name].shape[1:] != read[0][name].shape[1:]
            for each in read
            for name in names
        ):
            return None
        given = {name: torch.cat([each[name] for each in read]).to(ids_BL.device) for name in names}
        typed = {
            name: of_pictures.long() for name in TYPES if name in read[0] and (takes is None or name in takes)
        }
        return {"input_ids": ids_BL.masked_fill(of_pictures, self.token), **given, **typed}

    def readable(self, ids: Sequence[int]) -> list[int]:
        """Ids that the tokenizer can decode."""
        return [self.token if number < 0 else number for number in ids]

    def _ids(self, talk: Conversation, reply: bool = False) -> list[int]:
        text = templated(self.processor.tokenizer, talk, reply=reply, pictured=True)
        parts = pictures_of(talk)
        if not parts:
            return self.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        sources = tuple(part["image"] for part in parts)
        names = "".join(part["sha256"] for part in parts)
        if (text, names) in self._written:
            return list(self._written[text, names])
        number = -1 - int(hashlib.sha256(names.encode()).hexdigest()[:15], 16)
        made = self._processed(text, sources)
        self._sources[number] = sources
        self._keep(number, made)
        ids = made["input_ids"][0].tolist()
        if self.token not in ids:
            raise CounterpointError(
                f"the row has {len(parts)} pictures, and the processor writes no token for them: the chat template leaves picture parts "
                "out; change the processor's chat_template"
            )
        ids = [number if each == self.token else each for each in ids]
        self._written[text, names] = ids
        while len(self._written) > WRITTEN:
            self._written.pop(next(iter(self._written)))
        return list(ids)

    def _processed(self, text: str, sources: Sequence[str]) -> dict[str, Any]:
        images = [opened(source) for source in sources]
        try:
            made = self.processor(text=[text], images=images, return_tensors="pt", add_special_tokens=False)
        except (ValueError, TypeError, IndexError, KeyError) as error:
            raise CounterpointError(
                f"the model's processor refuses a row with {len(images)} pictures: {' '.join(str(error).split())[:200]}"
            ) from None
        return dict(made)

    def _pixels(self, number: int) -> dict[str, Any]:
        if number not in self._read:
            image = self.processor.tokenizer.convert_ids_to_tokens(self.token)
            sources = self._sources[number]
            self._keep(number, self._processed(image * len(sources), sources))
        return self._read[number]

    def _keep(self, number: int, made: dict[str, Any]) -> None:
        self._bytes -= _bytes(self._read.pop(number, {}))
        self._read[number] = {
            name: value
            for name, value in made.items()
            if isinstance(value, Tensor) and name not in ("input_ids", "attention_mask")
        }
        self._bytes += _bytes(self._read[number])
        while len(self._read) > 1 and self._bytes > HELD:
            self._bytes -= _bytes(self._read.pop(next(iter(self._read))))


def of_folder(processor: Any, config: Any) -> Pictures | None:
    """The pictures of a model with this processor; None where it is for text."""
    if getattr(processor, "image_processor", None) is None:
        return None
    for holder, name in (
        (config, "image_token_id"),
        (config, "image_token_index"),
        (processor, "image_token_id"),
    ):
        token = getattr(holder, name, None)
        if isinstance(token, int):
            return Pictures(processor, token)
    return None


def opened(source: str) -> Any:
    """A picture from a file's path or a data URI.

    Raises:
        CounterpointError: nothing that can be read as a picture.
    """
    from PIL import Image

    try:
        if source.startswith("data:"):
            content = base64.b64decode(source.partition(",")[2])
            return Image.open(io.BytesIO(content)).convert("RGB")
        return Image.open(source).convert("RGB")
    except (OSError, ValueError) as error:
        raise CounterpointError(f"{source[:80]} cannot be read as a picture: {error}") from None


def _bytes(read: dict[str, Any]) -> int:
    return sum(value.nbytes for value in read.values())


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    least = min(len(one), len(other))
    return next((at for at in range(least) if one[at] != other[at]), least)
