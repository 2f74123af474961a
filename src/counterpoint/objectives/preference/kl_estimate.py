"""Estimating KL(policy || reference) from sampled tokens: three estimators that are not interchangeable as losses.

With r = log ref(y) - log pi(y): k1 = -r, k2 = r^2/2, k3 = exp(r) - r - 1. k1 and k3 average to the KL under the policy;
k2 only nearly, but all of its gradient is right. Differentiated with the samples held fixed, the expected gradients are

* k1: zero, no signal at all. Its place is in the *reward*, where it gives the reverse-KL policy gradient.
* k2: grad KL(policy || reference), unbiased.
* k3: grad KL(reference || policy), the forward KL. Times the ratio exp(lp - sg(lp)) it becomes the reverse one.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError


def kl_estimate(
    logp: Tensor, reference_logp: Tensor, kind: Literal["k1", "k2", "k3"] = "k3", ratio: Tensor | None = None
) -> Tensor:
    """Return the estimate for every sampled token, shaped like ``logp``.

    Args:
        logp: log pi of the sampled tokens; carries the gradient.
        reference_logp: log ref of the same tokens.
        kind: the estimator.
        ratio: importance ratio that multiplies the estimate (bias correction): ``counterpoint.objectives.preference.policy.ratio``.

    >>> kl_estimate(torch.tensor([0.0]), torch.tensor([0.0])).tolist()
    [0.0]
    """
    r = reference_logp.detach() - logp
    if kind == "k1":
        value = -r
    elif kind == "k2":
        value = 0.5 * r.square()
    elif kind == "k3":
        value = torch.expm1(r) - r
    else:
        raise CounterpointError(f"KL estimator {kind!r}; expected 'k1', 'k2' or 'k3'")
    return value if ratio is None else value * ratio
