"""Greedy accuracy, perplexity and retention, against hand-made models and plain loops."""

from __future__ import annotations

import math

import pytest
import torch

from counterpoint.data.language.problems import Problem, Problems
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.language import greedy_accuracy, perplexity, retention
from counterpoint.models.language.characters import tiny
from counterpoint.models.tokens import join

ROWS = Problems([Problem("1+1=", "so 2", "2"), Problem("12+30=", "so 42", "42")], "number")


def test_perplexity_is_that_of_a_loop_over_tokens() -> None:
    model = tiny(seed=0).eval()
    total, count = 0.0, 0
    for row in ROWS:
        asked, said = model.prompts([row.question]), model.completions([row.reference])
        both = join(asked, said)
        with torch.no_grad():
            log_p = model.causal(both.ids).logits[0].double().log_softmax(-1)
        for place, token in enumerate(said.ids[0].tolist()):
            total -= float(log_p[asked.width + place - 1, token])
            count += 1
    assert perplexity(model, ROWS) == pytest.approx(math.exp(total / count), rel=1e-5)
    with pytest.raises(CounterpointError, match="needs references"):
        perplexity(model, Problems([Problem("1")], "exact"))


def test_others_words_are_no_part_of_perplexity() -> None:
    model = tiny(seed=0).eval()
    turns = ("assistant", "2"), ("user", "+1?"), ("assistant", "3")
    talk = tuple({"role": role, "content": content} for role, content in turns)
    row = Problem("1+1=", "2\n\n3", messages=talk)
    ids = model.tokenizer("<s>1+1=~2</s><s>+1?~3</s>", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        log_p = model.causal(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    own = [at for at in range(len(ids)) if at in (6, 7, 13, 14)]  # "2", its end, "3", its end
    assert model.tokenizer.decode([ids[at] for at in own]) == "2</s>3</s>"
    wanted = math.exp(-sum(float(log_p[at - 1, ids[at]]) for at in own) / len(own))
    assert perplexity(model, Problems([row], "exact")) == pytest.approx(wanted, rel=1e-5)


def test_accuracy_is_the_mean_score_in_any_grouping() -> None:
    model = tiny(seed=0)
    model.head.weight.data.mul_(40)
    one = greedy_accuracy(model, ROWS, at_once=1)
    assert one == greedy_accuracy(model, ROWS, at_once=64)
    assert set(one) == {"accuracy", "ended", "reply_tokens"}
    with pytest.raises(CounterpointError, match="an answer for every problem"):
        greedy_accuracy(model, Problems([Problem("1")], "exact"))
    with pytest.raises(CounterpointError, match="holds no problems"):
        greedy_accuracy(model, Problems([], "exact"))


def test_retention_is_lowest_for_the_base_itself() -> None:
    base, other = tiny(seed=0), tiny(seed=1)
    base.head.weight.data.mul_(20)
    own = retention(base, base, ROWS, max_new_tokens=12)
    assert 1 <= own < retention(other, base, ROWS, max_new_tokens=12)
