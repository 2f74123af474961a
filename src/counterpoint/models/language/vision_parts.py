"""Parts of a vision-language model that stay as they are while the rest is trained, by the names of its modules."""

from __future__ import annotations

from counterpoint.errors import CounterpointError
from counterpoint.models.language.language import Language


def freeze(model: Language, names: str) -> int:
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
