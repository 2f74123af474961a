"""Losses inside TRL's trainers, by their interface: the recorded losses of TRL's own, the objective itself, and what is refused."""

from __future__ import annotations

import copy
import json
import sys
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.integrations import trl as ours
from counterpoint.objectives.distillation.divergence import divergence, named_kind, top_k_divergence
from counterpoint.objectives.preference.preference import PAIRWISE, REFERENCE_FREE

REFERENCES = Path(__file__).parents[1] / "references"
sys.path.insert(0, str(REFERENCES))

import families  # noqa: E402

import training  # noqa: E402

LOSSES = json.loads((REFERENCES / "trl_losses.json").read_text())["dpo"]
POLICY = json.loads((REFERENCES / "trl_policy.json").read_text())
NAMES = families.tokenizer(training.FAMILY)


def of_pairs() -> dict[str, Tensor]:
    """Chosen above rejected, as TRL's collator makes them: the completion is what follows the rendered prompt."""
    rows = []
    for side in ("chosen", "rejected"):
        for row in training.PAIRS:
            start = NAMES.apply_chat_template(row["prompt"], add_generation_prompt=True, tokenize=False)
            whole = NAMES.apply_chat_template(row["prompt"] + row[side], tokenize=False)
            prompt, ids = NAMES(start)["input_ids"], NAMES(whole)["input_ids"]
            assert ids[: len(prompt)] == prompt
            rows.append((ids, len(prompt)))
    width = max(len(ids) for ids, _ in rows)
    return {
        "input_ids": torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in rows]),
        "attention_mask": torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in rows]),
        "completion_mask": torch.tensor(
            [[0] * start + [1] * (len(ids) - start) + [0] * (width - len(ids)) for ids, start in rows]
        ),
    }


class Preferring(ours.PreferenceLoss):
    """What DPOTrainer brings, as far as the loss reads it."""

    def __init__(self, loss: str, **settings: Any) -> None:
        self._loss, self._settings = loss, settings
        self.model = training.causal(len(NAMES))
        self.ref_model = copy.deepcopy(self.model)
        self._metrics: Any = {"train": defaultdict(list)}

    def compute_ref_log_probs(self, model: Any, inputs: dict[str, Tensor]) -> tuple[Tensor, ...]:
        with torch.no_grad():
            logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
        picked = logits[:, :-1].log_softmax(-1).gather(-1, inputs["input_ids"][:, 1:, None])[..., 0]
        return (picked * inputs["completion_mask"][:, 1:]).sum(-1).chunk(2)


@pytest.mark.parametrize("loss", LOSSES)
def test_preferences_have_the_losses_of_trl(loss: str) -> None:
    smoothing = {"smoothing": training.SMOOTHING} if loss in ("exo_pair", "robust") else {}
    trainer, batch, seen = Preferring(loss, beta=training.BETA, **smoothing), of_pairs(), []
    optimizer = torch.optim.AdamW(trainer.model.parameters(), lr=training.LEARNING_RATE, weight_decay=0.0)
    # bco_pair's delta is a running mean in TRL, and 0 here: the first step is the same.
    steps = 1 if loss == "bco_pair" else training.STEPS
    for _ in range(steps):
        value = trainer.compute_loss(trainer.model.train(), batch)
        seen.append(float(value.detach()))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    assert seen == pytest.approx(LOSSES[loss][:steps], rel=1e-4)
    assert len(trainer._metrics["train"]["counterpoint/reward_accuracy"]) == steps


@pytest.mark.parametrize("loss", sorted(REFERENCE_FREE))
def test_without_a_reference_none_is_asked(loss: str) -> None:
    trainer = Preferring(loss)
    trainer.compute_ref_log_probs = None  # type: ignore[method-assign,assignment]
    assert bool(trainer.compute_loss(trainer.model, of_pairs()).isfinite())


def test_precomputed_references_are_used() -> None:
    trainer, batch = Preferring("sigmoid"), of_pairs()
    chosen, rejected = trainer.compute_ref_log_probs(trainer.ref_model, batch)
    value = trainer.compute_loss(trainer.model, batch)
    trainer.ref_model = trainer.compute_ref_log_probs = None  # type: ignore[method-assign,assignment]
    batch |= {"ref_chosen_logps": chosen, "ref_rejected_logps": rejected}
    torch.testing.assert_close(trainer.compute_loss(trainer.model, batch), value)


class Scored(ours.PolicyLoss):
    """What GRPOTrainer brings, as far as the loss reads it."""

    def __init__(self, variant: str, beta: float, **settings: Any) -> None:
        self._variant, self._settings, self.beta, self.temperature = variant, settings, beta, 0.7
        self.model = training.causal(len(NAMES)).train()
        self.max_completion_length, self.current_gradient_accumulation_steps = 8, 1
        self.args, self.accelerator = (
            SimpleNamespace(steps_per_generation=1),
            SimpleNamespace(num_processes=1),
        )


@pytest.mark.parametrize("case", [case for case in POLICY if case != "trl"])
def test_policies_have_the_losses_and_gradients_of_trl(case: str) -> None:
    variant, beta = case.split()
    trainer = Scored(variant, float(beta))
    value = trainer.compute_loss(trainer.model, training.policy_batch(len(NAMES)))
    value.backward()
    slope = (
        trainer.model.get_parameter("model.layers.0.self_attn.q_proj.weight")
        .grad.double()
        .square()
        .sum()
        .sqrt()
    )
    assert [float(value.detach()), float(slope)] == pytest.approx(POLICY[case], rel=1e-3, abs=1e-14)


def test_accumulated_parts_are_the_whole_batch() -> None:
    whole = training.policy_batch(len(NAMES))
    value = Scored("dapo", 0.0).compute_loss(Scored("dapo", 0.0).model, whole)
    parts = []
    for half in (slice(0, 2), slice(2, 4)):
        trainer = Scored("dapo", 0.0)
        trainer.current_gradient_accumulation_steps = trainer.args.steps_per_generation = 2
        batch = {key: each[half] if each.dim() else each for key, each in whole.items()}
        parts.append(trainer.compute_loss(trainer.model, batch))
    torch.testing.assert_close(parts[0] + parts[1], value)


def rows_of_labels() -> dict[str, Tensor]:
    batch = training.policy_batch(len(NAMES))
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"] * 0, batch["completion_mask"]], 1)
    attention = torch.cat([torch.ones_like(batch["prompt_mask"]), batch["completion_mask"]], 1)
    return {"input_ids": ids, "attention_mask": attention, "labels": torch.where(mask.bool(), ids, -100)}


class Taught(ours.DistillationLoss):
    """What SFTTrainer brings, as far as the loss reads it."""

    def __init__(
        self, teacher: Any, kind: str, parameter: float | None, top_k: int | None, weight: float
    ) -> None:
        self._kind, self._teacher, self._top_k = named_kind(kind, parameter), teacher, top_k
        self._temperature, self._weight, self.processing_class = 2.0, weight, NAMES
        self.args, self.accelerator = (
            SimpleNamespace(average_tokens_across_devices=True),
            SimpleNamespace(num_processes=1),
        )


@pytest.mark.parametrize(
    ("kind", "parameter", "top_k", "weight"),
    [("forward", None, None, 1.0), ("reverse", None, None, 0.5), ("jsd", 0.3, None, 1.0), ("tv", None, 5, 0.7), ("forward", None, None, 0.0)],
)  # fmt: skip
def test_distillation_is_the_divergence_at_learnt_tokens(
    kind: str, parameter: float | None, top_k: int | None, weight: float
) -> None:
    torch.manual_seed(3)
    student, teacher = training.causal(len(NAMES)), training.causal(len(NAMES))
    with torch.no_grad():
        teacher.lm_head.weight.mul_(torch.randn_like(teacher.lm_head.weight))
    batch = rows_of_labels()
    value, outputs = Taught(teacher, kind, parameter, top_k, weight).compute_loss(
        student, batch, return_outputs=True
    )
    count, total = 0, torch.tensor(0.0)
    with torch.no_grad():
        theirs = teacher(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    for row, labels in enumerate(batch["labels"]):
        for at in range(1, len(labels)):
            if labels[at] == -100:
                continue
            mine, other = outputs.logits[row, at - 1][None], theirs[row, at - 1][None]
            how: dict[str, Any] = {"kind": named_kind(kind, parameter), "temperature": 2.0}
            each = top_k_divergence(mine, other, top_k, **how) if top_k else divergence(mine, other, **how)
            total = total + weight * each[0] - (1 - weight) * mine.log_softmax(-1)[0, labels[at]]
            count += 1
    assert count == 13
    torch.testing.assert_close(value, total / count, rtol=1e-5, atol=1e-6)
    whole = Taught(teacher, kind, parameter, top_k, weight).compute_loss(
        student, batch, num_items_in_batch=26
    )
    torch.testing.assert_close(whole, total / 26, rtol=1e-5, atol=1e-6)


def test_a_teacher_of_other_tokens_is_refused() -> None:
    teacher = training.causal(len(NAMES) - 3)
    batch = {key: each.clamp(max=len(NAMES) - 4) for key, each in rows_of_labels().items()}
    with pytest.raises(CounterpointError, match="a teacher with the student's tokenizer"):
        Taught(teacher, "forward", None, None, 1.0).compute_loss(training.causal(len(NAMES)), batch)
    wider = Taught(training.causal(len(NAMES) + 5), "forward", None, None, 1.0)
    assert bool(wider.compute_loss(training.causal(len(NAMES)), rows_of_labels()).isfinite())


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: ours.preference_trainer("simpoo"), "did you mean 'simpo'"),
        (lambda: ours.preference_trainer("sigmoid", margin=1.0), "has no margin"),
        (lambda: ours.policy_trainer("grpoo"), "did you mean 'grpo'"),
        (lambda: ours.policy_trainer("grpo", temperatures=(1.0, 2.0)), "only 'sapo' reads it"),
        (lambda: ours.distillation_trainer("jsd", teacher=torch.nn.Identity()), "needs its parameter"),
        (lambda: ours.distillation_trainer(teacher=torch.nn.Identity(), weight=2.0), "a number from 0 to 1"),
    ],
)
def test_wrong_settings_are_refused_before_any_data_is_read(made: Any, message: str) -> None:
    with pytest.raises(CounterpointError, match=message):
        made()


@pytest.mark.parametrize("loss", sorted(PAIRWISE))
def test_a_trainer_class_is_trls_with_our_loss(loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class DPOTrainer:
        def compute_loss(self) -> str:
            return "theirs"

        def train(self) -> str:
            return "trl's"

    monkeypatch.setitem(sys.modules, "trl", SimpleNamespace(DPOTrainer=DPOTrainer))
    made = ours.preference_trainer(loss, **({"smoothing": 0.1} if loss == "exo_pair" else {}))
    assert issubclass(made, DPOTrainer)
    assert made().train() == "trl's"
    assert made.compute_loss is ours.PreferenceLoss.compute_loss
    assert made._loss == loss


def test_without_trl_a_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trl", None)
    with pytest.raises(CounterpointError, match="pip install trl"):
        ours.policy_trainer("grpo")


def test_pictures_are_refused() -> None:
    with pytest.raises(CounterpointError, match="these losses are of text alone"):
        Preferring("sigmoid").compute_loss(None, {**of_pairs(), "pixel_values": torch.zeros(1)})  # type: ignore[arg-type]
