"""Rows with pictures through a vision-language model's processor: tokens, states, losses and gradients are the model's own."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file

import counterpoint
import small_llava
from counterpoint.conversation import pictures_of, reworded
from counterpoint.data.language import preferences, problems
from counterpoint.errors import CounterpointError
from counterpoint.generation.sampler import Sampler
from counterpoint.models.language import language
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.likelihood import completion_log_probs
from counterpoint.models.tokens import join
from counterpoint.teachers.frozen import Frozen

COLOURS = {"red": (220, 10, 10), "green": (10, 220, 10), "blue": (10, 10, 220), "grey": (120, 120, 120)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small LLaVA with its processor, and pictures beside rows of text and rows with them."""
    out = tmp_path_factory.mktemp("vision")
    small_llava.write(out / "model")
    rows, pairs = [], []
    for number, (name, colour) in enumerate(COLOURS.items()):
        Image.new("RGB", (40, 30), colour).save(out / f"{name}.png")
        rows.append({"prompt": "what?", "images": [f"{name}.png"], "completion": name})
        pairs.append(
            {"prompt": "what?", "images": [f"{name}.png"], "chosen": name, "rejected": "no" * (1 + number)}
        )
    rows += [{"prompt": f"{n}=", "completion": str(n)} for n in range(3)]
    (out / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (out / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    return out


def own(folder: Path, model: Any, picture: str | None, prompt: str, answer: str) -> torch.Tensor:
    """Log-probabilities of an answer by the processor's output and the model's own logits."""
    processor = transformers.AutoProcessor.from_pretrained(folder / "model")
    before = f"<s>{'<image>' if picture else ''}{prompt}~"
    given = {"images": [Image.open(folder / picture)]} if picture else {}
    made = processor(text=[before + answer + "</s>"], return_tensors="pt", add_special_tokens=False, **given)
    logits = model.causal(**made).logits[0].log_softmax(-1)
    count = len(answer) + 1
    ids = made["input_ids"][0, -count:]
    return logits[-count - 1 : -1].gather(1, ids[:, None]).squeeze(1)


def data(folder: Path, **options: Any) -> Any:
    return problems.load(folder / "rows.jsonl", validation=0, test=0, **options)


def test_log_probabilities_and_gradients_are_those_of_the_models_own_forward(folder: Path) -> None:
    model = language.load(folder / "model").eval()
    rows = data(folder).train
    prompts, answers = model.rows([row.prompt for row in rows], [row.completion for row in rows])
    logp = completion_log_probs(model, prompts, answers)
    expected = []
    for at, row in enumerate(rows):
        picture = f"{list(COLOURS)[at]}.png" if at < len(COLOURS) else None
        prompt = "what?" if picture else str(row.prompt)
        expected.append(own(folder, model, picture, prompt, row.solution))
        torch.testing.assert_close(logp[at, : len(expected[-1])], expected[-1], atol=1e-5, rtol=1e-5)
        assert answers.authored[at].sum() == len(row.solution) + 1
    assert len({round(float(logp[at, 0]), 5) for at in range(4)}) > 1
    (gradient,) = torch.autograd.grad(
        logp.sum(), model.causal.model.vision_tower.parameters().__next__(), retain_graph=True
    )
    (direct,) = torch.autograd.grad(
        torch.cat(expected).sum(), next(model.causal.model.vision_tower.parameters())
    )
    torch.testing.assert_close(gradient, direct, atol=1e-5, rtol=1e-4)
    assert bool(gradient.any())
    copy = Frozen(model).model
    assert copy.pictured is not None
    assert copy.pictured.model is copy
    torch.testing.assert_close(completion_log_probs(copy, prompts, answers), logp)


def test_greedy_replies_are_those_of_generate(folder: Path) -> None:
    model = language.load(folder / "model").eval()
    rows = data(folder).train[:4]
    replies = Sampler(max_new_tokens=5, temperature=0)(model, model.prompts([row.prompt for row in rows]))
    processor = transformers.AutoProcessor.from_pretrained(folder / "model")
    for at, name in enumerate(COLOURS):
        made = processor(text=["<s><image>what?~"], images=[Image.open(folder / f"{name}.png")], return_tensors="pt", add_special_tokens=False)  # fmt: skip
        whole = model.causal.generate(
            **made, max_new_tokens=5, do_sample=False, eos_token_id=list(model.stops), pad_token_id=0
        )
        written = whole[0, made["input_ids"].shape[1] :].tolist()
        assert replies.rows()[at] == written[: len(replies.rows()[at])]


@pytest.mark.parametrize(("key", "file"), [("sft", "rows.jsonl"), ("dpo", "pairs.jsonl")])
@pytest.mark.parametrize("parts", ["whole", "text"])
def test_a_run_trains_on_pictures_and_its_folder_opens_again(
    key: str, file: str, parts: str, folder: Path, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"learning_rate": 1e-2, "batch_size": 4, "lora_rank": 0}
    if parts == "text":
        settings |= {"lora_rank": 2, "adapter.targets": "language_model"}
    result = counterpoint.run(
        key, data=str(folder / file), model=str(folder / "model"), out=tmp_path / "run", settings=settings, steps=3,
        evaluate=False, progress=False, data_options={"validation": 0, "test": 0}, micro_batch_size=2,
    )  # fmt: skip
    before, after = (
        load_file(path / "model.safetensors") for path in (folder / "model", result.folder / "model")
    )
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert any("language_model" in name for name in moved)
    assert any("vision" in name for name in moved) == (parts == "whole")
    again = language.load(result.folder / "model").eval()
    assert again.pictures is not None
    row = data(folder).train[0]
    assert torch.isfinite(completion_log_probs(again, *again.rows([row.prompt], ["red"]))).all()
    losses = [
        json.loads(line)["loss"] for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()
    ]
    assert losses[-1] < losses[0]


def test_the_same_words_with_another_picture_are_another_row(folder: Path) -> None:
    loaded = data(folder)
    assert len({row.key() for row in loaded.train}) == 7
    model = language.load(folder / "model")
    ids = {tuple(model.prompt_ids([row.prompt])[0]) for row in loaded.train[:4]}
    assert len(ids) == 4
    first = loaded.fingerprint()
    content = (folder / "red.png").read_bytes()
    Image.new("RGB", (40, 30), (1, 2, 3)).save(folder / "red.png")
    assert data(folder).fingerprint() != first
    (folder / "red.png").write_bytes(content)
    assert data(folder).fingerprint() == first


def test_bytes_and_messages_with_picture_parts_are_read(folder: Path, tmp_path: Path) -> None:
    held = io.BytesIO()
    Image.open(folder / "red.png").save(held, "PNG")
    from datasets import Dataset

    talk = [{"role": "user", "content": [{"type": "image", "text": None}, {"type": "text", "text": "what?"}]}]
    rows = [{"prompt": talk, "images": [{"bytes": held.getvalue(), "path": None}], "completion": "red"}] * 3
    Dataset.from_list(rows).to_parquet(str(tmp_path / "rows.parquet"))
    row = problems.load(tmp_path / "rows.parquet", validation=0, test=0).train[0]
    model = language.load(folder / "model")
    assert len(model.prompt_ids([row.prompt])[0]) == len(model.prompt_ids([data(folder).train[0].prompt])[0])


def test_what_cannot_be_read_is_refused_by_row(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CounterpointError, match=r"rows\.jsonl, row 1: the row has pictures.*vision-language"):
        counterpoint.run("sft", data=str(folder / "rows.jsonl"), model="characters", out=tmp_path / "run", steps=1,
                         data_options={"validation": 0, "test": 0}, evaluate=False, progress=False)  # fmt: skip
    assert not (tmp_path / "run").exists()
    with pytest.raises(CounterpointError, match="pictures"):
        tiny().prompts([data(folder).train[0].prompt])
    for row, message in (
        (
            {"prompt": "what?", "images": ["none.png"], "completion": "x"},
            "row 1: there is no picture none.png",
        ),
        ({"prompt": "what?", "images": [3], "completion": "x"}, "row 1: a picture is 3"),
        (
            {
                "prompt": [{"role": "user", "content": [{"type": "image"}] * 2}],
                "images": [str(folder / "red.png")],
                "completion": "x",
            },
            "the messages show 2 pictures, and the row has 1",
        ),
    ):
        (tmp_path / "a.jsonl").write_text(json.dumps(row))
        with pytest.raises(CounterpointError, match=message):
            problems.load(tmp_path / "a.jsonl", validation=0, test=0)
    pairs = preferences.load(folder / "pairs.jsonl", validation=0, test=0)
    assert len(pairs.train) == 4


def test_rows_with_pictures_go_together_as_they_go_alone(folder: Path) -> None:
    model = language.load(folder / "model").eval()
    rows = data(folder).train
    longer = [("what?", "red"), ("what is it?", "green"), ("?", "blue")]
    prompts = [reworded(row.prompt, text) for row, (text, _) in zip(rows, longer)]
    prompts += [rows[5].prompt, pictured_twice(rows)]
    both = join(*model.rows(prompts, ["red", "green", "blue", "1", "grey"]))
    calls: list[int] = []
    model.causal.model.register_forward_pre_hook(
        lambda _, args, given: calls.append(len(given["input_ids"])), with_kwargs=True
    )
    first = model(both.ids, both.mask)
    assert model.pictured.joins
    calls.clear()
    again = model(both.ids, both.mask)
    assert sorted(calls) == [1, 4], "four rows with pictures, and one of text"
    assert torch.equal(first, again)
    model.pictured.joins = False
    alone = model(both.ids, both.mask)
    assert sorted(calls[2:]) == [1] * 5
    torch.testing.assert_close(again, alone, atol=1e-5, rtol=1e-5)
    assert not bool(again[both.mask == 0].any())


def test_a_model_that_reads_rows_otherwise_together_reads_them_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = language.load(folder / "model").eval()
    rows = data(folder).train[:3]
    prompts = model.prompts([row.prompt for row in rows])
    expected = model(prompts.ids, prompts.mask)
    for wrong in ("mixes", "fails"):
        model = language.load(folder / "model").eval()
        whole = model.causal.model.get_image_features

        def features(pixel_values: Any, *, whole: Any = whole, wrong: str = wrong, **given: Any) -> Any:
            if wrong == "fails" and len(pixel_values) > 1:
                raise ValueError("one image at a time")
            return whole(pixel_values=pixel_values.flip(0), **given)

        monkeypatch.setattr(model.causal.model, "get_image_features", features)
        prompts = model.prompts([row.prompt for row in rows])
        torch.testing.assert_close(model(prompts.ids, prompts.mask), expected, atol=1e-5, rtol=1e-5)
        assert model.pictured.joins is False


def test_a_picture_is_never_written(folder: Path) -> None:
    model = language.load(folder / "model").eval()
    assert model.pictures is not None
    with torch.no_grad():  # a head that wants nothing else
        model.head.weight[model.pictures.token] = 100 * model.head.weight.sum(0)
    prompts = model.prompts([row.prompt for row in data(folder).train[:3]])
    replies = Sampler(max_new_tokens=5, temperature=1.0)(model, prompts, torch.rand(3, 5))
    assert not bool((replies.ids == model.pictures.token).any())


def pictured_twice(rows: Any) -> Any:
    """A prompt with the pictures of two rows."""
    parts = [part for row in rows[2:4] for part in pictures_of(row.prompt)]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": "which?"}]}]


def test_sampling_after_pictures_keeps_keys_and_values_where_that_changes_nothing(folder: Path) -> None:
    model = language.load(folder / "model").eval()
    rows = data(folder).train[:4]
    texts = [reworded(row.prompt, text) for row, text in zip(rows, ("what?", "?", "what is it?", "so?"))]
    prompts, draws = model.prompts(texts), torch.rand(4, 8, generator=torch.Generator().manual_seed(0))
    sampler, read = Sampler(max_new_tokens=8, temperature=1.0), 0

    def count(*_: Any) -> None:
        nonlocal read
        read += 1

    model.causal.model.vision_tower.register_forward_hook(count)
    sampler(model, prompts, draws)
    assert model.pictured.caches
    read = 0
    cached = sampler(model, prompts, draws)
    assert read == 1, "pictures are read once"
    model.pictured.caches = False
    again = sampler(model, prompts, draws)
    assert read > 4
    assert cached.rows() == again.rows()
    torch.testing.assert_close(cached.log_probs, again.log_probs, atol=1e-5, rtol=1e-5)
    mixed = model.prompts([*texts, data(folder).train[5].prompt])
    more = torch.cat([draws, draws[:1]])
    model.pictured.caches = None
    assert sampler(model, mixed, more)[:4].rows() == cached.rows()
    assert model.pictured.caches is None, "rows of text among them are read again"


def test_a_model_whose_cache_does_not_serve_reads_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [row.prompt for row in data(folder).train[:3]]
    plain = language.load(folder / "model").eval()
    expected = Sampler(max_new_tokens=4, temperature=0)(plain, plain.prompts(texts))
    for wrong in ("shifts", "remembers"):
        model = language.load(folder / "model").eval()
        if wrong == "remembers":
            model.causal.model.rope_deltas = None
        else:
            whole = model._states

            def states(*args: Any, whole: Any = whole, **given: Any) -> Any:
                hidden, out = whole(*args, **given)
                return (hidden.flip(-1) if hidden.shape[1] == 1 else hidden), out

            monkeypatch.setattr(model, "_states", states)
        found = Sampler(max_new_tokens=4, temperature=0)(model, model.prompts(texts))
        assert not model.pictured.caches
        assert found.rows() == expected.rows()
