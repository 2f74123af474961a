"""RLTF's advantages, distillation items and losses against the authors' item builder."""

from __future__ import annotations

import torch
from harness import Case, Checks, vector_tests
from torch import Tensor

from counterpoint.objectives.preference.text_feedback import (
    critique_loss,
    distillation_advantages,
    distillation_loss,
    possible,
    turn_advantages,
    turn_loss,
)

TOLERANCE = {"rtol": 1e-6, "atol": 1e-7}


def rltf(case: Case) -> Checks:
    checks = {"advantages": lambda: advantages(case), "losses": lambda: losses(case)}
    return checks | ({"critiques": lambda: critiques(case)} if "fm_logits" in case else {})


def mask_of(case: Case, turn: str) -> Tensor:
    lengths = case.tensor(f"len_{turn}").flatten()
    width = case.array("old_logp_y0").shape[-1]
    return torch.arange(width) < lengths[:, None]


def spread(values: Tensor, mask: Tensor, shape: torch.Size) -> Tensor:
    """[B] or [B, T] on the tokens of the mask, NaN elsewhere, as the file has it."""
    wide = values if values.dim() == 2 else values[:, None].expand_as(mask)
    return torch.where(mask, wide.double(), torch.nan).reshape(shape)


def settings(case: Case) -> tuple[Tensor, Tensor, Tensor, str]:
    rewards = case.tensor("reward").double()
    first = bool(case.number("use_first_turn_baseline"))
    turns = turn_advantages(rewards, case.number("gamma"))
    mode = case.text("mode")
    sd = distillation_advantages(rewards, "first_turn" if first else "second_turn")
    factor = case.number("rl_coef")
    return turns, sd * (factor if mode == "rl_reweight_mask" else 1.0), rewards, mode


def learnt_from(case: Case, mode: str) -> Tensor:
    """The tokens of second answers that are learnt from: the authors' mask belongs to one of their modes."""
    mask = mask_of(case, "y1")
    logp = case.tensor("cur_logp_y1_x0").flatten(0, 1)
    return possible(logp, mask) if mode == "rl_reweight_mask" else mask


def advantages(case: Case) -> None:
    turns, sd, _, mode = settings(case)
    case.expect("advantage", turns, **TOLERANCE)
    shape = torch.Size(case.array("old_logp_y0").shape)
    y0, y1 = mask_of(case, "y0"), mask_of(case, "y1")
    case.expect("rl_token_advantage_y0", spread(turns[..., 0].flatten(), y0, shape), **TOLERANCE)
    case.expect("rl_token_advantage_y1", spread(turns[..., 1].flatten(), y1, shape), **TOLERANCE)
    tokens = sd.flatten()[:, None] * learnt_from(case, mode)
    case.expect("distill_token_advantage", spread(tokens, y1, shape), **TOLERANCE)
    own = case.tensor("cur_logp_y1_x0" if mode != "rl_mask" else "old_logp_y1_x1")
    case.expect("distill_denominator", own, **TOLERANCE)
    case.array("len_x0")


def losses(case: Case) -> None:
    turns, sd, _, mode = settings(case)
    new = {name: case.tensor(f"new_logp_{name}", grad=True) for name in ("y0", "y1_x1", "y1_x0")}
    flat = {name: value.flatten(0, 1) for name, value in new.items()}
    y0, y1 = mask_of(case, "y0"), mask_of(case, "y1")
    there = ~turns[..., 1].flatten().isnan()
    old_y0, old_y1 = (case.tensor(f"old_logp_{name}").flatten(0, 1) for name in ("y0", "y1_x1"))
    denominator = old_y1 if mode == "rl_mask" else case.tensor("cur_logp_y1_x0").flatten(0, 1)
    first = turn_loss(flat["y0"], turns[..., 0].flatten(), y0, old_y0).values.sum()
    second = turn_loss(
        flat["y1_x1"][there], turns[..., 1].flatten()[there], y1[there], old_y1[there]
    ).values.sum()
    case.expect("loss_rl", first + second, **TOLERANCE)
    limits = {"low": 1 - case.number("clip_low"), "high": case.number("clip_high") - 1}
    keep, a_sd = learnt_from(case, mode)[there], sd.flatten()[there]

    def distilled(kind: str) -> Tensor:
        values = distillation_loss(
            flat["y1_x0"][there],
            a_sd,
            keep,
            kind,
            denominator_BT=denominator[there],
            **limits,  # type: ignore[arg-type]
        ).values
        return values.sum()

    awr = distilled("own")
    case.expect("loss_sd", awr, **TOLERANCE)
    total = first + second + awr
    case.expect("loss_total", total, **TOLERANCE)
    grads = torch.autograd.grad(total, list(new.values()), retain_graph=True)
    for name, grad in zip(new, grads):
        if f"grad_new_logp_{name}" not in case:
            continue
        expected = case.array(f"grad_new_logp_{name}")
        assert ((grad == 0) | torch.tensor(~(expected != expected))).all()  # none where the file has NaN
        case.expect(
            f"grad_new_logp_{name}", torch.where(torch.tensor(expected).isnan(), torch.nan, grad), **TOLERANCE
        )
    for kind in ("ppo", "cispo"):
        loss = distilled(kind)
        case.expect(f"loss_sd_{kind}", loss, **TOLERANCE)
        if f"grad_sd_{kind}" not in case:
            continue
        (grad,) = torch.autograd.grad(loss, [new["y1_x0"]], retain_graph=True)
        expected = torch.tensor(case.array(f"grad_sd_{kind}"))
        case.expect(f"grad_sd_{kind}", torch.where(expected.isnan(), torch.nan, grad), **TOLERANCE)


def critiques(case: Case) -> None:
    logits, labels = case.tensor("fm_logits", grad=True), case.tensor("fm_labels").long()
    logp = logits.log_softmax(-1).gather(-1, labels[..., None])[..., 0]
    loss = case.number("fm_weight") * critique_loss(logp, case.tensor("fm_mask")).values.sum()
    case.expect("fm_loss", loss, **TOLERANCE)
    loss.backward()
    case.expect("fm_grad_logits", logits.grad, **TOLERANCE)


test_text_feedback = vector_tests({"rltf": rltf})
