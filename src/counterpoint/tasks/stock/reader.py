"""The reader: a tiny vision-language model that reads noisy pictures of digits, alone and beside a second picture, and often errs.

A LLaVA of a hundred thousand weights. It is taught three prompts alike: a question, a question with its answer as a hint, and two
questions with both answers; it names each digit before it answers. Taught in some minutes on first use, then kept in the cache.
"""

from __future__ import annotations

import inspect
import random
import string
from typing import Any

import torch

from counterpoint.data.language import digit_questions
from counterpoint.data.language.digit_questions import WORDINGS, question
from counterpoint.data.language.problem import Problem
from counterpoint.errors import MissingExtra
from counterpoint.models.language import characters
from counterpoint.models.language.language import Language
from counterpoint.models.language.rendering import Rendered
from counterpoint.models.language.row_batches import batch
from counterpoint.models.language.vision.pictures import Pictures
from counterpoint.models.tokens import Tokens
from counterpoint.pairs.counterparts.prompts import beside, with_hint
from counterpoint.tasks.stock.stored import stored
from counterpoint.tasks.stock.teaching import teach

ALPHABET = string.digits + string.ascii_lowercase + " ?;=:,"
TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}{{ '~' + m['content'] + '</s>' }}{% else %}<s>"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for p in m['content'] %}{% if p['type'] == 'image' %}<image>"
    "{% else %}{{ p['text'] }}{% endif %}{% endfor %}{% endif %}{% endif %}{% endfor %}{% if add_generation_prompt %}~{% endif %}"
)
THINK = "{question}={answer}:"
CONTRAST = "{image}{question}={answer}:{other_image}{other_question}={other_answer}:"
EXAMPLES = 2400
"""Prompts of each of the three forms that it is taught."""


def load() -> Language:
    """Return the reader, taught now or taken from the cache."""
    sources = "".join(
        inspect.getsource(each) for each in (digit_questions, untaught, examples, reader, teach)
    )
    return stored(
        "readers", "reader", f"{ALPHABET}/{TEMPLATE}/{THINK}/{CONTRAST}/{EXAMPLES}/{sources}", reader
    )


def reader(
    *, seed: int = 0, steps: int = 1000, batch_size: int = 48, learning_rate: float = 3e-3, width: int = 64
) -> Language:
    """Teach a fresh model; the same weights for the same seed.

    Args:
        seed: of the weights and the examples.
        steps, batch_size, learning_rate: of the training. width: of the model's hidden states.
    """
    draw = random.Random(f"reader/{seed}")
    model = untaught(seed, width)
    rendered = model.rendered(examples(draw))

    def rows() -> tuple[Tokens, Tokens]:
        chosen: list[Rendered] = draw.choices(rendered, k=batch_size)
        return batch(chosen, answers=1, cut=None, fill=model.pad_id)

    return teach(model, rows, steps=steps, learning_rate=learning_rate, warm_up=40)


def examples(draw: random.Random, count: int = EXAMPLES) -> list[tuple[Any, str]]:
    """Prompts with what the reader learns to write: of each form as many; half of the second pictures are like the first ones."""
    near = digit_questions.alike(digit_questions.TAUGHT, 5)

    def one_question(number: int, about: str) -> Problem:
        return question(number, about, draw.choice(WORDINGS[about]), copy=draw.randrange(1, 5))

    rows: list[tuple[Any, str]] = []
    for _ in range(count):
        about, number = draw.choice(list(WORDINGS)), draw.randrange(digit_questions.TAUGHT)
        one = one_question(number, about)
        other_number = (
            draw.choice(near[number]) if draw.random() < 0.5 else draw.randrange(digit_questions.TAUGHT)
        )
        other = one_question(other_number, about)
        rows.append((one.prompt, one.solution))
        rows.append((with_hint(one, THINK), one.solution))
        digits = f"{one.solution[0]},{other.solution[0]};{one.answer}"
        rows.append((beside(one, other, CONTRAST), digits))
    return rows


def untaught(seed: int, width: int = 64, length: int = 192) -> Language:
    """A LLaVA of two small towers with its processor; the seed alone decides its weights."""
    try:
        import transformers
    except ImportError:
        raise MissingExtra("transformers", "language") from None
    names = characters.tokenizer(ALPHABET)
    names.add_special_tokens({"additional_special_tokens": ["<image>"]})
    names.chat_template = TEMPLATE
    picture = names.convert_tokens_to_ids("<image>")
    sizes: dict[str, Any] = {
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    text = transformers.LlamaConfig(
        vocab_size=len(names), num_key_value_heads=4, max_position_embeddings=length, pad_token_id=names.pad_token_id,
        bos_token_id=names.bos_token_id, eos_token_id=names.eos_token_id, **sizes,
    )  # fmt: skip
    vision = transformers.CLIPVisionConfig(image_size=8, patch_size=4, **sizes)
    config = transformers.LlavaConfig(
        text_config=text.to_dict(),
        vision_config=vision.to_dict(),
        image_token_index=picture,
        vision_feature_layer=-1,
    )
    side = {"height": 8, "width": 8}
    images = transformers.CLIPImageProcessorPil(size={"shortest_edge": 8}, crop_size=side)
    processor = transformers.LlavaProcessor(
        image_processor=images, tokenizer=names, patch_size=4, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=TEMPLATE,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        causal = transformers.LlavaForConditionalGeneration(config)
    return Language(causal, names, pictures=Pictures(processor, picture))


def rethink(prompts: list[str]) -> list[str]:
    """The digit and the answer that the contrast came to; the rationale where it came to none. Prompts are "rationale/contrast".

    >>> rethink(["7;o/8,3;e", "7;o/"])
    ['8;e', '7;o']
    """
    texts = []
    for prompt in prompts:
        rationale, _, contrast = prompt.partition("/")
        digits, _, answer = contrast.partition(";")
        texts.append(f"{digits[0]};{answer}" if digits[:1].isdigit() and answer else rationale)
    return texts
