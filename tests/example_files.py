"""The files that docs/data.md shows: a small one of every kind, always with the same bytes."""

from __future__ import annotations

import json
import random
import wave
from pathlib import Path

import numpy as np

import beir_folder

RUNS: dict[str, tuple[str, str, str, dict[str, str], dict[str, int], str]] = {
    "images": ("simclr", "photos", "conv-small", {}, {"batch_size": 8}, "Projected"),
    "pictures": (
        "self-e",
        "photos",
        "dit-small",
        {"samples": "12"},
        {"batch_size": 8, "sampling.steps": (1, 2)},
        "DiT",
    ),
    "styles": ("stydeco", "art", "restyler-small", {}, {"batch_size": 4}, "Restyler"),
    "captioned": (
        "sds-clip",
        "captioned.jsonl",
        "clip-small",
        {},
        {"batch_size": 8, "mapper.steps": 0, "teacher.steps": 1},
        "CLIPModel",
    ),
    "audio": (
        "audio-classifier",
        "clips",
        "conv-speech",
        {"group": "prefix"},
        {"batch_size": 8},
        "SpeechClassifier",
    ),
    "text": ("text-classifier", "mails.csv", "words", {}, {"batch_size": 8}, "TextClassifier"),
    "problems": ("sft", "problems.jsonl", "characters", {}, {"lora_rank": 0}, "LlamaForCausalLM"),
    "preferences": ("dpo", "preferences.jsonl", "characters", {}, {"lora_rank": 0}, "LlamaForCausalLM"),
    "interactions": ("lightgcn", "ratings.tsv", "embeddings-8", {}, {}, "Recommender"),
    "regression": ("regression", "houses.csv", "mlp", {"target": "price"}, {"batch_size": 8}, "Predictor"),
    "trajectories": ("trajectory-vae", "walks", "encoder-4", {}, {}, "TrajectoryEncoder"),
    "retrieval": (
        "grace",
        "food",
        "characters",
        {},
        {"max_new_tokens": 2, "answers": 2, "batch_size": 4, "minibatches": 2},
        "Embedder",
    ),
    "sentence-pairs": (
        "multiple-negatives",
        "questions.jsonl",
        "transformer",
        {},
        {"batch_size": 8},
        "SentenceEncoder",
    ),
    "environment": ("contrastive-ucb", "lock", "auto", {}, {"rounds": 3}, "LowRankModel"),
}
"""Kind -> a method, one of these files or a name, a model, data options, settings, and the class of the trained model."""

TEA, SEA = (
    ["kettle", "cup", "leaf", "warm", "pot", "sugar"],
    ["wave", "salt", "boat", "storm", "fish", "sail"],
)


def write(folder: Path) -> None:
    """All of them."""
    from PIL import Image

    draw = random.Random(0)
    mails = [f"{' '.join(draw.sample((TEA, SEA)[n % 2], 3))} {n},{('tea', 'sea')[n % 2]}" for n in range(40)]
    (folder / "mails.csv").write_text("\n".join(["text,label", *mails]) + "\n")
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions()))
    (folder / "graded.csv").write_text(
        "\n".join(
            ["sentence1,sentence2,score"]
            + [
                f"{row['anchor']},{row['positive' if n % 3 else 'negative']},{(1, 4, 5)[n % 3]}"
                for n, row in enumerate(questions())
            ]
        )
        + "\n"
    )
    ratings = [
        f"{user}\t{item}\t{draw.randint(3, 5)}\t{1_700_000_000 + 60 * n}"
        for n, (user, item) in enumerate((u, i) for u in range(20) for i in draw.sample(range(30), 8))
    ]
    (folder / "ratings.tsv").write_text("\n".join(["user\titem\trating\ttime", *ratings]) + "\n")
    sums = [(a, b) for a in range(1, 7) for b in range(1, 7)]
    problems = [
        {"prompt": f"{a}+{b}=", "completion": f"so it is {a + b}", "answer": str(a + b)} for a, b in sums
    ]
    pairs = [{"prompt": f"{a}+{b}=", "chosen": str(a + b), "rejected": f"{a}{b}"} for a, b in sums]
    for name, table in (("problems", problems), ("preferences", pairs)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    houses = [
        f"{r},{('north', 'south')[n % 2]},{60 * r + 10 * (n % 7)}"
        for n, r in enumerate([1, 4, 2, 6, 3, 5] * 8)
    ]
    (folder / "houses.csv").write_text("\n".join(["rooms,quarter,price", *houses]) + "\n")
    walks = [{"id": f"t{n}", "states": [[n % 5, s, (n * s) % 3] for s in range(4)]} for n in range(30)]
    answers = [
        {"anchor": f"t{n}", "positive": f"t{(n + 5) % 30}", "negative": f"t{(n + 7) % 30}"} for n in range(30)
    ]
    (folder / "walks").mkdir()
    for name, table in (("trajectories", walks), ("answers", answers)):
        (folder / "walks" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    beir_folder.write(folder / "food")
    pixels = np.random.default_rng(0)
    for n in range(40):
        path = folder / "photos" / ("cat", "dog")[n % 2] / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(path)
    art = np.random.default_rng(1)
    for n in range(40):
        path = folder / "art" / ("plain", "styled")[n % 2] / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(art.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
    seen = []
    for n in range(40):
        texts = [f"a {one} beside a {other}" for one, other in (("cat", "dog"), ("dog", "cat"))]
        right = texts[n % 2]
        seen.append(
            {
                "image": f"photos/{('cat', 'dog')[n % 2]}/{n}.png",
                "caption": f"{right} no {n}",
                "negatives": [f"{texts[1 - n % 2]} no {n}"],
            }
        )
    (folder / "captioned.jsonl").write_text("".join(json.dumps(row) + "\n" for row in seen))
    for n in range(24):
        path = folder / "clips" / ("yes", "no")[n % 2] / f"{('ann', 'bob', 'eve', 'tim')[n // 6]}_{n}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes((1000 * pixels.normal(size=8000)).astype("<i2").tobytes())


def questions() -> list[dict[str, str]]:
    """Forty anchors, each with a positive of its subject and a negative of another one."""
    draw = random.Random(1)
    rows = []
    for n in range(40):
        own, other = ((TEA, "cup"), (SEA, "coast"))[:: 1 if n % 2 else -1]
        one, two = draw.sample(own[0], 2)
        rows.append(
            {
                "anchor": f"what is a {one} for? {n}",
                "positive": f"a {one} and a {two} by the {own[1]} {n}",
                "negative": f"a {draw.choice(other[0])} by the {other[1]} {n}",
            }
        )
    return rows


def first_lines(path: Path) -> str:
    """The first five lines of a file, or of a folder's files in order."""
    if path.is_dir():
        lines = [str(file.relative_to(path.parent)) for file in sorted(path.rglob("*")) if file.is_file()]
    else:
        lines = path.read_text().splitlines()
    return "\n".join([*lines[:5], "..."])


def bare_encoder(folder: Path) -> None:
    """A small BERT with its tokenizer, as transformers saves it and nothing of ours beside."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "warm", "tea", "storm"]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(words), **sizes)).save_pretrained(folder)
