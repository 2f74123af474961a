"""P4: per-token log-probabilities of completions that share a prompt, values and gradients of all parameters."""

from __future__ import annotations

import torch
from harness import Step, Workload, main

MODEL = {"width": 512, "depth": 4, "vocabulary": 32_000}
TINY = {"width": 32, "depth": 2, "vocabulary": 300, "prompt": 32, "completion": 16}
ARMS = ("ours", "unshared", "trl")
WORKLOADS = [
    Workload("p4-pair", ARMS, {**MODEL, "prompt": 512, "completion": 128, "prompts": 2, "group": 2}, {**TINY, "prompts": 2, "group": 2}, ">= 1.35x"),
    Workload("p4-group", ARMS, {**MODEL, "prompt": 512, "completion": 128, "prompts": 1, "group": 8}, {**TINY, "prompts": 1, "group": 8}, ">= 2.5x"),
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

    def step() -> dict:
        if arm == "trl":
            values = trl(model, joined, completions)
        else:
            values = ours(model, prompts, joined, completions, shared=arm == "ours")
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
    model: torch.nn.Module,
    prompts: torch.Tensor,
    joined: torch.Tensor,
    completions: torch.Tensor,
    shared: bool,
) -> torch.Tensor:
    from counterpoint.kernels.prefix import shared_prompt_states
    from counterpoint.kernels.vocabulary import Head, log_probs

    if shared:
        states = shared_prompt_states(
            model.base_model, prompts, torch.ones_like(prompts), completions, torch.ones_like(completions)
        )
    else:
        states = model.base_model(input_ids=joined, use_cache=False).last_hidden_state[
            :, -completions.shape[1] - 1 : -1
        ]
    return log_probs(Head(states, model.get_output_embeddings().weight), completions)


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
