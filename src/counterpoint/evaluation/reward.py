"""How well an embedding carries what people care about: recovered features, agreeing answers, rewards from few preferences.

Legend: N trajectories, D dimensions, K features, R people, P preferences of each, Q queries.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from counterpoint.data.trajectories.sets import TrajectoryData
from counterpoint.errors import CounterpointError
from counterpoint.models.trajectories.encoder import TrajectoryEncoder


def feature_error(train_ND: Tensor, train_NK: Tensor, test_ND: Tensor, test_NK: Tensor) -> float:
    """Mean squared error of the features on held-out rows, predicted by least squares with intercept.

    With standardised features 1.0 is the mean's own error.

    >>> z = torch.arange(6.0)[:, None]
    >>> round(feature_error(z[:4], 2 * z[:4] + 1, z[4:], 2 * z[4:] + 1), 6)
    0.0
    """
    one = [
        torch.cat([z.double(), torch.ones(len(z), 1, dtype=torch.float64)], 1) for z in (train_ND, test_ND)
    ]
    weights = torch.linalg.lstsq(one[0], train_NK.double(), driver="gelsd").solution
    return float((one[1] @ weights - test_NK.double()).square().mean())


def similarity_accuracy(z_ND: Tensor, answers_Q3: Tensor) -> float:
    """Share of answers (anchor, positive, negative) whose pair is also the nearest of the three in the embedding.

    >>> similarity_accuracy(torch.tensor([[0.0], [1.0], [5.0]]), torch.tensor([[0, 1, 2], [1, 2, 0]]))
    0.5
    """
    a, p, n = (z_ND[column].double() for column in answers_Q3.T)
    alike = (a - p).norm(dim=-1)
    right = (alike < (a - n).norm(dim=-1)) & (alike < (p - n).norm(dim=-1))
    return float(right.double().mean())


def linear_rewards(differences_RPD: Tensor, ridge: float = 1.0) -> Tensor:
    """Bradley-Terry rewards [R, D], linear in the embedding: Newton's method on the convex, ridge-penalised loss.

    Args:
        differences_RPD: embedding of the chosen minus that of the rejected.

    >>> linear_rewards(torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])).argmax()
    tensor(0)
    """
    steps = 30
    x = differences_RPD.double()
    theta = x.new_zeros(x.shape[0], x.shape[2])
    eye = torch.eye(x.shape[2], dtype=x.dtype)
    for _ in range(steps):
        p = torch.sigmoid(-(x @ theta[..., None]).squeeze(-1))
        gradient = ridge * theta - (x * p[..., None]).sum(1)
        curvature = ridge * eye + (x * (p * (1 - p))[..., None]).transpose(1, 2) @ x
        step = torch.linalg.solve(curvature, gradient)
        theta = theta - step
        if float(step.abs().max()) < 1e-10:
            break
    return theta


def frozen_scores(
    z_ND: Tensor, chosen_RP: Tensor, rejected_RP: Tensor, ridges: Sequence[float]
) -> list[Tensor]:
    """Rewards [R, N] learnt on a frozen embedding (standardised over its rows), for each ridge."""
    z = z_ND.double()
    z = (z - z.mean(0)) / z.std(0).clamp(min=1e-9)
    return [linear_rewards(z[chosen_RP] - z[rejected_RP], ridge) @ z.T for ridge in ridges]


@torch.no_grad()
def learn_reward(model: TrajectoryEncoder, data: TrajectoryData, ridge: float) -> None:
    """Set the model's linear reward from the preferences of the training split, the embedding frozen."""
    z = model(data.train.inputs)
    chosen, rejected = (z[rows] for rows in data.train.preferences.T)
    scale = z.std(0).clamp(min=1e-9)
    model.reward.copy_(linear_rewards(((chosen - rejected) / scale)[None], ridge)[0] / scale)


def network_scores(
    layers: Sequence[tuple[Tensor, Tensor]],
    inputs_NM: Tensor,
    chosen_RP: Tensor,
    rejected_RP: Tensor,
    stops: Sequence[int],
    learning_rate: float = 1e-3,
) -> list[Tensor]:
    """Rewards learnt through a whole network, one copy per person, all trained at once: [R, N] after each of ``stops`` steps.

    Args:
        layers: weight [out, in] and bias [out] of each layer; ReLU between them.
        inputs_NM: standardised raw inputs.
        stops: numbers of full-batch AdamW steps, rising.
    """
    weight_decay = 1e-3
    people = len(chosen_RP)
    copies = [w.detach().expand(people, *w.shape).clone().requires_grad_() for pair in layers for w in pair]
    generator = torch.Generator().manual_seed(0)
    head = (0.1 * torch.randn(people, layers[-1][0].shape[0], 1, generator=generator)).requires_grad_()
    optimizer = torch.optim.AdamW([*copies, head], lr=learning_rate, weight_decay=weight_decay)

    def score(x: Tensor) -> Tensor:
        for number in range(len(layers)):
            weight, bias = copies[2 * number], copies[2 * number + 1]
            x = torch.baddbmm(bias[:, None], x, weight.transpose(1, 2))
            x = x.relu() if number < len(layers) - 1 else x
        return (x @ head).squeeze(-1)

    candidates = []
    with torch.enable_grad():
        both = inputs_NM[torch.cat([chosen_RP, rejected_RP], 1)]
        for step in range(1, stops[-1] + 1):
            won, lost = score(both).chunk(2, 1)
            loss = F.softplus(lost - won).mean(1).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step in stops:
                candidates.append(score(inputs_NM.expand(people, -1, -1)).detach())
    return candidates


def ordered_share(scores_RN: Tensor, truth_RN: Tensor) -> float:
    """Share of all pairs of the rows ordered as the truth orders them, over all people; pairs tied in truth do not count."""
    if scores_RN.shape != truth_RN.shape:
        raise CounterpointError(f"scores {tuple(scores_RN.shape)} against rewards {tuple(truth_RN.shape)}")
    right = counted = 0.0
    for scores, truth in zip(scores_RN, truth_RN):
        apart = torch.sign(truth[:, None] - truth[None])
        guess = torch.sign(scores[:, None] - scores[None])
        right += float((apart * guess == 1).sum() + 0.5 * ((apart != 0) & (guess == 0)).sum())
        counted += float((apart != 0).sum())
    return right / max(counted, 1.0)
