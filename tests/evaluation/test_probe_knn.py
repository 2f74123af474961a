"""The linear probe and nearest neighbours: what they find, what they never see, and their lessons."""

import numpy as np
import pytest
import torch

from counterpoint.errors import CounterpointError
from counterpoint.evaluation.features import features
from counterpoint.evaluation.knn import knn_accuracy, knn_predict
from counterpoint.evaluation.probe import linear_probe


def clouds(number: int, seed: int, spread: float = 0.5):
    generator = np.random.default_rng(seed)
    labels = np.arange(number) % 3
    centres = np.array([[4.0, 0, 0, 0], [0, 4.0, 0, 0], [0, 0, 4.0, 0]])
    return (centres[labels] + spread * generator.standard_normal((number, 4))).astype(np.float32), labels


def test_probe_separates_what_is_separable_and_not_noise():
    train, validation, test = (clouds(n, seed) for seed, n in enumerate((60, 30, 90)))
    assert linear_probe(train, validation, test).accuracy == 1.0
    noise = np.random.default_rng(5).standard_normal((60, 4)).astype(np.float32), train[1]
    assert linear_probe(noise, validation, test).accuracy < 0.7


def test_probe_does_not_see_what_it_is_judged_on():
    train, validation, test = (clouds(n, seed, 2.0) for seed, n in enumerate((60, 30, 90)))
    one = linear_probe(train, validation, test)
    other = linear_probe(train, validation, (test[0], np.zeros_like(test[1])))
    assert (one.strength, one.validation) == (other.strength, other.validation)
    assert (one.predicted == other.predicted).all()
    assert one.accuracy == pytest.approx(float((one.predicted == test[1]).mean()))


def test_probe_ignores_the_common_scale_the_origin_and_rotations():
    parts = [clouds(n, seed, 2.0) for seed, n in enumerate((60, 30, 90))]
    turn = np.linalg.qr(np.random.default_rng(3).standard_normal((4, 4)))[0]
    moved = [((part[0] @ turn) * 1e-3 + 5.0, part[1]) for part in parts]
    assert (linear_probe(*parts).predicted == linear_probe(*moved).predicted).mean() > 0.98
    flat = [(np.ones_like(part[0]), part[1]) for part in parts]
    assert linear_probe(*flat).accuracy == pytest.approx(1 / 3)


def test_probe_lessons():
    train, validation, test = (clouds(n, seed) for seed, n in enumerate((60, 30, 90)))
    with pytest.raises(CounterpointError, match="at least two classes"):
        linear_probe((train[0][:1], train[1][:1]), validation, test)
    with pytest.raises(CounterpointError, match="lower learning_rate"):
        linear_probe((train[0] * np.nan, train[1]), validation, test)


def test_knn_is_its_loop():
    bank, labels = (torch.from_numpy(part) for part in clouds(40, 0, 3.0))
    queries, _ = (torch.from_numpy(part) for part in clouds(30, 1, 3.0))
    expected = []
    for query in queries:
        cosine = torch.nn.functional.cosine_similarity(query[None], bank)
        best = cosine.argsort(descending=True)[:7]
        votes = [sum(float(torch.exp(cosine[j] / 0.2)) for j in best if labels[j] == c) for c in range(3)]
        expected.append(int(np.argmax(votes)))
    assert knn_predict(bank, labels, queries, k=7, temperature=0.2, piece=11).tolist() == expected


def test_knn_with_fewer_rows_than_neighbours_and_perfect_clouds():
    bank, labels = (torch.from_numpy(part) for part in clouds(6, 0, 0.1))
    queries, truth = (torch.from_numpy(part) for part in clouds(30, 1, 0.1))
    assert knn_accuracy(bank, labels, queries, truth, k=50) == 1.0


def test_features_leave_the_model_as_it_was():
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(1), torch.nn.Dropout(), torch.nn.Flatten())
    model[0].momentum = 1.0
    pixels = torch.randint(0, 256, (10, 1, 2, 2)).byte()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    whole = features(model, pixels)
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    torch.testing.assert_close(features(model, pixels, size=3), whole)
    torch.testing.assert_close(whole, pixels.float().div(255).flatten(1), rtol=1e-4, atol=1e-5)
