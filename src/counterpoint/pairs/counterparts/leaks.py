"""Rationales that speak of what their reader will not see: a second image, a hint, an answer that was given (arXiv 2603.02556, 3.2).

The paper does not list its patterns; these are reconstructed.
"""

from __future__ import annotations

import re

from counterpoint.errors import CounterpointError

LEAKS = r"\bfirst image\b; \bsecond image\b; \bboth images\b; \bhints?\b; \bcontrastive analysis\b; \bgiven answer\b"
"""Regular expressions with semicolons between, whatever the case."""


def patterns(text: str) -> list[re.Pattern[str]]:
    """Compiled expressions from a setting.

    Raises:
        CounterpointError: what is no regular expression.
    """
    result = []
    for each in filter(None, (part.strip() for part in text.split(";"))):
        try:
            result.append(re.compile(each, re.IGNORECASE))
        except re.error as error:
            raise CounterpointError(
                f"leaks: {each!r} is no regular expression ({error}); expected some with semicolons between, for example "
                r"'\bhint\b; \bsecond image\b'"
            ) from None
    return result


def leak(text: str, expressions: list[re.Pattern[str]]) -> str:
    """The words of a text that give away what its reader will not see; "" where there are none.

    >>> leak("Unlike the second image, it has a loop.", patterns(LEAKS)), leak("It has a loop.", patterns(LEAKS))
    ('second image', '')
    """
    return next((match[0] for match in (each.search(text) for each in expressions) if match), "")
