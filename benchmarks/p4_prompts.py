"""P4: per-token log-probabilities of completions that share a prompt, values and gradients of all parameters.

Both own arms go the way the methods go (``completion_log_probs``), with ``share_prompts`` on and off. The small
workloads are a preference step's and a group's at a size that the method pages quote.
"""

from __future__ import annotations

import torch
from harness import Step, Workload, main

MODEL = {"width": 576, "depth": 30, "vocabulary": 49_152}  # the shape of SmolLM2-135M
TINY = {"width": 32, "depth": 2, "vocabulary": 300, "prompt": 32, "completion": 16}
MIDDLE = {"width": 256, "depth": 4, "vocabulary": 2_000, "prompt": 128, "completion": 32}
ARMS = ("ours", "unshared", "trl")
OWN = ("ours", "unshared")
WORKLOADS = [
    Workload("p4-pair", ARMS, {**MODEL, "prompt": 512, "completion": 128, "prompts": 2, "group": 2}, {**TINY, "prompts": 2, "group": 2}, ">= 1.35x", goals={"unshared": 1.35, "trl": 1.35}),
    Workload("p4-group", ARMS, {**MODEL, "prompt": 512, "completion": 128, "prompts": 1, "group": 8}, {**TINY, "prompts": 1, "group": 8}, ">= 2.5x", goals={"unshared": 2.5, "trl": 2.5}),
    Workload("p4-small-pair", OWN, {**MIDDLE, "prompts": 8, "group": 2}, {**TINY, "prompts": 2, "group": 2}, "shown on pages"),
    Workload("p4-small-group", OWN, {**MIDDLE, "prompts": 2, "group": 8}, {**TINY, "prompts": 1, "group": 8}, "shown on pages"),
]  # fmt: skip


def prepare(workload: Workload, arm: str, sizes: dict[str, int]) -> Step:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=sizes["vocabulary"], hidden_size=sizes["width"], intermediate_size=sizes["width"] * 8 // 3,
        num_hidden_layers=sizes["depth"], num_attention_heads=8, num_key_value_heads=4,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    g = torch.Generator().manual_seed(1)
    rows = sizes["prompts"] * sizes["group"]
    prompts = torch.randint(0, sizes["vocabulary"], (sizes["prompts"], sizes["prompt"]), generator=g)
    completions = torch.randint(0, sizes["vocabulary"], (rows, sizes["completion"]), generator=g)
    factors = torch.randn(rows, 1, generator=g) / completions.numel()
    joined = torch.cat([prompts.repeat_interleave(sizes["group"], 0), completions], 1)

    if arm == "ours":
        from counterpoint.kernels.prefix.choice import obstacle

        obstacle(model.base_model)  # asked once in a run

    def step() -> dict:
        values = (
            trl(model, joined, completions)
            if arm == "trl"
            else ours(model, joined, completions, arm == "ours")
        )
        (values * factors).sum().backward()
        names = (
            "model.embed_tokens.weight",
            "model.layers.0.self_attn.k_proj.weight",
            "model.layers.1.mlp.up_proj.weight",
            "lm_head.weight",
        )
        return {"value": values.detach(), **{n: model.get_parameter(n).grad for n in names}}

    return step


def ours(
    model: torch.nn.Module, joined: torch.Tensor, completions: torch.Tensor, shared: bool
) -> torch.Tensor:
    from counterpoint.kernels.sharing import share_prompts
    from counterpoint.models.language.language import Language
    from counterpoint.models.language.likelihood import completion_log_probs
    from counterpoint.models.tokens import Tokens

    asked = joined[:, : -completions.shape[1]]
    with share_prompts("on" if shared else "off"):
        return completion_log_probs(
            Language(model, None),
            Tokens(asked, torch.ones_like(asked)),
            Tokens(completions, torch.ones_like(completions)),
        )


def trl(model: torch.nn.Module, joined: torch.Tensor, completions: torch.Tensor) -> torch.Tensor:
    """The per-token path of the group trainers: logits of the completion's positions, selected."""
    from trl.trainer.utils import selective_log_softmax

    count = completions.shape[1]
    logits = model(
        input_ids=joined, attention_mask=torch.ones_like(joined), logits_to_keep=count + 1, use_cache=False
    ).logits
    return selective_log_softmax(logits[:, :-1], completions)


if __name__ == "__main__":
    main(__file__, WORKLOADS, prepare)
