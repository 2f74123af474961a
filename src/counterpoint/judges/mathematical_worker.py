"""The process behind ``mathematical``: says "ready", then reads [completion, answer] as JSON lines and writes "true" or "false" to each.

It imports nothing of this package, so that it starts with the library alone.
"""

import contextlib
import json
import re
import sys

MARKED = re.compile(r"(?:answer\s*(?:is)?\s*:|####)\s*(.+)", re.IGNORECASE)
SENTENCE = re.compile(r"[A-Za-z]{2,}\s")


def expressions(text: str, parse: object) -> list[object]:
    """What the library reads in a text: as it stands, else what it names as its answer taken for a formula."""
    marked = MARKED.findall(text)
    named = (marked[-1] if marked else text).strip().strip(".$ ").replace("**", "^")
    formula = "\\boxed" not in text and "$" not in text and (marked or not SENTENCE.search(text))
    read = parse(f"${named}$", parsing_timeout=None) if formula and len(named) < 200 else []  # type: ignore[operator]
    return list(read or parse(text, parsing_timeout=None))  # type: ignore[operator]


def main() -> None:
    """Answer until the input ends."""
    import logging

    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (2 * 2**30, 2 * 2**30))
    from math_verify import parse, verify

    logging.disable(logging.CRITICAL)
    print("ready", flush=True)
    for line in sys.stdin:
        given, wanted = json.loads(line)
        try:
            same = bool(verify(expressions(wanted, parse), expressions(given, parse), timeout_seconds=None))
        except Exception:  # whatever a library of formulas raises on what a model wrote: it is not the answer
            same = False
        print("true" if same else "false", flush=True)


if __name__ == "__main__":
    main()
