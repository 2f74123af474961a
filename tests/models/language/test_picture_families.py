"""Qwen2-VL, which joins pixels of all pictures in one row of patches and counts positions in three directions: read as by itself."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from PIL import Image

from counterpoint.data.language import problems
from counterpoint.generation.sampler import Sampler
from counterpoint.models.language.characters import tokenizer
from counterpoint.models.language.language import Language
from counterpoint.models.language.likelihood import completion_log_probs
from counterpoint.models.language.vision.pictures import Pictures

TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}{{ '~' + m['content'] + '</s>' }}{% else %}<s>"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for p in m['content'] %}{% if p['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ p['text'] }}{% endif %}{% endfor %}{% endif %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}~{% endif %}"
)
IMAGE = "<|image_pad|>"
SIZES = {"wide": (56, 28), "tall": (28, 84), "square": (56, 56)}


class Processor:
    """What the library's own processor does with text and images, which needs torchvision for videos alone."""

    def __init__(self, names: Any) -> None:
        self.tokenizer = names
        self.image_processor = transformers.Qwen2VLImageProcessorPil(
            min_pixels=28 * 28, max_pixels=28 * 28 * 8
        )

    def __call__(self, text: list[str], images: list[Any], **_: Any) -> dict[str, Any]:
        made = self.image_processor(images=images, return_tensors="pt")
        counts = iter((made["image_grid_thw"].prod(-1) // 4).tolist())
        words = re.sub(re.escape(IMAGE), lambda _: IMAGE * next(counts), text[0])
        ids = torch.tensor([self.tokenizer(words, add_special_tokens=False)["input_ids"]])
        shows = (ids == self.tokenizer.convert_tokens_to_ids(IMAGE)).long()
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "mm_token_type_ids": shows, **made}


def small() -> Language:
    """A small Qwen2-VL; the same weights every time."""
    names = tokenizer()
    marks = ["<|vision_start|>", IMAGE, "<|video_pad|>", "<|vision_end|>"]
    names.add_special_tokens({"additional_special_tokens": marks})
    names.chat_template = TEMPLATE
    start, image, video, end = names.convert_tokens_to_ids(marks)
    config = transformers.Qwen2VLConfig(
        text_config={
            "vocab_size": len(names), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "max_position_embeddings": 256, "initializer_range": 0.2,
            "rope_scaling": {"type": "mrope", "rope_type": "default", "mrope_section": [1, 1, 2]},
        },
        vision_config={"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 4, "mlp_ratio": 2, "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2},
        image_token_id=image, video_token_id=video, vision_start_token_id=start, vision_end_token_id=end,
    )  # fmt: skip
    torch.manual_seed(0)
    causal = transformers.Qwen2VLForConditionalGeneration(config)
    return Language(causal, names, pictures=Pictures(Processor(names), image)).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of different sizes, which become different numbers of tokens, and a question about each."""
    out = tmp_path_factory.mktemp("qwen")
    rows = []
    for number, (name, size) in enumerate(SIZES.items()):
        Image.effect_noise(size, 40 + 60 * number).convert("RGB").save(out / f"{name}.png")
        rows.append({"prompt": "what?" * (1 + number), "images": [f"{name}.png"], "completion": name})
    (out / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return out


def test_rows_together_are_those_of_the_models_own_forward(folder: Path) -> None:
    model = small()
    assert model.pictures is not None
    assert model.pictured is not None
    rows = problems.load(folder / "rows.jsonl", validation=0, test=0).train
    prompts, answers = model.rows([row.prompt for row in rows], [row.completion for row in rows])
    logp = completion_log_probs(model, prompts, answers)
    assert model.pictured.joins
    for at, (row, name) in enumerate(zip(rows, SIZES)):
        text = f"<s><|vision_start|><|image_pad|><|vision_end|>{row.question}~{name}</s>"
        made: Any = model.pictures.processor(
            text=[text],
            images=[Image.open(folder / f"{name}.png")],
            return_tensors="pt",
            add_special_tokens=False,
        )
        ids = made["input_ids"][0]
        own = model.causal(**made).logits[0].log_softmax(-1)
        count = len(name) + 1
        expected = own[-count - 1 : -1].gather(1, ids[-count:, None]).squeeze(1)
        torch.testing.assert_close(logp[at, :count], expected, atol=1e-5, rtol=1e-5)


def test_what_it_remembers_beside_its_cache_makes_it_read_again(folder: Path) -> None:
    model = small()
    assert model.pictures is not None
    rows = problems.load(folder / "rows.jsonl", validation=0, test=0).train
    replies = Sampler(max_new_tokens=4, temperature=0)(model, model.prompts([row.prompt for row in rows]))
    assert model.pictured is not None
    assert model.pictured.caches is None
    for at, (row, name) in enumerate(zip(rows, SIZES)):
        made: Any = model.pictures.processor(
            text=[f"<s><|vision_start|><|image_pad|><|vision_end|>{row.question}~"],
            images=[Image.open(folder / f"{name}.png")],
            return_tensors="pt",
            add_special_tokens=False,
        )
        whole = model.causal.generate(
            **made,
            max_new_tokens=4,
            do_sample=False,
            eos_token_id=list(model.stops),
            pad_token_id=0,
            suppress_tokens=[model.pictures.token],
        )
        written = whole[0, made["input_ids"].shape[1] :].tolist()
        assert replies.rows()[at] == written[: len(replies.rows()[at])]
