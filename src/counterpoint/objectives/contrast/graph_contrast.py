"""Contrast of two views of a graph's nodes (arXiv 2209.02544, eq. 3; arXiv 2112.08679, eq. 3; arXiv 2010.10783, eq. 10).

``-log( exp(cos(a_v, b_v) / tau) / sum_m exp(cos(a_v, b_m) / tau) )``: one-directional, the positive counts among the
candidates, and all candidates come from the second view.

Legend: S nodes, D dimension.
"""

from __future__ import annotations

from torch import Tensor

from counterpoint.objectives.contrast.infonce import info_nce, require_same_shape


def node_contrast(first_SD: Tensor, second_SD: Tensor, temperature: float) -> Tensor:
    """InfoNCE of each node's two views against the other nodes' second views.

    Users and items are contrasted apart, in two calls (XSimGCL, SimGCL), or together, in one (SGL).

    Args:
        first_SD, second_SD: views of the same distinct nodes, not normalised.
        temperature: tau.

    Returns:
        [S] losses; 0 for a single node, which has nothing to be told from.

    >>> import torch
    >>> node_contrast(torch.eye(2), torch.eye(2), 1.0)      # log(1 + exp(-1))
    tensor([0.3133, 0.3133])
    """
    require_same_shape(first_SD, second_SD)
    return info_nce(first_SD, second_SD, temperature=temperature)
