"""What a chat template writes, found by trying it on placeholder messages: how a turn ends, what announces one. No torch."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

from counterpoint.errors import CounterpointError, nearest

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>\\n' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
ROLES = (
    "{{ bos_token or '' }}{% for message in messages %}{{ message['role'] | capitalize + ': ' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}{{ '\\n' }}"
    "{% else %}{{ message['content'] + '\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}"
)
TEMPLATES = {"chatml": CHATML, "roles": ROLES}
"""Templates by name, for models without one: ChatML's markers, and "User: ... Assistant: ..." with the end-of-sequence token."""
GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
USER, ASSISTANT, AGAIN = "\ue000\ue001", "\ue002\ue003", "\ue004\ue005"


def named(template: str) -> str:
    """The text of a template: one of ``TEMPLATES``, or a file.

    Raises:
        CounterpointError: neither a name nor a file.
    """
    if template in TEMPLATES:
        return TEMPLATES[template]
    path = Path(template)
    if path.suffix in (".jinja", ".j2", ".txt") and path.is_file():
        return path.read_text(encoding="utf-8")
    raise CounterpointError(
        f"template={template!r} is neither a file that ends in .jinja nor a name; {nearest(template, TEMPLATES)}"
    )


def marked(tokenizer: Any, tools: bool = False) -> bool:
    """Whether the template says by ``{% generation %}`` what the assistant writes, and the tokenizer can tell which tokens those are."""
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("tool_use" if tools and "tool_use" in template else "default", "")
    return bool(GENERATION.search(template or "")) and bool(getattr(tokenizer, "is_fast", False))


def turn_end(tokenizer: Any) -> str:
    """What the template writes after the assistant's text; the end-of-sequence token where there is no template."""
    if not tokenizer.chat_template:
        return tokenizer.eos_token or ""
    return _traits(tokenizer, str(tokenizer.chat_template))[2]


def turn_lead(tokenizer: Any) -> str:
    """What the template writes between the announcement of a reply and the assistant's text, such as a blank."""
    return _traits(tokenizer, str(tokenizer.chat_template))[3]


def stop_id(tokenizer: Any) -> int | None:
    """The id of the first special token after the assistant's text: where a sampled turn ends. None where there is none."""
    if not tokenizer.chat_template:
        return None
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    after = tokenizer(turn_end(tokenizer), add_special_tokens=False)["input_ids"]
    return next((number for number in after if number in special), None)


def carries_template(tokenizer: Any, text: str) -> bool:
    """Whether a text has gone through the chat template already: it begins as the template does and holds what it writes
    around a turn. A text that only quotes one does not.

    >>> from counterpoint.models.language.characters import tokenizer
    >>> [carries_template(tokenizer(), text) for text in ("<s>1+1=~", "1+1=", "what is <s>1+1=~")]
    [True, False, False]
    """
    if not tokenizer.chat_template:
        return False
    header, reply, _, _ = _traits(tokenizer, str(tokenizer.chat_template))
    if not header or header not in text:
        return False
    special = {*tokenizer.all_special_tokens, *map(str, tokenizer.added_tokens_decoder.values())}
    if not text.lstrip().startswith((header, *filter(None, special))):
        return False
    return any(token and token in header for token in special) or bool(reply and reply in text)


def goes_on(tokenizer: Any, text: str) -> bool:
    """Whether a text that carries the template has further text after it: after what announces a reply, or after a turn's end.

    >>> from counterpoint.models.language.characters import tokenizer
    >>> goes_on(tokenizer(), "<s>1+1=~"), goes_on(tokenizer(), "<s>1+1=~ Think first.")
    (False, True)
    """
    _, reply, end, _ = _traits(tokenizer, str(tokenizer.chat_template))
    special = {*tokenizer.all_special_tokens, *map(str, tokenizer.added_tokens_decoder.values())}
    return not text.rstrip().endswith(tuple(filter(None, (reply, end.strip(), *special))))


@functools.lru_cache(maxsize=32)
def _traits(tokenizer: Any, template: str) -> tuple[str, str, str, str]:
    """What stands before a user's text, what announces a reply, what follows the assistant's text, what leads to it."""
    user, assistant = {"role": "user", "content": USER}, {"role": "assistant", "content": ASSISTANT}
    try:
        opened = tokenizer.apply_chat_template([user], tokenize=False, add_generation_prompt=True)
        answered = tokenizer.apply_chat_template([user, assistant], tokenize=False)
    except Exception:  # a template that takes no such conversation has no traits that could be found
        return "", "", tokenizer.eos_token or "", ""
    before, _, reply = opened.partition(USER)
    end = answered.rpartition(ASSISTANT)[2]
    header = before
    try:
        again = {"role": "user", "content": AGAIN}
        longer = tokenizer.apply_chat_template([user, assistant, again], tokenize=False)
        between = longer.partition(ASSISTANT)[2].partition(AGAIN)[0]
        header = _common_end(before, between)
    except Exception:  # one exchange only
        pass
    bare = header.removeprefix(tokenizer.bos_token or "").strip()
    begun = answered.partition(ASSISTANT)[0]
    lead = begun.removeprefix(opened) if begun.startswith(opened) else ""
    return bare or header.strip(), reply.strip(), end, lead


def _common_end(one: str, other: str) -> str:
    same = 0
    while same < min(len(one), len(other)) and one[-same - 1] == other[-same - 1]:
        same += 1
    return one[len(one) - same :]
