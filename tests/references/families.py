"""Small tokenizers with the traits of well-known families, and rows of every shape, for comparisons of tokens with TRL.

A family is a tokenizer (bytes, or pieces with a mark for the blank, which merge across the border of prompt and completion), its special
tokens, and a chat template with that family's structure: what is written around a turn, how it ends, what becomes of outer blanks,
of a system message, of tools. ``marked`` templates say by generation marks what the assistant writes. Needs transformers only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

WORDS = (
    "is",
    "the",
    "sky",
    "blue",
    "green",
    "user",
    "assistant",
    "system",
    "model",
    "it",
    "and",
    "why",
    "tool",
)


@dataclass(frozen=True)
class Family:
    """One family.

    Attributes:
        template: with %M and %E where generation marks go; "" for none.
        special: special tokens; bos, eos: which of them begin and end a sequence.
        pieces: whether the blank is a piece's mark (as SentencePiece has it) and not a byte.
        adds_bos: whether the tokenizer puts the start token before plain text.
        system, tools: whether the template takes these.
    """

    template: str
    special: tuple[str, ...]
    bos: str | None
    eos: str
    pieces: bool = False
    adds_bos: bool = False
    system: bool = True
    tools: bool = False

    def chat_template(self, marked: bool) -> str:
        """The template's text, with or without generation marks."""
        start, end = ("{% generation %}", "{% endgeneration %}") if marked else ("", "")
        return self.template.replace("%M", start).replace("%E", end)


CHATML = (
    "{% for m in messages %}{% if loop.first and m.role != 'system' %}{{ '<|im_start|>system\\nIt is the model<|im_end|>\\n' }}"
    "{% endif %}{{ '<|im_start|>' + m.role + '\\n' }}{% if m.role == 'assistant' %}%M{{ m.content + '<|im_end|>\\n' }}%E"
    "{% else %}{{ m.content + '<|im_end|>\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
LLAMA2 = (
    "{% set s = messages[0].role == 'system' %}{% for m in (messages[1:] if s else messages) %}"
    "{% if m.role == 'user' %}{{ bos_token + '[INST] ' }}{% if s and loop.first %}{{ '<<SYS>>\\n' + messages[0].content + "
    "'\\n<</SYS>>\\n\\n' }}{% endif %}{{ m.content | trim + ' [/INST]' }}"
    "{% elif m.role == 'assistant' %}%M{{ ' ' + m.content | trim + ' ' + eos_token }}%E{% endif %}{% endfor %}"
)
LLAMA3 = (
    "{% for m in messages %}{{ (bos_token if loop.first else '') + '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' }}"
    "{% if m.role == 'assistant' %}%M{{ m.content | trim + '<|eot_id|>' }}%E{% else %}{{ m.content | trim + '<|eot_id|>' }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('there is no system role') }}{% endif %}"
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}"
    "{% endif %}{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' }}"
    "{% if m.role == 'assistant' %}%M{{ m.content | trim + '<end_of_turn>\\n' }}%E{% else %}{{ m.content | trim + '<end_of_turn>\\n' }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)
PHI3 = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\\n' }}{% if m.role == 'assistant' %}%M{{ m.content + '<|end|>\\n' }}%E"
    "{% else %}{{ m.content + '<|end|>\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% elif messages[-1].role == 'assistant' %}%M{{ eos_token }}%E"
    "{% else %}{{ eos_token }}{% endif %}"
)
QWEN = (
    "{% if tools %}{{ '<|im_start|>system\\n' + (messages[0].content if messages[0].role == 'system' else 'It is the model') + "
    "'\\n# Tools\\n' }}{% for t in tools %}{{ t | tojson + '\\n' }}{% endfor %}{{ '<|im_end|>\\n' }}"
    "{% elif messages[0].role != 'system' %}{{ '<|im_start|>system\\nIt is the model<|im_end|>\\n' }}{% endif %}"
    "{% for m in messages %}{% if m.role == 'assistant' %}{{ '<|im_start|>assistant\\n' }}%M{% if m.content %}{{ m.content }}{% endif %}"
    '{% for c in m.tool_calls or [] %}{{ \'<tool_call>\\n{"name": "\' + c.function.name + \'", "arguments": \' + '
    "c.function.arguments | tojson + '}\\n</tool_call>' }}{% endfor %}{{ '<|im_end|>\\n' }}%E"
    "{% elif m.role == 'tool' %}{{ '<|im_start|>user\\n<tool_response>\\n' + m.content + '\\n</tool_response><|im_end|>\\n' }}"
    "{% elif not (tools and m.role == 'system') %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% if no_thinking %}{{ '<think>\\n\\n</think>\\n\\n' }}"
    "{% endif %}{% endif %}"
)
MISTRAL = (
    "{% set s = messages[0].content + '\\n\\n' if messages[0].role == 'system' else '' %}{% set users = namespace(last=0) %}"
    "{% for m in messages %}{% if m.role == 'user' %}{% set users.last = loop.index0 %}{% endif %}{% endfor %}{{ bos_token }}"
    "{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + (s if loop.index0 == users.last else '') + m.content + "
    "'[/INST]' }}{% elif m.role == 'assistant' %}%M{{ ' ' + m.content | trim + eos_token }}%E{% endif %}{% endfor %}"
)
MARKS = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
FAMILIES = {
    "chatml": Family(CHATML, MARKS, None, "<|im_end|>"),
    "llama2": Family(LLAMA2, ("<unk>", "<s>", "</s>"), "<s>", "</s>", pieces=True, adds_bos=True),
    "llama3": Family(
        LLAMA3,
        ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "<|begin_of_text|>",
        "<|eot_id|>",
        adds_bos=True,
    ),
    "gemma": Family(
        GEMMA,
        ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"),
        "<bos>",
        "<eos>",
        pieces=True,
        adds_bos=True,
        system=False,
    ),
    "phi3": Family(
        PHI3,
        ("<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>"),
        None,
        "<|endoftext|>",
        pieces=True,
    ),
    "qwen": Family(QWEN, (*MARKS, "<tool_call>", "</tool_call>"), None, "<|im_end|>", tools=True),
    "mistral": Family(
        MISTRAL, ("<unk>", "<s>", "</s>", "[INST]", "[/INST]"), "<s>", "</s>", pieces=True, adds_bos=True
    ),
    "none": Family("", ("<|endoftext|>",), None, "<|endoftext|>"),
}


def tokenizer(name: str, marked: bool = False) -> Any:
    """A family's tokenizer, from nothing but what is written here."""
    family = FAMILIES[name]
    blank = "▁" if family.pieces else "Ġ"
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    if family.pieces:
        letters = [blank, "\n", *(chr(number) for number in range(33, 127))]
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        for form in (blank + word, word):
            for cut in range(1, len(form)):
                merge = (form[:cut], form[cut])
                if merge not in merges:
                    merges.append(merge)
    pieces = dict.fromkeys([*family.special, *letters, *(one + other for one, other in merges)])
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    raw = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    if family.pieces:
        raw.pre_tokenizer = pre_tokenizers.Metaspace(replacement=blank, prepend_scheme="first", split=False)
        raw.decoder = decoders.Metaspace(replacement=blank, prepend_scheme="first", split=False)
    else:
        raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        raw.decoder = decoders.ByteLevel()
    if family.adds_bos:
        bos = str(family.bos)
        raw.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A $B", special_tokens=[(bos, vocabulary[bos])]
        )
    raw.add_special_tokens(list(family.special))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token=family.bos, eos_token=family.eos, pad_token=family.special[0]
    )
    fast.chat_template = family.chat_template(marked) or None
    return fast


def turn(role: str, content: str | None, **more: Any) -> dict[str, Any]:
    """One message."""
    return {"role": role, "content": content, **more}


SYSTEM, ASKED, ANSWERED = (
    turn("system", "Be the model"),
    turn("user", "Why is it blue?"),
    turn("assistant", "It is the sky."),
)
MORE, LAST, OTHER = (
    turn("user", " And green? "),
    turn("assistant", "It is the tool."),
    turn("assistant", " No. "),
)
CALL = turn(
    "assistant",
    None,
    tool_calls=[{"type": "function", "function": {"name": "look", "arguments": {"at": "sky"}}}],
)
RESPONSE = turn("tool", "blue", name="look")
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "look",
            "parameters": {"type": "object", "properties": {"at": {"type": "string"}}},
        },
    }
]

TEXT = {
    "text": {"prompt": "The sky is", "completion": " blue"},
    "text alone": {"text": "The sky is blue and green"},
    "text, blank before the border": {"prompt": "The sky is ", "completion": "blue"},
    "text, a word across the border": {"prompt": "The sky is bl", "completion": "ue and green"},
}
TALK = {
    "prompt-completion": {"prompt": [ASKED], "completion": [ANSWERED]},
    "prompt-completion, outer blanks": {"prompt": [ASKED], "completion": [OTHER]},
    "prompt of several turns": {"prompt": [ASKED, ANSWERED, MORE], "completion": [LAST]},
    "completion of several turns": {"prompt": [ASKED], "completion": [ANSWERED, MORE, LAST]},
    "messages": {"messages": [ASKED, ANSWERED]},
    "messages of several turns": {"messages": [ASKED, ANSWERED, MORE, LAST, MORE, OTHER]},
}
WITH_SYSTEM = {
    "system, prompt-completion": {"prompt": [SYSTEM, ASKED], "completion": [ANSWERED]},
    "system, messages of several turns": {"messages": [SYSTEM, ASKED, ANSWERED, MORE, LAST]},
}
WITH_TOOLS = {
    "tools, call and response": {"messages": [ASKED, CALL, RESPONSE, ANSWERED], "tools": TOOLS},
    "tools, completion": {"prompt": [SYSTEM, ASKED], "completion": [CALL, RESPONSE, LAST], "tools": TOOLS},
    "tools as text": {
        "prompt": [ASKED],
        "completion": [CALL],
        "tools": '[{"type": "function", "function": {"name": "look"}}]',
    },
    "arguments of the template": {
        "prompt": [ASKED],
        "completion": [ANSWERED],
        "chat_template_kwargs": {"no_thinking": True},
    },
}
TEXT_PAIRS = {"text": {"prompt": "The sky is", "chosen": " blue", "rejected": " the tool"}}
PAIRS = {
    "explicit prompt": {"prompt": [ASKED], "chosen": [ANSWERED], "rejected": [OTHER]},
    "implicit prompt": {"chosen": [ASKED, ANSWERED], "rejected": [ASKED, OTHER]},
    "implicit prompt of several turns": {
        "chosen": [ASKED, ANSWERED, MORE, LAST],
        "rejected": [ASKED, ANSWERED, MORE, OTHER],
    },
}
TEXT_UNPAIRED = {"text": {"prompt": "The sky is", "completion": " blue", "label": True}}
UNPAIRED = {"unpaired": {"prompt": [ASKED], "completion": [ANSWERED], "label": False}}
TEXT_PROMPTS = {"text": {"prompt": "The sky is"}}
PROMPTS = {
    "prompt only": {"prompt": [ASKED]},
    "prompt only, several turns": {"prompt": [ASKED, ANSWERED, MORE]},
    "prompt only, to be continued": {"prompt": [ASKED, ANSWERED]},
}


def rows(name: str, kind: str) -> dict[str, dict[str, Any]]:
    """The rows of a kind ("sft", "dpo", "kto", "prompts") that a family's template takes, by name of their shape."""
    family = FAMILIES[name]
    text, talk = {
        "sft": (TEXT, TALK), "dpo": (TEXT_PAIRS, PAIRS), "kto": (TEXT_UNPAIRED, UNPAIRED), "prompts": (TEXT_PROMPTS, PROMPTS),
    }[kind]  # fmt: skip
    found = dict(text)
    if family.template:
        found |= talk
    if kind == "sft" and family.template:
        found |= (WITH_SYSTEM if family.system else {}) | (WITH_TOOLS if family.tools else {})
    return found
