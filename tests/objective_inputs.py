"""Small inputs for the module of every objective, by its form; some objectives have their own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from counterpoint.objectives.preference.preference import Pair

N, D, V, T = 6, 5, 3, 4


def rows(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*(shape or (N, D)), generator=generator, dtype=torch.float64).requires_grad_()


LABELS = torch.tensor([0, 0, 1, 1, 2, 2])
VALUES = torch.tensor([1.0, 1.0, 2.0, 2.0, 3.0, 3.0], dtype=torch.float64)
MASK = torch.tensor([[1, 1, 1, 0]] * (N - 1) + [[1, 0, 0, 0]])


def logp(seed: int, *shape: int) -> Tensor:
    return torch.nn.functional.logsigmoid(rows(seed, *(shape or (N, T)))).detach().requires_grad_()


def of_form(form: str) -> tuple[Any, ...]:
    """What a module of a form is called with."""
    return {
        "pair": lambda: (rows(1), rows(2)),
        "keys": lambda: (rows(1), rows(2)),
        "views": lambda: (rows(1, V, N, D),),
        "samples": lambda: (rows(1, N, V, D), LABELS),
        "labelled": lambda: (rows(1), LABELS),
        "valued": lambda: (rows(1), VALUES),
        "proxies": lambda: (rows(1), LABELS),
        "same": lambda: (rows(1), rows(2), torch.tensor([1, 0, 1, 0, 1, 0])),
        "graded": lambda: (rows(1), rows(2), VALUES),
        "triplet": lambda: (rows(1), rows(2), rows(3)),
        "scores": lambda: (rows(1, N), rows(2, N, 3)),
        "noise": lambda: (rows(1, N), rows(2, N, 3), (rows(3, N).detach(), rows(4, N, 3).detach())),
        "candidates": lambda: (rows(1, N, 4), rows(2, N, 4).detach()),
        "remembered": lambda: (rows(1), rows(2), torch.arange(N)),
        "neighbours": lambda: (rows(1), rows(2), rows(3), rows(4)),
        "preference": lambda: (Pair(*(rows(seed, N) for seed in (1, 2, 3, 4)), *torch.full((2, N), 3.0)),),
        "policy": lambda: (logp(1), rows(2, N).detach(), MASK),
        "divergence": lambda: (rows(1, N, T, 7), rows(2, N, T, 7).detach()),
    }[form]()


CLASSES = 3
ONE_HOT = torch.nn.functional.one_hot(LABELS, CLASSES).double()
VALID = torch.ones(N, 3, dtype=torch.bool)
IDS = torch.arange(N * T).reshape(N, T) % 7
CHANGED = torch.where(torch.arange(T) == 1, (IDS + 1) % 7, IDS)
"""What the forms "tokens" and "tensors" are called with, by objective."""
OWN: dict[str, Any] = {
    "token_contrast": lambda: (logp(1), logp(2).detach(), logp(3).detach()),
    "sampled_reverse_kl": lambda: (logp(1), logp(2).detach()),
    "advantage_loss": lambda: (rows(1, N, T, 7), rows(2, N, T, 7).detach(), rows(3, N, T, 7).detach()),
    "token_losses": lambda: (logp(1), rows(2, N, T).detach()),
    "towards_teacher": lambda: (rows(1, N, T, 7), rows(2, N, T, 7).detach()),
    "feature_distance": lambda: (rows(1, N, T, D), rows(2, N, T, D).detach()),
    "node_contrast": lambda: (rows(1), rows(2), 0.2),
    "momentum_contrast": lambda: (rows(1), rows(2), rows(3).detach(), rows(4).detach()),
    "reconstruction": lambda: (rows(1), rows(2).detach()),
    "multilevel_sigmoid": lambda: ([rows(1, N, 2, 2), rows(2, N)], True),
    "score_distillation_sampling": lambda: (rows(1), rows(2).detach(), rows(3)),
    "density_ratio": lambda: (rows(1, N), torch.tensor([1.0, 0.0] * 3)),
    "bpr": lambda: (rows(1, N), rows(2, N)),
    "frobenius": lambda: (rows(1), rows(2)),
    "self_prediction": lambda: (rows(1), rows(2).detach()),
    "gaussian_kl": lambda: (rows(1), rows(2)),
    "squared_error": lambda: (rows(1), rows(2)),
    "categorical_loss": lambda: (rows(1, N, 2, 4), LABELS % 2, torch.full((N, 4), 0.25)),
    "replayed_contrast": lambda: (rows(1), LABELS, torch.tensor([True] * 3 + [False] * 3)),
    "audio_text_contrast": lambda: (rows(1), rows(2), LABELS),
    "old_class_distillation": lambda: (rows(1, N, 4), rows(2, N, 3).detach()),
    "token_distillation": lambda: (rows(1, N, T, 7), rows(2, N, T, 7).detach(), MASK),
    "distilled_set_error": lambda: (rows(1, 4, D), rows(2, 4, 3), rows(3, N, D).detach(), rows(4, N, 3).detach()),
    "guided_error": lambda: (rows(1, N, CLASSES), ONE_HOT),
    "prediction_loss": lambda: (rows(1, N, CLASSES), rows(2, N, CLASSES).detach()),
    "state_loss": lambda: (rows(1, N, T, D), rows(2, N, T, D).detach(), MASK, "mse"),
    "relation_loss": lambda: ([rows(s, N, T, 4) for s in (1, 2, 3)], [rows(s, N, T, 4).detach() for s in (4, 5, 6)], MASK, 2),
    "score_loss": lambda: (rows(1, N, 2, T, T), rows(2, N, 2, T, T).detach()),
    "contrasted": lambda: (rows(1, N, 3), rows(2, N, 3), VALID, VALID),
    "judged": lambda: (rows(1, N, 3), rows(2, N, 3), VALID, VALID),
    "surrogate": lambda: (logp(1), logp(2).detach(), rows(3, N).detach(), MASK),
    "self_evaluation": lambda: (
        rows(1, N, D), rows(2, N, D).detach(), rows(3, N, D).detach(), torch.full((N,), 0.8).double(), torch.full((N,), 0.3).double()),
    "label_match": lambda: (rows(1, N, CLASSES), ONE_HOT),
    "joint_loss": lambda: (rows(1, N * 2, CLASSES * 2), LABELS),
    "augmented_loss": lambda: (rows(1, N * 2, CLASSES), LABELS),
    "transformation_loss": lambda: (rows(1, N * 2, 2),),
    "ensemble_distillation": lambda: (rows(1, N, CLASSES), rows(2, N * 2, CLASSES * 2).detach(), LABELS),
    "pseudo_label_loss": lambda: (rows(1, N, CLASSES), LABELS, torch.tensor([True] * 4 + [False] * 2)),
    "generator_loss": lambda: (rows(1, N, T, 7), IDS, (torch.arange(T) == 1).expand(N, T)),
    "detection_loss": lambda: (rows(1, N, T), IDS, CHANGED, MASK),
    "symmetric_cross_entropy": lambda: (rows(1, N, CLASSES), rows(2, N, CLASSES)),
    "degree": lambda: (rows(1, N, 4), LABELS),
    "kto": lambda: (rows(1, N), torch.tensor([True, False] * 3), torch.tensor(0.1)),
    "listwise": lambda: (rows(1, N, 3), rows(2, N, 3).detach(), torch.softmax(rows(3, N, 3), -1).detach()),
    "nll": lambda: (rows(1, N), torch.full((N,), 3.0)),
    "optimism": lambda: (rows(1, N), rows(2, N).detach(), 0.5, 0.1),
    "expected_optimism": lambda: (logp(1, N, 7), logp(2, N, 7).detach(), 0.5),
    "best_of_n": lambda: (rows(1, N, 3), rows(2, N, 3).detach()),
    "reward_weighted": lambda: (rows(1, N), rows(2, N).detach()),
    "token_paired": lambda: (logp(1), logp(2), MASK),
    "bradley_terry": lambda: (rows(1, N), rows(2, N)),
    "centre": lambda: (rows(1, N), rows(2, N)),
    "weighted_likelihood": lambda: (logp(1), rows(2, N).detach(), MASK),
    "group_cispo": lambda: (logp(1), logp(2).detach(), rows(3, N).detach(), MASK, MASK.sum(-1), 3),
    "turn_loss": lambda: (logp(1), rows(2, N).detach(), MASK),
    "distillation_loss": lambda: (logp(1), rows(2, N).detach(), MASK),
    "critique_loss": lambda: (logp(1), MASK),
    "l1_norm": lambda: (rows(1),),
    "flops": lambda: (rows(1),),
    "not_all_zero": lambda: (rows(1),),
}  # fmt: skip
SETTINGS: dict[str, dict[str, Any]] = {
    "view_contrast": {"name": "oneway", "temperature": 0.2},
    "class_contrast": {"name": "supcon"},
    "scored_contrast": {"name": "negative_sampling"},
    "pairwise": {"name": "simpo", "beta": 2.0, "margin": 0.5},
    "replayed_contrast": {"self_positive": False},
    "frobenius": {"size": 4},
    "reconstruction": {"weight": 2.0},
    "transformation_loss": {"num_transforms": 2},
    "joint_loss": {"num_transforms": 2},
    "augmented_loss": {"num_transforms": 2},
    "ensemble_distillation": {"num_transforms": 2},
    "mixed_pairs": {"window": 1.5},
    "policy_gradient": {"variant": "grpo"},
    "top_k_divergence": {"k": 3},
    "triplet": {"margin": 1.0},
    "decoupled": {"sigma": 0.5},
}
