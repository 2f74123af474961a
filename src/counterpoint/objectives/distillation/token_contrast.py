"""Token contrast: stand closer to the teacher shown a right demonstration than to the one shown a wrong one.

h_t = max(0, margin + |l - l+| - |l - l-|) for the log-probability of the sampled token under the student, the teacher
with the right and the teacher with a wrong demonstration (UniSD 2605.06597, eqs. 4-5), all at the sampling temperature.
The gradient is zero where the student already stands nearer by the margin.
"""

from __future__ import annotations

import torch
from torch import Tensor


def token_contrast(logp_BT: Tensor, right_BT: Tensor, wrong_BT: Tensor, margin: float = 0.5) -> Tensor:
    """Return the hinge per token [B, T]; aggregate it with ``tokens.aggregate``.

    Args:
        logp_BT: student's log-probabilities of its own tokens; carries the gradient.
        right_BT: teacher's, with the right demonstration in context.
        wrong_BT: teacher's, with a wrong one.
        margin: by how much nearer.

    >>> token_contrast(torch.tensor([[-1.0]]), torch.tensor([[-2.0]]), torch.tensor([[-1.0]])).tolist()
    [[1.5]]
    """
    return torch.relu(margin + (logp_BT - right_BT.detach()).abs() - (logp_BT - wrong_BT.detach()).abs())
