"""Vectors of SCMoE: a layer of experts under every routing, values and gradients; contrasted decoding, step by step."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from harness import Case, Checks, vector_tests
from transformers import MixtralConfig
from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock

from counterpoint.generation.contrast import Contrast, plausible
from counterpoint.generation.sampler import Sampler
from counterpoint.kernels.sharing import share_prompts
from counterpoint.models.language.experts import Router, Routers, Routing
from counterpoint.models.tokens import Tokens

BLOCK = {"rtol": 2e-6, "atol": 2e-7}
"""The published router's softmax is in single precision."""


def layer(case: Case) -> MixtralSparseMoeBlock:
    router, first, third = case.tensor("W_router"), case.tensor("w1"), case.tensor("w3")
    config = MixtralConfig(
        hidden_size=router.shape[1], intermediate_size=first.shape[1], num_local_experts=len(router)
    )
    config._experts_implementation = "eager"
    block = MixtralSparseMoeBlock(config).double()
    with torch.no_grad():
        block.gate.weight.copy_(router)
        block.experts.gate_up_proj.copy_(torch.cat([first, third], 1))
        block.experts.down_proj.copy_(case.tensor("w2"))
    return block


def one_routing(case: Case, name: str) -> None:
    block, hidden = layer(case), case.tensor("hidden", grad=True)
    num = len(case.array("W_router"))
    routing = Routing.of(name.replace("top", "top-").replace("rank", "rank-"))
    assert routing.ranks(num) == case.array(f"ranks_{name}").tolist()
    with Routers([Router("gate", block.gate, 0, num, 2)]).use(routing):
        out = block(hidden)
    (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)).sum().backward()
    case.expect(f"out_{name}", out, **BLOCK)
    case.expect(f"grad_hidden_{name}", hidden.grad, **BLOCK)
    logits = block.gate(hidden.flatten(0, 1))[0]
    case.expect("router_logits", logits.view(case.array("router_logits").shape), rtol=1e-12, atol=1e-14)


class Tables:
    """A language model whose logits are read from tables: those of step k after the token r are row r of table k."""

    limit, device, backbone = None, torch.device("cpu"), None

    def __init__(self, case: Case) -> None:
        self.strong, self.weak = case.tensor("z_strong"), case.tensor("z_weak")
        self.how = Contrast(
            beta=case.number("beta"),
            alpha=case.number("alpha"),
            strong_temperature=case.number("t_strong"),
            weak_temperature=case.number("t_weak"),
        )
        self.eos, self.allowed = int(case.number("eos")), bool(case.number("allow_eos"))
        self.pad_id, self.stops, self.step = int(case.number("pad")), (self.eos,), 0
        self.scores: list[torch.Tensor] = []
        self.valid: list[torch.Tensor] = []

    def modules(self) -> list[Any]:
        return []

    def eval(self) -> None:
        """Nothing to switch."""

    def decode(self, ids: torch.Tensor, mask: torch.Tensor, cache: Any = None) -> tuple[torch.Tensor, None]:
        strong, weak = self.strong[self.step][ids[:, -1]], self.weak[self.step][ids[:, -1]]
        scores = self.how(strong, weak)
        if not self.allowed:
            scores[:, self.eos] = -torch.inf
        self.scores.append(scores)
        self.valid.append(plausible(strong / self.how.strong_temperature, self.how.alpha))
        self.step += 1
        return scores, None


def decoded(case: Case) -> None:
    model, prompt = Tables(case), case.tensor("prompt")
    expected = case.array("output")
    sampler = Sampler(max_new_tokens=len(model.strong), temperature=0)
    with share_prompts("off"):
        found = sampler(model, Tokens(prompt, torch.ones_like(prompt)))  # type: ignore[arg-type]
    out = torch.full(expected.shape, model.pad_id)
    out[:, : prompt.shape[1]] = prompt
    out[:, prompt.shape[1] : prompt.shape[1] + found.ids.shape[1]] = found.ids
    case.expect("output", out, rtol=0)


def scored(case: Case) -> None:
    """Every step's scores and mask, along the published tokens; rows that are finished go on from their padding."""
    model, read = Tables(case), case.tensor("output")[:, case.array("prompt").shape[1] - 1 :]
    for step in range(len(model.strong)):
        model.decode(read[:, step, None], torch.ones(0))
    case.expect("adjusted", torch.stack(model.scores), rtol=1e-12)
    case.expect("valid", torch.stack(model.valid), rtol=0)


def scmoe(case: Case) -> Checks:
    if case.text("kind") == "decode":
        return {"tokens": partial(decoded, case), "scores": partial(scored, case)}
    assert case.text("kind") == "block"
    names = [key.removeprefix("out_") for key in case.keys("out_")]
    return {name: partial(one_routing, case, name) for name in names}


test_self_contrast = vector_tests({"scmoe": scmoe})
