"""Tiny random models of every causal and image-text class that this transformers has: one configuration shrunk by rule.

Every number of a configuration that is a size is made small by its name, in all its parts; what the rule gets wrong for a
family is in ``OWN``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedConfig
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from counterpoint.models.language.characters import tokenizer

VOCABULARY = 128
SIZES: dict[tuple[str, ...], int] = {
    ("vocab_size", "unpadded_vocab_size", "text_vocab_size", "vocab_size_per_layer_input", "pad_vocab_size"): VOCABULARY,
    ("hidden_size", "d_model", "n_embd", "model_dim", "embed_dim", "embedding_size", "dim", "word_embed_proj_dim", "lru_width", "width", "emb_dim", "projection_dim", "hidden_dim", "out_hidden_size", "decoder_hidden_size"): 32,
    ("intermediate_size", "ffn_dim", "n_inner", "decoder_ffn_dim", "encoder_ffn_dim", "feed_forward_size", "ffn_hidden_size", "mlp_dim", "dff", "feed_forward_dim", "shared_intermediate_size", "shared_expert_intermediate_size", "moe_shared_expert_intermediate_size", "intermediate_size_mlp", "block_ff_dim", "mlp_hidden_size"): 64,
    ("moe_intermediate_size", "expert_ffn_hidden_size"): 16,
    ("num_hidden_layers", "n_layer", "num_layers", "encoder_layers", "decoder_layers", "depth", "n_layers", "num_blocks", "num_decoder_layers", "num_encoder_layers"): 2,
    ("num_attention_heads", "n_head", "num_heads", "encoder_attention_heads", "decoder_attention_heads", "n_heads", "attention_heads", "num_decoder_attention_heads", "num_encoder_attention_heads", "num_mem_heads"): 4,
    ("num_key_value_heads", "n_kv_heads", "attention_num_key_value_heads", "multi_query_group_num"): 2,
    ("head_dim", "global_head_dim", "d_kv", "attention_head_dim", "attention_head_size", "kv_channels", "v_head_dim", "qk_nope_head_dim", "index_head_dim", "swa_head_dim", "linear_key_head_dim", "linear_value_head_dim"): 8,
    ("qk_rope_head_dim",): 4,
    ("q_lora_rank", "kv_lora_rank", "o_lora_rank"): 16,
    ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"): 4,
    ("num_experts_per_tok", "moe_k", "top_k_experts", "moe_topk", "num_experts_per_token", "top_k"): 2,
    ("n_group", "topk_group", "n_groups"): 1,
    ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length", "max_seq_len", "max_target_positions", "max_source_positions", "seq_length"): 128,
    ("image_size", "img_size"): 32,
    ("patch_size",): 16,
    ("hidden_size_per_layer_input",): 8,
    ("sliding_window", "window_size", "attention_window"): 16,
}  # fmt: skip
SMALL = {name: size for names, size in SIZES.items() for name in names}

MROPE = {"rope_type": "default", "rope_theta": 10000.0}
WIDTHS_OF_MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 16, "mamba_chunk_size": 8}
OWN: dict[str, dict[str, Any]] = {
    "qwen2_vl": {"rope_parameters": {**MROPE, "mrope_section": [1, 1, 2]}},
    "qwen2_5_vl": {"rope_parameters": {**MROPE, "mrope_section": [1, 1, 2]}},
    "qwen2_5_omni_thinker": {"rope_parameters": {**MROPE, "mrope_section": [1, 1, 2]}},
    "paddleocr_vl": {"rope_parameters": {**MROPE, "mrope_section": [1, 1, 2]}},
    "glm4v": {"rope_parameters": {**MROPE, "mrope_section": [1, 1, 2]}},
    "glm46v": {"rope_parameters": {**MROPE, "mrope_section": [1, 1, 2]}},
    "glm_ocr": {"rope_parameters": {**MROPE, "mrope_section": [1, 1, 2]}},
    "glm4v_moe": {"rope_parameters": {**MROPE, "mrope_section": [1, 1, 2], "partial_rotary_factor": 1.0}},
    "gptj": {"rotary_dim": 4},
    "codegen": {"rotary_dim": 4},
    "bamba": WIDTHS_OF_MAMBA,
    "granitemoehybrid": WIDTHS_OF_MAMBA,
    "mamba2": {"num_heads": 8, "state_size": 16, "chunk_size": 8},
    "ministral": {"head_dim": 8},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "hunyuan_vl": {"head_dim": 8},
    "nemotron": {"num_key_value_heads": 2},
    "lfm2_moe": {"layer_types": ["full_attention", "conv"]},
    "xlm": {"causal": True},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "deepseek_v3": {"first_k_dense_replace": 1},
    "gemma3n_text": {"num_kv_shared_layers": 0},
}
"""What the rule gets wrong, by model type: fields of the text configuration (of the whole one with a leading dot)."""


def architectures() -> dict[str, tuple[str, str]]:
    """Class name -> (kind, model type) of every causal and image-text class, each once."""
    found: dict[str, tuple[str, str]] = {}
    for kind, names in (
        ("causal", modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES),
        ("image-text", modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES),
    ):
        for model_type, names_of in names.items():
            for name in [names_of] if isinstance(names_of, str) else names_of:
                found.setdefault(name, (kind, model_type))
    return found


def shrink(config: Any, seen: set[int] | None = None) -> Any:
    """Make every size of a configuration and of its parts small, in place."""
    seen = set() if seen is None else seen
    if id(config) in seen:
        return config
    seen.add(id(config))
    layers = next(
        (
            getattr(config, n, None)
            for n in ("num_hidden_layers", "num_layers")
            if isinstance(getattr(config, n, None), int)
        ),
        None,
    )
    for name, value in list(vars(config).items()):
        if isinstance(value, PreTrainedConfig):
            shrink(value, seen)
        elif isinstance(value, bool) or value is None:
            continue
        elif isinstance(value, int) and name in SMALL:
            setattr(config, name, min(value, SMALL[name]))
        elif (
            isinstance(value, int)
            and name.endswith(("_token_id", "_token_index", "_id"))
            and value >= VOCABULARY
        ):
            setattr(config, name, 90 + (sum(map(ord, name)) + value) % 30)
        elif isinstance(value, list | tuple) and layers and len(value) == layers and layers > 2:
            setattr(config, name, _few(value))
    _agree(config)
    return config


def _agree(config: Any) -> None:
    """Make sizes that are made of others agree with them: latent attention's heads."""
    rope, plain = getattr(config, "qk_rope_head_dim", None), getattr(config, "qk_nope_head_dim", None)
    if not isinstance(rope, int) or not isinstance(plain, int):
        return
    config.num_key_value_heads = config.num_attention_heads
    for name, size in (("qk_head_dim", rope + plain), ("head_dim", rope)):
        if isinstance(getattr(config, name, None), int):
            setattr(config, name, size)


def _few(values: Any) -> Any:
    """Two of a list with one entry a layer: the first, and the first that differs from it."""
    other = next((v for v in values if v != values[0]), values[-1])
    return type(values)([values[0], other])


def tiny(name: str, kind: str, model_type: str, seed: int = 0) -> Any:
    """A random model of a class, with logits of natural size so that caps and scales show."""
    class_ = getattr(transformers, name)
    config = CONFIG_MAPPING[model_type]()
    if isinstance(class_.config_class, type) and not isinstance(config, class_.config_class):
        config = class_.config_class()  # a text model that is listed under its composite's type
    shrink(config)
    if kind == "causal" and getattr(config, "is_decoder", None) is False:
        config.is_decoder = True  # an encoder's class, which predicts tokens only so
    for field, value in OWN.get(model_type, {}).items():
        where, field = (config, field[1:]) if field.startswith(".") else (config.get_text_config(), field)
        setattr(where, field, value)
    config._attn_implementation = "eager"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = class_(config).eval()
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.data.normal_(std=0.15)
    return model


__all__ = ["architectures", "tiny", "tokenizer"]


def image_to_image(folder: Path) -> None:
    """Write a Stable Diffusion image-to-image pipeline of a few thousand random weights, as ``save_pretrained`` writes it."""
    import json

    from diffusers import (
        AutoencoderKL,
        DDIMScheduler,
        StableDiffusionImg2ImgPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    words = folder.with_name("words")
    words.mkdir(parents=True)
    pieces = [
        "<|startoftext|>",
        "<|endoftext|>",
        *(chr(n) for n in range(33, 127)),
        *(f"{chr(n)}</w>" for n in range(33, 127)),
    ]
    (words / "vocab.json").write_text(json.dumps({piece: number for number, piece in enumerate(pieces)}))
    (words / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(words / "vocab.json"), str(words / "merges.txt"), model_max_length=77)
    text = CLIPTextConfig(
        vocab_size=len(pieces), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=77, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(8, 16), norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16, attention_head_dim=2,
    )  # fmt: skip
    vae = AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, norm_num_groups=4, block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, sample_size=16,
    )  # fmt: skip
    pipeline = StableDiffusionImg2ImgPipeline(
        vae=vae, text_encoder=CLIPTextModel(text), tokenizer=tokenizer, unet=unet, scheduler=DDIMScheduler(),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder)
