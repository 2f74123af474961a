"""The module that tells degrees apart, from a language model's states; it is thrown away after training. N rows, L positions, D width."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from counterpoint.models.tokens import Tokens


class DegreeHead(nn.Module):
    """A linear layer, zero at the start, so that the first step moves it alone.

    Args:
        width: D. outputs: degrees, or thresholds between them. speed: factor of its output; an Adam step then moves what it says so
            many times faster than at 1.

    >>> DegreeHead(8, 4)(torch.ones(2, 8)).tolist()
    [[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    """

    def __init__(self, width: int, outputs: int, speed: float = 1.0) -> None:
        super().__init__()
        self.linear, self.speed = nn.Linear(width, outputs), speed
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, states_ND: Tensor) -> Tensor:
        """Logits [N, outputs]."""
        logits: Tensor = self.linear(states_ND.to(self.linear.weight.dtype))
        return logits * self.speed


def pooled(states_NLD: Tensor, prompts: Tokens, answers: Tokens, pooling: str) -> Tensor:
    """One state a row, [N, D]: that of the last token, or the mean over the answer's.

    Args:
        states_NLD: at every position of prompt and answer. prompts, answers: their tokens. pooling: "last" or "mean".
    """
    if pooling == "mean":
        weight_NL = torch.cat([torch.zeros_like(prompts.mask), answers.authored.long()], 1).to(states_NLD)
        return (states_NLD * weight_NL[..., None]).sum(1) / weight_NL.sum(1, keepdim=True).clamp(min=1)
    last_N = prompts.width + (answers.mask * torch.arange(answers.width, device=answers.mask.device)).amax(1)
    return states_NLD[torch.arange(len(states_NLD), device=last_N.device), last_N]
