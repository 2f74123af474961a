"""Which modules of a language model pick experts, found by what they do in a pass, and whether they can be redirected.

A router calls ``topk`` along an axis of experts, whose size does not depend on the number of tokens. That the choice there is
what decides is tried on a few tokens; a model of which it is not so is refused, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from counterpoint.errors import CounterpointError
from counterpoint.kernels.evaluating import evaluating
from counterpoint.models.language.experts import TOPK, Router, Routers, Routing
from counterpoint.models.language.language import Language
from counterpoint.models.language.own_forward import FOREIGN

LENGTHS = (7, 5)
"""Tokens of the two trials: what a router chooses among is as long in both."""


def routers(model: Language) -> Routers:
    """Find the routers and try whether they can be redirected.

    Tried: the routers' own experts, chosen by rank, give the model's own logits; in every layer alone, the last rank gives
    others, all finite.

    Args:
        model: a language model, mixture of experts or not.

    Raises:
        CounterpointError: no mixture of experts, a layer of experts whose choice cannot be seen, or a trial that fails.
    """
    name = type(model.base).__name__
    redirected = Routers(_seen(model, name))
    layers = [each for each, module in model.base.named_modules() if _experts(each, module)]
    if not redirected.layers:
        raise CounterpointError(
            f"{name} picks no experts by topk: {'its layers of experts choose otherwise' if layers else 'it has no experts'}; "
            "give a mixture-of-experts model such as Mixtral, Qwen3-MoE, OLMoE, DeepSeek or gpt-oss, or contrast two models "
            "(contrastive-decoding) or layers (dola)"
        )
    if len(layers) > len(redirected.layers):
        raise CounterpointError(
            f"{name}: {len(redirected.layers)} of its {len(layers)} layers of experts choose by topk, and the others would stay as "
            "they are; contrast two models (contrastive-decoding) or layers (dola) instead"
        )
    _check(model, redirected, name)
    return redirected


def _experts(name: str, module: nn.Module) -> bool:
    """Whether a module holds a layer's experts, by the name that transformers gives them."""
    return name.rpartition(".")[2] == "experts" and any(True for _ in module.parameters())


def _seen(model: Language, name: str) -> list[Router]:
    """Modules whose forward calls ``topk`` along an axis that does not grow with the tokens."""
    trials = [_calls(model, _tokens(model, length)) for length in LENGTHS]
    seen = []
    for module in dict.fromkeys(each for each, _ in trials[0]):
        first, second = ([(n, k) for each, (n, k) in trial if each == module] for trial in trials)
        lasting = [at for at, (one, other) in enumerate(zip(first, second)) if one[0] == other[0]]
        if len(first) != len(second) or not lasting:
            continue  # along the tokens: an index of attention
        widest = max(first[at][0] for at in lasting)
        call = max(at for at in lasting if first[at][0] == widest)  # groups of experts are chosen before
        seen.append(Router(module, model.base.get_submodule(module), call, *first[call]))
    return seen


@torch.no_grad()
def _calls(model: Language, ids: Tensor) -> list[tuple[str, tuple[int, int]]]:
    """Every call of ``topk`` in a pass: (the innermost module's name, (size of the axis, k))."""
    inside: list[str] = []
    calls: list[tuple[str, tuple[int, int]]] = []

    class Recorder(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
        ) -> Any:
            kwargs = kwargs or {}
            out = func(*args, **kwargs)
            if func in TOPK and inside:
                scores = args[0] if args else kwargs["input"]
                axis = kwargs.get("dim", args[2] if len(args) > 2 else -1)
                if axis in (-1, scores.dim() - 1):
                    calls.append((inside[-1], (scores.shape[-1], out[1].shape[-1])))
            return out

    def leave(module: nn.Module, given: Any, out: Any) -> None:
        inside.pop()

    handles = []
    for each, module in model.base.named_modules():
        enter: Callable[..., None] = lambda _, given, each=each: inside.append(each)  # noqa: E731
        handles += [
            module.register_forward_pre_hook(enter),
            module.register_forward_hook(leave, always_call=True),
        ]
    try:
        with Recorder(), evaluating(model):
            model.logits(ids, torch.ones_like(ids))
    finally:
        for handle in handles:
            handle.remove()
    return calls


@torch.no_grad()
def _check(model: Language, redirected: Routers, name: str) -> None:
    ids = _tokens(model, LENGTHS[0])
    mask = torch.ones_like(ids)
    with evaluating(model):
        own = model.logits(ids, mask).float()
        exact = model.head.weight.dtype in (torch.float32, torch.float64)
        largest = float(own.abs().max())
        bound = (1e-3 if exact else 5e-2) * largest
        for at, router in enumerate(redirected.layers):
            rounding = 1e-6 * largest if exact else 0.0
            for routing in (Routing("top", router.own), Routing("rank", router.num)):
                same = routing.kind == "top"
                try:
                    with redirected.use(routing, only=at):
                        logits = model.logits(ids, mask).float()
                except (*FOREIGN, CounterpointError) as error:
                    first = (str(error).strip().splitlines() or ["no message"])[0][:200]
                    raise CounterpointError(
                        f"{name}: with routing {routing} in {router.name} it does not run ({first}); its experts take no "
                        "other choice than their router's"
                    ) from None
                away = float((logits - own).abs().max())
                if same and not away <= bound:
                    raise CounterpointError(
                        f"{name}: the {router.own} best experts of {router.name}, chosen by rank, do not give its own logits "
                        f"(they differ by {away:.2g}); its choice is not by the score that topk sees"
                    )
                if same:
                    rounding = max(rounding, away)
                elif not bool(logits.isfinite().all()) or away <= rounding:
                    raise CounterpointError(
                        f"{name}: another expert in {router.name} "
                        + ("changes nothing" if away <= rounding else "gives logits that are not finite")
                        + "; this router cannot be redirected"
                    )


def _tokens(model: Language, length: int) -> Tensor:
    """[2, length] ids from all over the vocabulary."""
    size = min(model.head.weight.shape[0], model.config.get_text_config().vocab_size)
    return (torch.arange(2 * length, device=model.device) * max(size // (2 * length), 1) % size).view(
        2, length
    )
