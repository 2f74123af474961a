"""Routers: found by what they do, redirected as asked, refused with reasons; on tiny models of many classes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from architecture_verdicts import TooSlow, _within
from counterpoint.errors import CounterpointError
from counterpoint.models.language.characters import tiny as dense
from counterpoint.models.language.experts import Router, Routers, Routing
from counterpoint.models.language.find_routers import routers
from counterpoint.models.language.language import Language
from tiny_models import architectures, tiny, tokenizer

FEW = (
    "MixtralForCausalLM",
    "Qwen3MoeForCausalLM",
    "OlmoeForCausalLM",
    "DeepseekV3ForCausalLM",
    "GptOssForCausalLM",
)
MORE = (
    "Qwen2MoeForCausalLM", "DeepseekV2ForCausalLM", "Glm4MoeForCausalLM", "GraniteMoeForCausalLM", "JambaForCausalLM",
    "MiniMaxM2ForCausalLM", "Ernie4_5_MoeForCausalLM", "FlexOlmoForCausalLM", "Llama4ForCausalLM", "Qwen3NextForCausalLM",
    "Qwen3VLMoeForConditionalGeneration", "Mistral4ForCausalLM", "NemotronHForCausalLM", "AfmoeForCausalLM",
)  # fmt: skip
REFUSED = {
    "PhimoeForCausalLM": "layers of experts choose otherwise",
    "LongcatFlashForCausalLM": "it does not run",
    "DeepseekV4ForCausalLM": "cannot be redirected",
}


def opened(name: str) -> Language:
    logging.disable(logging.WARNING)
    try:
        with _within(60):
            model = Language(tiny(name, *architectures()[name]), tokenizer()).eval()
    except TooSlow:
        pytest.fail(f"{name} took more than a minute")
    finally:
        logging.disable(logging.NOTSET)
    return model


@contextmanager
def given_to_experts(model: Language) -> Iterator[list[torch.Tensor]]:
    """Indices [tokens, experts] that the modules of experts get."""
    seen: list[torch.Tensor] = []

    def look(module: Any, given: Any, named: Any) -> None:
        seen.extend(
            x for x in (*given, *named.values()) if isinstance(x, torch.Tensor) and x.dtype == torch.long
        )

    handles = [
        module.register_forward_pre_hook(look, with_kwargs=True)
        for name, module in model.base.named_modules()
        if name.endswith(".experts")
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def redirected(name: str) -> None:
    model = opened(name)
    found = routers(model)
    ids = torch.arange(10, 22).view(2, 6)
    mask = torch.ones_like(ids)
    plain = model.logits(ids, mask)
    with found.use(Routing.of(f"top-{found.layers[0].own}")):
        torch.testing.assert_close(model.logits(ids, mask), plain, rtol=1e-4, atol=1e-5)
    with found.use(Routing.of("rank-2")), given_to_experts(model) as weak:
        other = model.logits(ids, mask)
    assert not torch.allclose(other, plain, atol=1e-6)
    if weak and len(weak) == len(found.layers):
        with given_to_experts(model) as own:
            model.logits(ids, mask)
        assert {each.shape[-1] for each in weak} == {1}, "one expert a token"
        # Before the first layer of experts both passes hold the same states: the rank there is that of the own choice.
        if found.layers[0].own >= 2 and name != "DeepseekV3ForCausalLM":  # its own choice is not in order
            assert torch.equal(weak[0][:, 0], own[0][:, 1])
    assert torch.equal(model.logits(ids, mask), plain), "nothing is left behind"


@pytest.mark.parametrize("name", FEW)
def test_routers_are_found_and_redirected(name: str) -> None:
    redirected(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", MORE)
def test_routers_of_more_classes(name: str) -> None:
    redirected(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_redirected_is_refused(name: str) -> None:
    with pytest.raises(CounterpointError, match=REFUSED[name]):
        routers(opened(name))


def test_a_dense_model_is_refused() -> None:
    with pytest.raises(CounterpointError, match="has no experts; give a mixture-of-experts model"):
        routers(dense(seed=0))


class Half(torch.nn.Module):
    """A router whose scores are not what it chooses by."""

    def __init__(self, gate: Any, fault: str) -> None:
        super().__init__()
        self.gate, self.fault = gate, fault

    def forward(self, states: torch.Tensor) -> Any:
        logits, scores, index = self.gate(states)
        if self.fault in ("ignored", "rounded"):
            rounding = 1e-7 * index[..., :1] if self.fault == "rounded" else 0.0
            index = torch.zeros_like(index)
            scores = torch.ones_like(scores) / scores.shape[-1] * (1 + rounding)
        return logits, scores, index


@pytest.mark.parametrize("fault", ["ignored", "rounded"])  # the same numbers, or the same but for rounding
def test_a_router_that_does_not_use_its_choice_is_refused(fault: str) -> None:
    model = opened("MixtralForCausalLM")
    layer = model.backbone.layers[1].mlp
    layer.gate = Half(layer.gate, fault)
    with pytest.raises(CounterpointError, match="changes nothing"):
        routers(model)


def test_a_layer_whose_choice_is_not_seen_is_refused() -> None:
    model = opened("MixtralForCausalLM")
    layer = model.backbone.layers[1].mlp

    class Hashed(torch.nn.Module):
        def forward(self, states: torch.Tensor) -> Any:
            index = torch.zeros(len(states.flatten(0, -2)), 1, dtype=torch.long)
            return index.float(), torch.ones(len(index), 1), index

    layer.gate = Hashed()
    with pytest.raises(CounterpointError, match="1 of its 2 layers of experts choose by topk"):
        routers(model)


def test_uses_nest_and_the_innermost_counts() -> None:
    model = opened("MixtralForCausalLM")
    found, ids = routers(model), torch.arange(10, 22).view(2, 6)
    mask = torch.ones_like(ids)

    def under(*routings: str) -> torch.Tensor:
        if not routings:
            return model.logits(ids, mask).detach()
        with found.use(Routing.of(routings[0])):
            return under(*routings[1:])

    assert torch.equal(under("top-3", "rank-2"), under("rank-2"))
    assert torch.equal(under("rank-2", "own"), under())


def test_random_experts_follow_their_seed() -> None:
    model = opened("MixtralForCausalLM")
    found, ids = routers(model), torch.arange(10, 34).view(2, 12)
    rows = []
    for seed in (0, 0, 1):
        found.draws.manual_seed(seed)
        with found.use(Routing.of("random-1")), given_to_experts(model) as seen:
            model.logits(ids, torch.ones_like(ids))
        rows.append(torch.cat(seen))
    assert torch.equal(rows[0], rows[1])
    assert not torch.equal(rows[0], rows[2])
    assert rows[0].unique().numel() == 4, "every expert is drawn"


@pytest.mark.parametrize("text", ["rank-0", "rank", "top", "random-2", "2", "ranks-2", ""])
def test_a_routing_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(CounterpointError, match="expected own, top-K"):
        Routing.of(text)


def test_a_rank_beyond_the_experts_is_refused() -> None:
    gate = torch.nn.Linear(2, 4)
    with (
        pytest.raises(CounterpointError, match="a layer has 4 experts"),
        Routers([Router("gate", gate, 0, 4, 2)]).use(Routing.of("rank-5")),
    ):
        pass


@pytest.mark.parametrize("text", ["own", "top-3", "rank-2", "random-1"])
def test_a_routing_is_written_as_it_is_read(text: str) -> None:
    assert str(Routing.of(text)) == text
