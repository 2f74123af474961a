"""A small LLaVA with its processor, from nothing: a vision-language model for tests."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers

from counterpoint.models.language.characters import tokenizer

TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}{{ '~' + m['content'] + '</s>' }}{% else %}<s>"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for p in m['content'] %}{% if p['type'] == 'image' %}<image>"
    "{% else %}{{ p['text'] }}{% endif %}{% endfor %}{% endif %}{% endif %}{% endfor %}{% if add_generation_prompt %}~{% endif %}"
)


def write(out: Path, length: int = 128) -> Path:
    """Write the model's folder; the same weights every time."""
    names = tokenizer()
    names.add_special_tokens({"additional_special_tokens": ["<image>"]})
    names.chat_template = TEMPLATE
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = transformers.LlavaConfig(
        text_config=transformers.LlamaConfig(vocab_size=len(names), num_key_value_heads=2, max_position_embeddings=length, initializer_range=0.2, **sizes).to_dict(),
        vision_config=transformers.CLIPVisionConfig(image_size=32, patch_size=16, initializer_range=0.2, **sizes).to_dict(),
        image_token_index=names.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.LlavaForConditionalGeneration(config).save_pretrained(out)
    images = transformers.CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    transformers.LlavaProcessor(
        image_processor=images, tokenizer=names, patch_size=16, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=TEMPLATE,
    ).save_pretrained(out)  # fmt: skip
    return out
