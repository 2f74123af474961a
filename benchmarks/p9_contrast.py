"""P9: what decoding by contrast costs beside greedy decoding, on one mixture of experts of random weights.

All arms write the same number of tokens from the same prompt; the tokens differ, so nothing is compared but time and memory.
"""

from __future__ import annotations

import torch
from harness import Step, Workload, main

SHAPE = {"width": 512, "depth": 6, "experts": 8, "vocabulary": 8_000, "prompt": 64, "tokens": 64}
TINY = {"width": 32, "depth": 3, "experts": 4, "vocabulary": 300, "prompt": 8, "tokens": 4}
ARMS = ("scmoe", "greedy", "contrastive", "dola")
WORKLOADS = [
    Workload(
        "p9-one", ARMS, {**SHAPE, "rows": 1}, {**TINY, "rows": 1}, "stated on the page", compare=False, warm=TINY | {"rows": 1}
    ),
    Workload(
        "p9-batch", ARMS, {**SHAPE, "rows": 16}, {**TINY, "rows": 2}, "stated on the page", compare=False, warm=TINY | {"rows": 2}
    ),
]  # fmt: skip


def prepare(workload: Workload, arm: str, sizes: dict[str, int]) -> Step:
    from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM

    from counterpoint.generation.contrast import Contrast
    from counterpoint.generation.contrasted import Contrasted, self_contrast
    from counterpoint.generation.sampler import Sampler
    from counterpoint.generation.weak import Amateur, EarlyLayers
    from counterpoint.models.language.characters import tokenizer
    from counterpoint.models.language.language import Language
    from counterpoint.models.tokens import Tokens

    torch.manual_seed(0)
    shared = {
        "vocab_size": sizes["vocabulary"], "num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 512,
        "bos_token_id": None, "eos_token_id": None, "pad_token_id": None,
    }  # fmt: skip
    config = MixtralConfig(
        hidden_size=sizes["width"], intermediate_size=2 * sizes["width"], num_hidden_layers=sizes["depth"],
        num_local_experts=sizes["experts"], num_experts_per_tok=2, sliding_window=None, **shared,
    )  # fmt: skip
    model = Language(MixtralForCausalLM(config).eval(), tokenizer())
    decoding: Language = model
    if arm == "scmoe":
        decoding = self_contrast(model, "own", "rank-2", Contrast())
    elif arm == "contrastive":
        small = LlamaConfig(
            hidden_size=sizes["width"] // 2,
            intermediate_size=sizes["width"],
            num_hidden_layers=sizes["depth"] // 2,
            **shared,
        )
        decoding = Contrasted(
            model, Amateur(Language(LlamaForCausalLM(small).eval(), tokenizer())), Contrast()
        )
    elif arm == "dola":
        layers = tuple(range(1, sizes["depth"] // 2 + 1, 2))
        decoding = Contrasted(model, EarlyLayers(model, layers), Contrast(form="difference"))
    ids = torch.randint(5, sizes["vocabulary"], (sizes["rows"], sizes["prompt"]))
    prompts, sampler = (
        Tokens(ids, torch.ones_like(ids)),
        Sampler(max_new_tokens=sizes["tokens"], temperature=0),
    )

    def step() -> dict:
        written = sampler(decoding, prompts)
        return {"tokens": written.mask.sum().float()}

    return step


if __name__ == "__main__":
    main(__file__, WORKLOADS, prepare)
