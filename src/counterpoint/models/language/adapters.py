"""Which weights of a language model are trained: low-rank adapters through PEFT, and parts that are held."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from counterpoint.errors import CounterpointError, MissingExtra
from counterpoint.models import deferred

logger = logging.getLogger("counterpoint")


@dataclass(frozen=True)
class LoRA:
    """Low-rank adapters through PEFT; the base weights stay frozen.

    Attributes:
        rank: width of the adapters.
        alpha: their scale is ``alpha / rank``.
        dropout: on the adapters' input, in training only.
        targets: names of the linear layers that get one, or of parts (``language_model``, ``vision_tower``) that get one on each of
            theirs; "all" means every linear layer but the head.
    """

    rank: int = 64
    alpha: float = 128.0
    dropout: float = 0.05
    targets: tuple[str, ...] | str = "all"


@dataclass
class Adapter:
    """Settings of the adapters that a method puts on, beside their rank.

    Attributes:
        alpha: their scale is ``alpha / rank``; none takes twice the rank.
        dropout: on the adapters' input, in training only.
        targets: names of the linear layers that get one, or of parts (``language_model``, ``vision_tower``) that get one on each of
            theirs; "all" means every linear layer but the head.
    """

    alpha: float | None = None
    dropout: float = 0.05
    targets: list[str] | str = "all"

    def __post_init__(self) -> None:
        """Refuse what no adapter can have."""
        if 1 <= self.dropout < math.inf:
            raise CounterpointError(
                f"adapter.dropout={self.dropout}; expected a share from 0 to below 1, for example 0.05"
            )
        if not isinstance(self.targets, str) and list(self.targets) == ["all"]:
            self.targets = "all"

    def of(self, rank: int) -> LoRA:
        """With a rank.

        >>> Adapter().of(8)
        LoRA(rank=8, alpha=16.0, dropout=0.05, targets='all')
        """
        alpha = 2.0 * rank if self.alpha is None else self.alpha
        targets = (self.targets,) if isinstance(self.targets, str) else tuple(self.targets)
        return LoRA(rank, alpha, self.dropout, "all" if targets == ("all",) else targets)

    def unread(self) -> None:
        """Raise where a setting was given though there are no adapters to be put on.

        Raises:
            CounterpointError: such a setting.
        """
        for name, value in vars(self).items():
            if value != getattr(Adapter(), name):
                raise CounterpointError(
                    f"adapter.{name}={value}, and lora_rank=0 trains every weight, without adapters; give a rank too: "
                    "--lora-rank 16"
                )


def goes_on(adapted: Any, rank: int) -> None:
    """Say that a model's own adapters are trained on, whatever rank a method would have put on."""
    own = next(iter(adapted.peft_config.values()))
    logger.warning(
        f"the model brings adapters of rank {own.r} (alpha {own.lora_alpha:g}): they are trained on, and lora_rank={rank} is "
        "not read; for new ones, or to train every weight, merge them first: "
        'load("ADAPTER").merged().save("MERGED"), then --model MERGED'
    )


def attach(causal: Any, lora: LoRA, seed: int = 0) -> Any:
    """Return a transformers model with fresh adapters around it; the seed decides their initial values.

    Raises:
        CounterpointError: targets that the model does not have, its output layer, or experts that PEFT cannot adapt so;
            the model is then as it was.
        MissingExtra: PEFT is not installed.
    """
    try:
        import peft
    except ImportError:
        raise MissingExtra("peft", "language") from None
    name, plain = type(causal).__name__, linear_layers(causal)
    _check_targets(causal, lora, plain)
    config = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]
        lora_dropout=lora.dropout,
        target_modules="all-linear" if lora.targets == "all" else _layers_of(causal, lora.targets),
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(), deferred.stand_ins(causal):
        # PEFT reads an attribute by the name that transformers had for it.
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        torch.manual_seed(seed)
        try:
            adapted = peft.get_peft_model(causal, config)
        except ValueError as error:
            _take_off(causal)
            if lora.dropout and "lora_dropout" in str(error):
                attention = linear_layers(causal, without=("mlp", "expert", "moe"))
                given = f"rank={lora.rank}, alpha={lora.alpha}"
                raise CounterpointError(
                    f"{name} has its experts in stacked weights, which PEFT adapts without dropout only (given: "
                    f"dropout={lora.dropout}); pass LoRA({given}, dropout=0.0), in a run --adapter.dropout 0, or leave the experts frozen: "
                    f"LoRA({given}, targets={attention!r}), in a run --adapter.targets {','.join(attention)}, or train every weight: "
                    "lora_rank=0"
                ) from None
            raise CounterpointError(f"LoRA targets {lora.targets!r} do not fit this model: {error}") from None
    frozen = _bare_experts(adapted) if lora.targets == "all" else 0
    if frozen:
        logger.warning(
            f"{name} has {frozen} stacked weights of experts, for which PEFT has no adapter: they stay frozen; "
            "to train them too, train every weight: lora_rank=0"
        )
    return adapted


def linear_layers(causal: Any, without: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Names of a model's linear layers, without its head and those whose path has one of some words."""
    head = causal.get_output_embeddings()
    layers = (
        name
        for name, each in causal.named_modules()
        if isinstance(each, nn.Linear) and each is not head and not any(word in name for word in without)
    )
    return tuple(sorted({name.rpartition(".")[2] for name in layers}))


def _layers_of(causal: Any, targets: Sequence[str]) -> list[str]:
    """Targets as names of layers: a part of the model, such as ``language_model``, stands for every linear layer in it."""
    head = causal.get_output_embeddings()
    layers: dict[str, None] = {}
    for target in targets:
        inside = [
            f"{name}.{inner}"
            for name, part in causal.named_modules()
            if (name == target or name.endswith(f".{target}")) and not isinstance(part, nn.Linear)
            for inner, layer in part.named_modules()
            if isinstance(layer, nn.Linear) and layer is not head
        ]
        layers |= dict.fromkeys(inside or [target])
    return list(layers)


def check_head(base: Any) -> None:
    """Raise where the output layer itself has an adapter: losses read its weight, which is without it.

    Raises:
        CounterpointError: such a model.
    """
    if hasattr(base.get_output_embeddings(), "lora_A"):
        raise CounterpointError(
            f"{type(base).__name__} has a LoRA adapter on its output layer, whose weight the losses read without it; "
            "merge it first: Language(causal.merge_and_unload(), tokenizer), or adapt other layers"
        )


def _check_targets(causal: Any, lora: LoRA, plain: tuple[str, ...]) -> None:
    head = causal.get_output_embeddings()
    path = next((name for name, each in causal.named_modules() if each is head), None)
    if path is None or lora.targets == "all":
        return
    given = [each for each in lora.targets if path == each or path.endswith(f".{each}")]
    if given:
        raise CounterpointError(
            f"LoRA target {given[0]!r} is the output layer of {type(causal).__name__}, whose weight the losses read "
            f"without an adapter; give other layers, e.g. targets={plain!r}"
        )


def _bare_experts(adapted: Any) -> int:
    """Stacked weights [experts, out, in] without an adapter."""
    return sum(
        weight.dim() == 3 and "experts" in name and "lora_" not in name and "base_layer" not in name
        for name, weight in adapted.named_parameters()
    )


def _take_off(causal: Any) -> None:
    """Undo what PEFT had done to a model before it failed."""
    for layer in list(causal.modules()):
        for name, child in list(layer.named_children()):
            if hasattr(child, "lora_A"):
                setattr(layer, name, child.get_base_layer())


def freeze(model: Any, names: str) -> int:
    """Hold the parameters under modules of these names, adapters included; return how many tensors that are.

    Args:
        model: whose weights are trained.
        names: with commas between; those that the model lacks are passed over. Empty: nothing is held.

    Raises:
        CounterpointError: none of the names is a part of the model, or nothing is left to train.
    """
    wanted = {name.strip() for name in names.split(",") if name.strip()}
    if not wanted:
        return 0
    of_parts = [
        parameter for name, parameter in model.named_parameters() if not wanted.isdisjoint(name.split("."))
    ]
    if not of_parts:
        parts = sorted({name.rsplit(".", 1)[-1] for name, _ in model.base.named_children()})
        inner = sorted({name for name, _ in model.base.base_model.named_children()})
        raise CounterpointError(
            f"frozen={names}: the model has no such part; it has {', '.join(dict.fromkeys(inner + parts))}; name its vision encoder, or "
            "leave frozen empty to train all of it"
        )
    for parameter in of_parts:
        parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise CounterpointError(f"frozen={names}: nothing is left to train; name fewer parts")
    return len(of_parts)
