"""The sampler: it agrees with transformers' own decoding, rows are independent, and truncation keeps its promise."""

from __future__ import annotations

import pytest
import torch

from counterpoint.errors import CounterpointError
from counterpoint.generation.sampler import Sampler, invert, row_draws
from counterpoint.kernels.scores import dense
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import Language, LoRA
from counterpoint.models.tokens import join

ASKED = ["1+1=", "a rather long prompt with many words", "9", "20*3="]


def sharpened(seed: int = 0) -> Language:
    """A random model whose choices are clear enough that rounding never decides."""
    model = tiny(seed=seed)
    model.head.weight.data.mul_(40)
    return model


def test_greedy_is_transformers_greedy() -> None:
    model = sharpened().eval()
    prompts = model.prompts(ASKED)
    ours = Sampler(max_new_tokens=12, temperature=0)(model, prompts)
    for row, ids in enumerate(prompts.rows()):
        theirs = model.causal.generate(
            torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), max_new_tokens=12, do_sample=False
        )[0, len(ids) :].tolist()
        assert ours.rows()[row] == theirs


def test_a_row_does_not_depend_on_its_batch() -> None:
    model, sampler = sharpened(), Sampler(max_new_tokens=20, temperature=30.0, top_p=0.9)
    draws = row_draws(3, range(4), 20)
    together = sampler(model, model.prompts(ASKED), draws)
    for row in range(4):
        alone = sampler(model, model.prompts(ASKED[row : row + 1]), draws[row : row + 1])
        assert alone.rows()[0] == together.rows()[row]
        kept = together.log_probs[row][together.mask[row].bool()]
        assert torch.allclose(alone.log_probs[0][: len(kept)], kept, atol=1e-4)


def test_log_probs_are_those_of_a_plain_forward() -> None:
    model, sampler = tiny(seed=0), Sampler(max_new_tokens=8, temperature=0.7)
    prompts = model.prompts(ASKED)
    said = sampler(model, prompts, torch.Generator().manual_seed(0))
    both = join(prompts, said)
    with torch.no_grad():
        logits = dense(model.eval().scores(model(both.ids, both.mask, last=said.width))) / 0.7
    expected = logits.log_softmax(-1).gather(2, said.ids[..., None])[..., 0] * said.mask
    assert torch.allclose(said.log_probs, expected, atol=1e-5)


def test_completions_stop_at_the_end_token_and_leave_the_cache() -> None:
    model = sharpened()
    said = Sampler(max_new_tokens=60, temperature=60.0)(
        model, model.prompts(ASKED * 8), row_draws(0, range(32), 60)
    )
    ends = set(model.stops)
    assert said.ended.any(), "with this many draws some rows must end"
    for row, ended in zip(said.rows(), said.ended.tolist()):
        assert (row[-1] in ends) == ended
        assert not ends & set(row[:-1])
        assert ended or len(row) == 60


def test_frequencies_follow_the_distribution() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0]).log_softmax(-1)
    draws = torch.rand(20_000, generator=torch.Generator().manual_seed(0))
    counts = torch.bincount(invert(logits.expand(20_000, 4), draws), minlength=4) / 20_000
    assert torch.allclose(counts, logits.exp(), atol=0.01)
    nucleus = invert(logits.expand(20_000, 4), draws, top_p=0.8)
    kept = torch.bincount(nucleus, minlength=4) / 20_000
    p = logits.exp()
    assert torch.allclose(kept, torch.tensor([p[0], p[1], 0, 0]) / (p[0] + p[1]), atol=0.01)
    assert set(invert(logits.expand(20_000, 4), draws, top_k=3).tolist()) == {0, 1, 2}


def test_extreme_logits_and_draws() -> None:
    logits = torch.tensor([[-1e4, 1e4, -torch.inf]]).log_softmax(-1)
    for draw in (0.0, 0.5, 1.0 - 1e-7):
        assert invert(logits, torch.tensor([draw])).item() == 1


def test_dropout_is_off_and_modes_come_back() -> None:
    model = sharpened().with_lora(LoRA(rank=2, dropout=0.9)).train()
    model.causal.get_base_model().model.layers[0].eval()
    modes = [module.training for module in model.modules()]
    for name, each in model.named_parameters():
        if "lora_B" in name:
            each.data.normal_(std=3, generator=torch.Generator().manual_seed(0))
    greedy = Sampler(max_new_tokens=10, temperature=0)
    assert greedy(model, model.prompts(ASKED)).rows() == greedy(model, model.prompts(ASKED)).rows()
    assert [module.training for module in model.modules()] == modes


def test_lessons() -> None:
    model = tiny(length=32)
    with pytest.raises(CounterpointError, match=r"batch\.random\.uniform"):
        Sampler(max_new_tokens=4)(model, model.prompts(["1"]))
    with pytest.raises(CounterpointError, match=r"shape \(1, 4\), got \(1, 3\)"):
        Sampler(max_new_tokens=4)(model, model.prompts(["1"]), torch.zeros(1, 3))
    with pytest.raises(CounterpointError, match="lower max_new_tokens to 29"):
        Sampler(max_new_tokens=64)(model, model.prompts(["1"]), torch.zeros(1, 64))
    with pytest.raises(CounterpointError, match="0 is greedy"):
        Sampler(temperature=-1)


@pytest.mark.parametrize("stop", [("a",), ("ab", "7"), ("é",)])
def test_a_stop_text_ends_a_completion_where_it_first_appears(stop: tuple[str, ...]) -> None:
    model, prompts = tiny(seed=0), ["1+1=", "2+2=", "15+15=", "9"] * 8
    draws = row_draws(0, range(32), 60)
    whole = Sampler(60)(model, model.prompts(prompts), draws)
    cut = Sampler(60, stop=stop)(model, model.prompts(prompts), draws)
    seen = 0
    for row, ended, own, own_ended in zip(
        cut.rows(), cut.ended.tolist(), whole.rows(), whole.ended.tolist(), strict=True
    ):
        texts = [model.tokenizer.decode(own[:at], skip_special_tokens=True) for at in range(1, len(own) + 1)]
        first = next((at for at, text in enumerate(texts, 1) if any(each in text for each in stop)), None)
        assert row == own[:first]
        assert ended == (own_ended or first is not None)
        seen += first is not None
    assert (seen > 0) == (stop != ("é",))


def test_an_empty_stop_text_is_one_line() -> None:
    with pytest.raises(CounterpointError, match="stop holds an empty text"):
        Sampler(stop=("",))
