"""What is measured of a trajectory encoder: agreeing answers, recovered features, rewards from few preferences."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from counterpoint.data.trajectories.sets import TrajectoryData
from counterpoint.evaluation.measurement import Measurement, Subject
from counterpoint.evaluation.reward import (
    feature_error,
    frozen_scores,
    network_scores,
    ordered_share,
    similarity_accuracy,
)
from counterpoint.judges.simulated import most_alike, preferred, tastes
from counterpoint.models.trajectories.encoder import TrajectoryEncoder
from counterpoint.pairs.queries import random_groups

PEOPLE, PREFERENCES, QUERIES = 50, 30, 500
RIDGES, STEPS, RATES = (0.1, 1.0, 10.0), (50, 150, 400), (3e-4, 1e-3, 3e-3)

Encoded = Subject[TrajectoryEncoder, TrajectoryData]


@torch.no_grad()
def _embed(subject: Encoded) -> dict[str, Tensor]:
    return {name: subject.model(part.inputs) for name, part in subject.data.splits().items()}


def _embedded(subject: Encoded) -> dict[str, Tensor]:
    """Embeddings of every split."""
    return subject.once("embedded", lambda: _embed(subject))


def answers(subject: Encoded) -> dict[str, float]:
    """``similarity_accuracy``: answers of a split, or of a simulated person, whose pair is also the nearest in the embedding."""
    part, z = subject.part, _embedded(subject)[subject.split]
    given = part.answers
    if not len(given) and part.features is not None:
        draws = torch.Generator().manual_seed(subject.seed + 17)
        groups = random_groups(len(part), QUERIES, 3, draws)
        given = groups.gather(1, most_alike(part.features[groups]))
    return {"similarity_accuracy": similarity_accuracy(z, given) if len(given) else float("nan")}


def own_preferences(subject: Encoded) -> dict[str, float]:
    """``own_preference_accuracy``: a split's preferences as the model's reward orders them."""
    part, model = subject.part, subject.model
    if not len(part.preferences):
        return {}
    won, lost = (_embedded(subject)[subject.split][rows] @ model.reward for rows in part.preferences.T)
    return {"own_preference_accuracy": float((won > lost).double().mean())}


def features(subject: Encoded) -> dict[str, float]:
    """``feature_error``: how well features are recovered linearly; 1.0 is the mean's."""
    learnt, part, z = subject.data.train.features, subject.part, _embedded(subject)
    if learnt is None or part.features is None:
        return {}
    return {"feature_error": feature_error(z["train"], learnt, z[subject.split], part.features)}


def rewards(subject: Encoded) -> dict[str, float]:
    """``preference_accuracy``: held-out pairs ordered as each of 50 unseen people orders them.

    The reward is learnt from 30 preferences; its penalty, or end to end its learning rate and number of steps, are chosen on
    validation.
    """
    model, data, split = subject.model, subject.data, subject.split
    if subject.part.features is None:
        return {}
    z, parts = _embedded(subject), data.splits()
    draws = torch.Generator().manual_seed(subject.seed + 29)
    features_of = {name: part.features for name, part in parts.items() if part.features is not None}
    people = tastes(PEOPLE, features_of["train"].shape[1], draws)
    truth = {name: people @ rows.T for name, rows in features_of.items()}
    queries = random_groups(len(parts["train"]), PEOPLE * PREFERENCES, 2, draws).view(PEOPLE, PREFERENCES, 2)
    first, second = (truth["train"].gather(1, rows) for rows in queries.unbind(-1))
    won = preferred(first, second)
    chosen, rejected = (torch.where(w, queries[..., 0], queries[..., 1]) for w in (won, ~won))
    # The learner sees one table of rows: the training split first, then validation and test.
    names = list(parts)
    starts = dict(zip(names, [0, len(parts["train"]), len(parts["train"]) + len(parts["validation"])]))
    rows = {name: torch.arange(len(part)) + starts[name] for name, part in parts.items()}
    if model.end_to_end:
        raw = model.scaled(torch.cat([parts[name].inputs for name in names]))
        layers = [(layer.weight, layer.bias) for layer in model.network if isinstance(layer, nn.Linear)]
        tried = [
            scores
            for rate in RATES
            for scores in network_scores(layers, raw, chosen, rejected, STEPS, learning_rate=rate)
        ]
    else:
        tried = frozen_scores(torch.cat([z[name] for name in names]), chosen, rejected, RIDGES)
    marks = [ordered_share(scores[:, rows["validation"]], truth["validation"]) for scores in tried]
    best = tried[max(range(len(tried)), key=marks.__getitem__)]
    return {"preference_accuracy": ordered_share(best[:, rows[split]], truth[split])}


def _is_encoder(model: nn.Module, data: TrajectoryData) -> bool:
    return isinstance(model, TrajectoryEncoder)


def _has_reward(model: nn.Module, data: TrajectoryData) -> bool:
    return isinstance(model, TrajectoryEncoder) and bool(model.reward.any())


def _has_features(model: nn.Module, data: TrajectoryData) -> bool:
    return isinstance(model, TrajectoryEncoder) and data.train.features is not None


MEASUREMENTS: tuple[Measurement[Any, TrajectoryData], ...] = (
    Measurement(applies=_is_encoder, measure=answers),
    Measurement(applies=_has_reward, measure=own_preferences),
    Measurement(applies=_has_features, measure=features),
    Measurement(applies=_has_features, measure=rewards),
)
