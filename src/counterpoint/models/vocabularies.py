"""Whether two language models mean the same by every token id."""

from __future__ import annotations

from typing import TYPE_CHECKING

from counterpoint.errors import CounterpointError

if TYPE_CHECKING:
    from counterpoint.models.language.language import Language


def same_vocabulary(one: Language, other: Language) -> None:
    """Raise unless every id means the same to both models; padded tail rows of a head do not matter.

    Raises:
        CounterpointError: the first token that differs.
    """
    ours, theirs = one.tokenizer.get_vocab(), other.tokenizer.get_vocab()
    if ours == theirs:
        return
    for token, number in sorted(ours.items(), key=lambda item: item[1]):
        if theirs.get(token) != number:
            raise CounterpointError(
                f"student and teacher have different vocabularies: {token!r} is id {number} to the student and "
                f"{theirs.get(token, 'unknown')} to the teacher; token-level distillation needs one tokenizer "
                "(distil on sampled text instead: the method sft on the teacher's completions)"
            )
    extra = sorted(set(theirs) - set(ours))
    raise CounterpointError(
        f"the teacher knows {len(extra)} tokens that the student does not, first {extra[0]!r}; "
        "token-level distillation needs one tokenizer"
    )
