"""Objectives inside TRL's trainers: a trainer class of TRL's whose ``compute_loss`` is ours; all else stays TRL's.

    preference_trainer(loss)      DPOTrainer      any of ``preference.PAIRWISE``
    policy_trainer(variant)       GRPOTrainer     any of ``policy.VARIANTS``
    distillation_trainer(kind)    SFTTrainer      any divergence, from a teacher of the same vocabulary

The ``...Loss`` classes hold what is ours and need no TRL. B sequences, T tokens, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from counterpoint.errors import CounterpointError, nearest
from counterpoint.kernels.vocabulary import divergence, log_probs
from counterpoint.objectives.distillation.divergence import named_kind, top_k_divergence
from counterpoint.objectives.preference.policy import VARIANTS, policy_gradient
from counterpoint.objectives.preference.preference import (
    REFERENCE_FREE,
    Pair,
    pairwise,
    reward_statistics,
)

PICTURES = ("pixel_values", "image_grid_thw", "pixel_attention_mask", "image_sizes")


def preference_trainer(loss: str = "sigmoid", **settings: Any) -> type:
    """A ``trl.DPOTrainer`` class with a preference loss; its ``loss_type`` and ``beta`` are not read.

    Args:
        loss: of ``PAIRWISE``. settings: of ``pairwise``: beta, smoothing, margin, link, link_alpha.

    Raises:
        CounterpointError: no such loss, a setting that it does not read, or TRL is missing.
    """
    one, two = torch.zeros(1), torch.ones(1)
    pairwise(
        loss, Pair(one, one, one, one, two, two), **settings
    )  # refuses what does not fit, before any data is read
    return _subclass("DPOTrainer", PreferenceLoss, loss=loss, settings=settings)


def policy_trainer(variant: str = "dapo", **settings: Any) -> type:
    """A ``trl.GRPOTrainer`` class with a policy gradient; its ``loss_type``, ``epsilon`` and ``delta`` are not read, its ``beta`` is.

    Args:
        variant: of ``VARIANTS``. settings: of ``policy_gradient``: low, high, delta, kl_kind, kl_corrected, temperatures, exponents.

    Raises:
        CounterpointError: no such variant, or TRL is missing.
    """
    if variant not in VARIANTS:
        raise CounterpointError(
            f"there is no policy-gradient variant {variant!r}; {nearest(variant, VARIANTS)}"
        )
    length: dict[str, Any] = {"max_length": 1} if VARIANTS[variant].aggregation == "constant" else {}
    policy_gradient(torch.zeros(1, 1), torch.zeros(1), torch.ones(1, 1), variant, **length, **settings)
    return _subclass("GRPOTrainer", PolicyLoss, variant=variant, settings=settings)


def distillation_trainer(
    kind: str = "forward",
    *,
    teacher: nn.Module,
    parameter: float | None = None,
    top_k: int | None = None,
    temperature: float = 1.0,
    weight: float = 1.0,
) -> type:
    """A ``trl.SFTTrainer`` class that learns a teacher's distributions at the tokens that SFT would learn.

    Args:
        kind: of the divergence, with its parameter ("jsd", 0.5; "skewed_forward", 0.1). teacher: a causal model of the same vocabulary.
        top_k: compare only the student's k likeliest tokens and the rest. temperature: of both.
        weight: of the divergence; 1 - weight is that of the data's own tokens.

    Raises:
        CounterpointError: no such divergence, or TRL is missing.
    """
    if not 0 <= weight <= 1:
        raise CounterpointError(f"weight={weight} was given; expected a number from 0 to 1, for example 0.5")
    teacher = teacher.eval().requires_grad_(False)
    return _subclass(
        "SFTTrainer", DistillationLoss, kind=named_kind(kind, parameter), teacher=teacher, top_k=top_k,
        temperature=temperature, weight=weight,
    )  # fmt: skip


def _subclass(base: str, ours: type, **attributes: Any) -> type:
    try:
        import trl
    except ImportError as error:
        raise CounterpointError(
            f"this needs TRL, which cannot be imported ({error}); pip install trl"
        ) from None
    return type(
        f"{ours.__name__}{base}",
        (ours, getattr(trl, base)),
        {f"_{key}": value for key, value in attributes.items()},
    )


def token_log_probs(
    model: nn.Module, inputs: dict[str, Tensor], ids: Tensor, temperature: float = 1.0
) -> Tensor:
    """log pi of the last T tokens ``ids`` [B, T] of whole sequences, [B, T]."""
    logits = model(**inputs, use_cache=False).logits[:, -ids.shape[1] - 1 : -1]
    return log_probs(logits, ids, temperature=temperature)


class PreferenceLoss:
    """``compute_loss`` on batches of B chosen above B rejected sequences, as TRL's collator makes them."""

    _loss: str
    _settings: dict[str, Any]

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The mean loss of the pairs."""
        if return_outputs:
            raise CounterpointError("this trainer gives no logits; evaluate with prediction_loss_only=True")
        mask = inputs["completion_mask"][:, 1:]
        sequences: dict[str, Tensor] = {key: inputs[key] for key in ("input_ids", "attention_mask")}
        _no_pictures(inputs)
        logp = token_log_probs(model, sequences, inputs["input_ids"][:, 1:])
        chosen, rejected = torch.where(mask.bool(), logp, 0.0).sum(-1).chunk(2)
        reference = (None, None) if self._loss in REFERENCE_FREE else self._reference(inputs)
        pair = Pair(chosen, rejected, *reference, *mask.sum(-1).to(logp.dtype).chunk(2))
        self._record(pair)
        return pairwise(self._loss, pair, **self._settings).mean()

    def _reference(self: Any, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
        if "ref_chosen_logps" in inputs:
            return inputs["ref_chosen_logps"], inputs["ref_rejected_logps"]
        return self.compute_ref_log_probs(self.ref_model or self.model, inputs)

    def _record(self: Any, pair: Pair) -> None:
        """Rewards and accuracy among TRL's own figures."""
        figures = getattr(self, "_metrics", None)
        if figures is None:
            return
        mode = "train" if self.model.training else "eval"
        for name, value in reward_statistics(pair, float(self._settings.get("beta", 0.1))).items():
            figures[mode][f"counterpoint/{name}"].append(float(value.mean()))


class PolicyLoss:
    """``compute_loss`` on TRL's scored completions: prompts padded left, completions right, an advantage each."""

    _variant: str
    _settings: dict[str, Any]

    def compute_loss(
        self: Any,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The loss of the batch, divided for accumulation as TRL divides it."""
        _no_pictures(inputs)
        ids, mask = inputs["completion_ids"], inputs["completion_mask"]
        sequences = {
            "input_ids": torch.cat([inputs["prompt_ids"], ids], 1),
            "attention_mask": torch.cat([inputs["prompt_mask"], mask], 1),
        }
        learnt = mask * inputs.get("tool_mask", torch.ones_like(mask))
        loss = policy_gradient(
            token_log_probs(model, sequences, ids, self.temperature),
            inputs["advantages"],
            learnt,
            self._variant,
            old_BT=inputs.get("old_per_token_logps"),
            reference_BT=inputs.get("ref_per_token_logps"),
            kl=self.beta,
            **(
                {"max_length": self.max_completion_length}
                if VARIANTS[self._variant].aggregation == "constant"
                else {}
            ),
            **self._settings,
        )
        steps = self.current_gradient_accumulation_steps if self.model.training else 1
        if (
            VARIANTS[self._variant].aggregation == "token_mean"
            and self.model.training
            and "num_items_in_batch" in inputs
        ):
            # The tokens of a whole generation batch, over its share in one accumulation: no micro-batch's mean.
            tokens = (
                inputs["num_items_in_batch"]
                * steps
                / self.args.steps_per_generation
                / self.accelerator.num_processes
            )
            return loss.values.sum() / tokens.clamp(min=1)
        return loss.mean() / steps


class DistillationLoss:
    """``compute_loss`` on TRL's rows with labels, which are -100 where nothing is learnt."""

    _kind: Any
    _teacher: nn.Module
    _top_k: int | None
    _temperature: float
    _weight: float

    def compute_loss(
        self: Any,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The sum over tokens that count, divided by their number in the batch of all processes and accumulations."""
        _no_pictures(inputs)
        sequences = {
            key: value
            for key, value in inputs.items()
            if key in ("input_ids", "attention_mask", "position_ids")
        }
        labels = inputs["labels"][:, 1:]
        outputs = model(**sequences, use_cache=False)
        where = labels != -100
        student, ids = outputs.logits[:, :-1][where], labels[where]
        losses: Any = (self._weight - 1) * log_probs(student, ids) if self._weight < 1 else 0.0
        if self._weight:
            teacher = self._same_device(student)
            with torch.no_grad():
                taught = teacher(**sequences, use_cache=False).logits[:, :-1][where]
            _same_vocabulary(self, student, taught)
            how = {"kind": self._kind, "temperature": self._temperature}
            losses = losses + self._weight * (
                divergence(student, taught, **how)
                if self._top_k is None
                else top_k_divergence(student, taught, self._top_k, **how)
            )
        count = where.sum() if num_items_in_batch is None else num_items_in_batch
        loss = losses.sum() / torch.as_tensor(count).clamp(min=1)
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:
            loss = loss * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

    def _same_device(self: Any, like: Tensor) -> nn.Module:
        if next(self._teacher.parameters()).device != like.device:
            self._teacher.to(like.device)
        return self._teacher


def _same_vocabulary(trainer: Any, student: Tensor, taught: Tensor) -> None:
    """Widths may differ by padding, which no text reaches; a tokenizer that reaches further names other tokens."""
    tokens = getattr(trainer, "processing_class", None)
    reached = max(student.shape[-1], taught.shape[-1]) if tokens is None else len(tokens)
    if student.shape[-1] != taught.shape[-1] and reached > min(student.shape[-1], taught.shape[-1]):
        raise CounterpointError(
            f"the teacher has {taught.shape[-1]} tokens, the student {student.shape[-1]}, and texts reach {reached}; "
            "expected a teacher with the student's tokenizer"
        )


def _no_pictures(inputs: dict[str, Any]) -> None:
    given = [key for key in PICTURES if key in inputs]
    if given:
        raise CounterpointError(
            f"the batch holds pictures ({given[0]}); these losses are of text alone: use TRL's own loss_type"
        )
