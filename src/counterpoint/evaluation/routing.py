"""How far a mixture of experts moves, token by token, when other experts act: what self-contrast lives on.

KL(p_strong || p_weak) at every token of the references, both passes reading the same prefix (SCMoE, arXiv 2405.14507, sec. 2.3).
"""

from __future__ import annotations

import torch
from torch import Tensor

from counterpoint.data.language.problems import Problem
from counterpoint.errors import CounterpointError
from counterpoint.kernels.scores import dense
from counterpoint.models.language.experts import Routers, Routing
from counterpoint.models.language.language import Language
from counterpoint.models.tokens import join


@torch.no_grad()
def token_gaps(
    model: Language,
    routers: Routers,
    problems: list[Problem],
    weak: str,
    *,
    strong: str = "own",
    at_once: int = 32,
) -> tuple[Tensor, Tensor]:
    """Divergence at each token of the references, and the token's id: both [number of tokens].

    Args:
        model: a mixture of experts, in evaluation mode. routers: its routers.
        problems: with references. weak, strong: routings, as of ``Routing.of``.

    Raises:
        CounterpointError: no problem has a reference.
    """
    rows = [row for row in problems if row.reference]
    if not rows:
        raise CounterpointError(
            "no problem has a reference to read; give the data a 'completion' or an 'answer' column"
        )
    gaps, ids = [], []
    for start in range(0, len(rows), at_once):
        part = rows[start : start + at_once]
        prompts, completions = model.rows([row.prompt for row in part], [row.completion for row in part])
        both = join(prompts, completions)
        log_probs = []
        for routing in (strong, weak):
            with routers.use(Routing.of(routing)):
                hidden = model(both.ids, both.mask, last=completions.width)
            log_probs.append(dense(model.scores(hidden)).float().log_softmax(-1))
        gap_BT = torch.nn.functional.kl_div(
            log_probs[1], log_probs[0], log_target=True, reduction="none"
        ).sum(-1)
        real = completions.authored
        gaps.append(gap_BT[real].cpu())
        ids.append(completions.ids[real].cpu())
    return torch.cat(gaps), torch.cat(ids)
