"""Policy gradients: loops, exact expectations over a categorical, extremes, invariances."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from counterpoint.errors import CounterpointError
from counterpoint.objectives.preference import advantage as adv
from counterpoint.objectives.preference import policy
from counterpoint.objectives.preference.kl_estimate import kl_estimate
from counterpoint.objectives.preference.policy import (
    VARIANTS,
    high_entropy,
    on_policy,
    policy_gradient,
    ratio,
)
from counterpoint.objectives.preference.self_play import group_advantages as self_play_advantages
from counterpoint.objectives.tokens import AGGREGATIONS, aggregate


def batch(seed: int = 0, rows: int = 4, tokens: int = 5, old: bool = True) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)  # noqa: E731
    lengths = torch.randint(1, tokens + 1, (rows,), generator=g)
    logp = -draw(rows, tokens).abs()
    return {
        "logp_BT": logp,
        "advantage_B": draw(rows),
        "mask_BT": torch.arange(tokens) < lengths[:, None],
        "old_BT": logp + 0.3 * draw(rows, tokens) if old else None,
        "reference_BT": logp + 0.2 * draw(rows, tokens),
    }


def loop(
    variant: str,
    b: dict,
    low: float,
    high: float,
    kl: float,
    max_length: int,
    temperatures: tuple[float, float] = (1.0, 1.05),
    exponents: tuple[tuple[float, float], tuple[float, float]] = ((2, 3), (3, 2)),
) -> float:
    """The published formulas, token by token."""
    v, rows, tokens = VARIANTS[variant], *b["logp_BT"].shape
    lp, old, ref = b["logp_BT"].tolist(), b["old_BT"].tolist(), b["reference_BT"].tolist()
    total, losses, seen = 0.0, [], 0
    for i in range(rows):
        a, counted = float(b["advantage_B"][i]), [t for t in range(tokens) if b["mask_BT"][i, t]]
        drift = [lp[i][t] - old[i][t] for t in counted]
        level = {"token": None, "sequence": sum(drift) / max(len(drift), 1), "sequence_sum": sum(drift)}[
            v.level
        ]
        row = []
        for t, d in zip(counted, drift):
            r = math.exp(d if level is None else level)
            if v.loss == "clipped":
                value = -min(r * a, min(max(r, 1 - low), 1 + high) * a)
            elif v.loss == "cispo":
                value = -min(r, high) * a * lp[i][t]
            elif v.loss == "sapo":
                temperature = temperatures[0] if a > 0 else temperatures[1]
                value = -a * 4 / temperature / (1 + math.exp(-temperature * (r - 1)))
            elif v.loss == "vespo":
                k, la = exponents[0] if a >= 0 else exponents[1]
                log_w = min(max(sum(drift), math.log(1e-8)), 20)
                value = -math.exp(la + k * log_w - la * math.exp(log_w)) * a * lp[i][t]
            else:
                value = -a * lp[i][t]
            if v.level == "sequence_sum" and t != counted[0]:
                value = 0.0
            x = ref[i][t] - lp[i][t]
            row.append(value + kl * (math.exp(x) - x - 1) * math.exp(d))
        if v.level == "sequence_sum" and not counted:  # one loss per sequence, of ratio exp(0)
            row.append(-min(a, min(max(1.0, 1 - low), 1 + high) * a))
        seen += len(counted)
        losses.append(sum(row) / max(len(row), 1) if v.aggregation == "sequence_mean" else sum(row))
        total += sum(row)
    return {
        "token_mean": total / seen,
        "sequence_mean": sum(losses) / rows,
        "sequence_sum": sum(losses) / rows,
        "constant": total / rows / max_length,
    }[v.aggregation]


@pytest.mark.parametrize("variant", VARIANTS)
def test_naive_loop_and_finite_differences(variant: str) -> None:
    b = batch(1)
    options = {"low": 0.15, "high": 1.3 if variant == "cispo" else 0.25, "kl": 0.1, "max_length": 9}
    value = policy_gradient(**b, variant=variant, **options).mean()
    assert value.item() == pytest.approx(loop(variant, b, options["low"], options["high"], 0.1, 9), rel=1e-12)
    if variant in ("cispo", "vespo"):  # their weights are held constant: a finite difference would move them
        return
    assert torch.autograd.gradcheck(
        lambda lp: policy_gradient(**{**b, "logp_BT": lp}, variant=variant, **options).mean(),
        (b["logp_BT"].requires_grad_(),),
    )


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_completion_that_is_all_padding(variant: str, old: bool) -> None:
    """Right value by the loop, no gradient, whatever the padding holds; the other rows' gradients are their own."""
    b = batch(6, old=old)
    b["mask_BT"][2] = False
    naive = b if old else {**b, "old_BT": b["logp_BT"]}
    high = 1.3 if variant == "cispo" else 0.25
    options = {"low": 0.15, "high": high, "kl": 0.1, "max_length": 9, "variant": variant}
    dirty = {k: v.clone() for k, v in b.items() if v is not None}
    for key in dirty.keys() & {"logp_BT", "old_BT", "reference_BT"}:
        dirty[key][2] = torch.tensor([-math.inf, math.nan, math.inf, 0.0, -1e30])
    lp = dirty.pop("logp_BT").requires_grad_()
    value = policy_gradient(lp, **dirty, **options).mean()
    assert value.item() == pytest.approx(loop(variant, naive, 0.15, high, 0.1, 9), rel=1e-12)
    value.backward()
    assert (lp.grad[2] == 0).all()
    rest = torch.tensor([0, 1, 3])
    alone = b["logp_BT"][rest].requires_grad_()
    others = {k: v[rest] for k, v in dirty.items()}
    loss = policy_gradient(alone, **others, **options)
    (loss.mean() * (1.0 if VARIANTS[variant].aggregation == "token_mean" else 0.75)).backward()
    torch.testing.assert_close(lp.grad[rest], alone.grad, rtol=1e-12, atol=0)


def test_a_padded_sequence_that_a_mask_drops_has_no_loss() -> None:
    b = batch(6)
    b["mask_BT"][2] = False
    keep = b["mask_BT"].clone()
    values = policy_gradient(**b, variant="rloo", keep_BT=keep).values
    assert values[2] == 0
    keep[2] = True
    assert policy_gradient(**b, variant="rloo", keep_BT=keep).values[2] == -b["advantage_B"][2]


@pytest.mark.parametrize(
    ("variant", "setting"),
    [("sapo", {"temperatures": (0.4, 2.5)}), ("vespo", {"exponents": ((1.5, 0.5), (0.7, 1.2))})],
)
def test_parameters_of_the_soft_clips(variant: str, setting: dict) -> None:
    b = batch(8)
    value = policy_gradient(**b, variant=variant, kl=0.1, **setting).mean().item()
    assert value == pytest.approx(loop(variant, b, 0.2, 0.2, 0.1, 9, **setting), rel=1e-12)
    assert value != pytest.approx(loop(variant, b, 0.2, 0.2, 0.1, 9), rel=1e-3)


@pytest.mark.parametrize("variant", ["cispo", "vespo"])
def test_detached_weights(variant: str) -> None:
    b = batch(2)
    lp = b["logp_BT"].clone().requires_grad_()
    loss = policy_gradient(**{**b, "logp_BT": lp}, variant=variant)
    grad = torch.autograd.grad(loss.mean(), lp)[0]
    weight = loss.values.detach()  # = -sum w A lp, and the gradient is -w A / tokens
    torch.testing.assert_close((grad * lp.detach() * b["mask_BT"]).sum() * b["mask_BT"].sum(), weight.sum())


@pytest.mark.parametrize("variant", VARIANTS)
def test_without_old_the_gradient_is_reinforce(variant: str) -> None:
    b = batch(3, old=False)
    lp = b["logp_BT"].clone().requires_grad_()
    loss = policy_gradient(lp, b["advantage_B"], b["mask_BT"], variant, max_length=5)
    grad = torch.autograd.grad(loss.mean(), lp)[0]
    plain = -b["advantage_B"][:, None] * b["mask_BT"]
    how = VARIANTS[variant].aggregation
    scale = {
        "token_mean": 1 / b["mask_BT"].sum().double(),
        "sequence_mean": 1 / (4 * b["mask_BT"].sum(1, keepdim=True).double()),
        "sequence_sum": torch.tensor(0.25, dtype=torch.float64),
        "constant": torch.tensor(1 / 20, dtype=torch.float64),
    }[how]
    torch.testing.assert_close(grad, plain * scale, rtol=1e-12, atol=1e-15)


@given(seed=st.integers(0, 100), variant=st.sampled_from(sorted(VARIANTS)))
@settings(max_examples=40, deadline=None)
def test_permutation_and_ragged_split(seed: int, variant: str) -> None:
    b = batch(seed, rows=5)
    whole = policy_gradient(**b, variant=variant, kl=0.1, max_length=7)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    pick = lambda w: {k: v[w] for k, v in b.items()}  # noqa: E731
    moved = policy_gradient(**pick(order), variant=variant, kl=0.1, max_length=7)
    torch.testing.assert_close(moved.values, whole.values[order], rtol=1e-12, atol=1e-14)
    parts = [
        policy_gradient(**pick(torch.tensor(w)), variant=variant, kl=0.1, max_length=7)
        for w in ([0, 1], [2], [3, 4])
    ]
    sums = sum(p.values.sum() for p in parts)
    counts = 5 if whole.counts is None else sum(p.counts.sum() for p in parts)
    torch.testing.assert_close(sums / counts, whole.mean())


@pytest.mark.parametrize("variant", VARIANTS)
def test_padding_may_hold_anything(variant: str) -> None:
    b = batch(4)
    dirty = {
        k: torch.where(b["mask_BT"], v, torch.nan) if k in ("logp_BT", "old_BT", "reference_BT") else v
        for k, v in b.items()
    }
    found = []
    for each in (b, dirty):
        lp = each["logp_BT"].clone().requires_grad_()
        loss = policy_gradient(**{**each, "logp_BT": lp}, variant=variant, kl=0.1, max_length=5).mean()
        found.append((loss.detach(), torch.autograd.grad(loss, lp)[0]))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("variant", VARIANTS)
def test_nothing_counted_has_a_graph_without_gradient(variant: str, rows: int) -> None:
    lp = torch.full((rows, 3), -1e4, requires_grad=True)
    loss = policy_gradient(lp, torch.ones(rows), torch.zeros(rows, 3), variant, max_length=3).mean()
    loss.backward()
    assert loss.item() == (-1.0 if variant == "rloo" else 0.0)  # -A: the ratio of empty sequences is 1
    assert (lp.grad == 0).all()


def test_masks() -> None:
    entropy = torch.tensor([[0.1, 0.9, 0.5, 7.0]])
    assert high_entropy(entropy, torch.tensor([[1, 1, 1, 0]]), 1.0).tolist() == [[True, True, True, False]]
    assert not high_entropy(entropy, torch.zeros(1, 4), 0.5).any()
    drop = on_policy(
        torch.zeros(3, 2),
        torch.full((3, 2), 0.2),
        torch.tensor([-1.0, 1.0, -1.0]),
        torch.tensor([[1, 1], [1, 1], [0, 0]]),
        0.1,
    )
    assert drop.tolist() == [False, True, True]


# Exact expectations: a categorical policy over five actions, every group of G enumerated.


def _policy() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([0.3, -0.7, 1.1, 0.0, -1.5], dtype=torch.float64), torch.tensor(
        [1.0, 0.0, 0.3, 2.0, -1.0], dtype=torch.float64
    )


def _expected_gradient(estimator: object, group: int) -> torch.Tensor:
    logits, rewards = _policy()
    logits.requires_grad_()
    total = torch.zeros_like(logits)
    p = torch.softmax(logits.detach(), -1)
    for actions in itertools.product(range(5), repeat=group):
        a = torch.tensor(actions)
        advantage = estimator(rewards[a])
        logp = torch.log_softmax(logits, -1)[a][:, None]
        loss = policy_gradient(logp, advantage, torch.ones(group, 1), "reinforce").mean()
        total += p[a].prod() * torch.autograd.grad(loss, logits)[0]
    return -total


def test_exact_expectations() -> None:
    logits, rewards = _policy()
    logits.requires_grad_()
    true = torch.autograd.grad((torch.softmax(logits, -1) * rewards).sum(), logits)[0]
    torch.testing.assert_close(_expected_gradient(lambda r: adv.leave_one_out(r, 3), 3), true)
    torch.testing.assert_close(
        _expected_gradient(lambda r: adv.group_relative(r, 3, "none"), 3), true * 2 / 3
    )
    scaled = _expected_gradient(lambda r: adv.group_relative(r, 3), 3)
    assert (
        torch.nn.functional.cosine_similarity(scaled, true, dim=0) < 0.999
    )  # dividing by the deviation changes direction


def test_kl_estimators_as_losses() -> None:
    logits, rewards = _policy()
    logits.requires_grad_()
    reference = torch.log_softmax(rewards, -1)
    logp = torch.log_softmax(logits, -1)
    p = logp.detach().exp()
    reverse = torch.autograd.grad((logp.exp() * (logp - reference)).sum(), logits, retain_graph=True)[0]
    forward = torch.autograd.grad(-(reference.exp() * logp).sum(), logits, retain_graph=True)[0]
    of = lambda values: torch.autograd.grad((p * values).sum(), logits, retain_graph=True)[0]  # noqa: E731
    assert of(kl_estimate(logp, reference, "k1")).abs().max() < 1e-15
    torch.testing.assert_close(of(kl_estimate(logp, reference, "k2")), reverse)
    torch.testing.assert_close(of(kl_estimate(logp, reference, "k3")), forward)
    torch.testing.assert_close(of(kl_estimate(logp, reference, "k3", (logp - logp.detach()).exp())), reverse)


def test_advantages_loops_and_degenerate_groups() -> None:
    r = torch.tensor([1.0, 2.0, 4.0, 3.0, 3.0, 3.0], dtype=torch.float64)
    got = adv.group_relative(r, 3)
    mean, sd = 7 / 3, math.sqrt(((1 - 7 / 3) ** 2 + (2 - 7 / 3) ** 2 + (4 - 7 / 3) ** 2) / 2)
    torch.testing.assert_close(
        got, torch.tensor([*((x - mean) / (sd + 1e-4) for x in (1, 2, 4)), 0, 0, 0], dtype=torch.float64)
    )
    torch.testing.assert_close(
        adv.leave_one_out(r, 3), torch.tensor([-2.0, -0.5, 2.5, 0, 0, 0], dtype=torch.float64)
    )
    assert adv.group_relative(torch.full((2,), torch.nan), 2).tolist() == [0.0, 0.0]
    assert adv.leave_one_out(torch.tensor([1.0]), 1).tolist() == [0.0]
    pair = adv.group_relative(torch.tensor([0.0, 1.0], dtype=torch.float64), 2)
    torch.testing.assert_close(pair, torch.tensor([-0.5, 0.5], dtype=torch.float64) / (math.sqrt(0.5) + 1e-4))


def test_ratio_of_a_thousand_tokens_is_finite() -> None:
    lp = torch.full((1, 1000), -1e4, requires_grad=True)
    assert ratio(lp, lp.detach() + 3e-3, torch.ones(1, 1000), "sequence").isfinite().all()


@pytest.mark.parametrize("how", AGGREGATIONS)
def test_aggregate_weights_carry_no_gradient(how: str) -> None:
    w = torch.rand(2, 3, requires_grad=True)
    d = torch.rand(2, 3, requires_grad=True)
    aggregate(d, torch.ones(2, 3), how, weights_BT=w, max_length=3).mean().backward()
    assert w.grad is None
    assert d.grad is not None
    assert (d.grad != 0).all()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda: policy_gradient(torch.zeros(1, 1), torch.ones(1), torch.ones(1, 1), "dapp"),
            "did you mean 'dapo'",
        ),
        (
            lambda: policy_gradient(torch.zeros(1, 1), torch.ones(1), torch.ones(1, 1), "dr_grpo"),
            "max_length",
        ),
        (lambda: policy_gradient(torch.zeros(1, 1), torch.ones(1), torch.ones(1, 1), kl=0.1), "reference"),
        (
            lambda: policy_gradient(
                torch.zeros(1, 1), torch.ones(1), torch.ones(1, 1), "grpo", temperatures=(1.0, 1.0)
            ),
            "only 'sapo' reads it",
        ),
        (
            lambda: policy_gradient(
                torch.zeros(1, 1), torch.ones(1), torch.ones(1, 1), "sapo", temperatures=(0.0, 1.0)
            ),
            "above 0",
        ),
        (lambda: policy_gradient(torch.zeros(1, 2), torch.ones(1), torch.ones(1, 1)), "mask"),
        (lambda: adv.group_relative(torch.zeros(5), 2), "groups of 2"),
        (lambda: aggregate(torch.zeros(1, 1), torch.ones(1, 1), "mean"), "unknown"),
    ],
)
def test_errors_teach(call: object, says: str) -> None:
    with pytest.raises(CounterpointError, match=says):
        call()


def test_the_only_scored_response_of_a_group_takes_no_part_in_a_batch_of_leave_one_out() -> None:
    nan = math.nan
    rewards = torch.tensor([nan, nan, 5.0, 1.0, 0.0, 2.0, nan, nan, nan], dtype=torch.float64)
    plain = adv.leave_one_out(rewards, 3)
    assert plain.tolist() == [0, 0, 0, 0, -1.5, 1.5, 0, 0, 0]
    compared = torch.tensor([0.0, -1.5, 1.5], dtype=torch.float64)
    right = torch.zeros(9, dtype=torch.float64)
    right[3:6] = compared / (compared.std() + adv.EPSILON)
    assert torch.allclose(adv.leave_one_out(rewards, 3, normalise=True), right, rtol=1e-12)


@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize(
    "variant", [name for name, v in VARIANTS.items() if v.loss != "reinforce" and name != "rloo"]
)
def test_the_level_of_the_ratio_is_a_choice_of_its_own(variant: str, level: str) -> None:
    """Each loss with either ratio, and a KL corrected by it, against a loop; vespo's weight is of the completion in any case."""
    b = batch(5)
    low, high = 0.1, 1.05 if variant == "cispo" else 0.15
    value = policy_gradient(
        **b, variant=variant, level=level, low=low, high=high, kl=0.3, kl_corrected=level, max_length=9
    ).mean()
    rows, tokens, seen = [], 0, 0
    v = VARIANTS[variant]
    for lp, old, ref, mask, a in zip(
        b["logp_BT"].tolist(),
        b["old_BT"].tolist(),
        b["reference_BT"].tolist(),
        b["mask_BT"].tolist(),
        b["advantage_B"].tolist(),
    ):
        counted = [t for t, m in enumerate(mask) if m]
        mean = math.exp(sum(lp[t] - old[t] for t in counted) / len(counted))
        row = []
        for t in counted:
            r = mean if level == "sequence" else math.exp(lp[t] - old[t])
            if v.loss == "clipped":
                loss = -min(r * a, min(max(r, 1 - low), 1 + high) * a)
            elif v.loss == "cispo":
                loss = -min(r, high) * a * lp[t]
            elif v.loss == "sapo":
                heat = 1.0 if a > 0 else 1.05
                loss = -a * 4 / heat / (1 + math.exp(-heat * (r - 1)))
            else:
                k, la = (2, 3) if a >= 0 else (3, 2)
                log_w = sum(lp[s] - old[s] for s in counted)
                loss = -math.exp(la + k * log_w - la * math.exp(log_w)) * a * lp[t]
            x = ref[t] - lp[t]
            row.append(loss + 0.3 * (math.exp(x) - x - 1) * r)
        seen += len(row)
        tokens += sum(row)
        rows.append(sum(row) / len(row) if v.aggregation == "sequence_mean" else sum(row))
    right = {"token_mean": tokens / seen, "constant": tokens / len(rows) / 9}.get(
        v.aggregation, sum(rows) / len(rows)
    )
    assert value.item() == pytest.approx(right, rel=1e-12)


@pytest.mark.parametrize(
    ("variant", "level"), [("rloo", "token"), ("grpo", "sequence_sum"), ("grpo", "word")]
)
def test_a_level_that_a_loss_cannot_have(variant: str, level: str) -> None:
    with pytest.raises(CounterpointError, match="level"):
        policy_gradient(**batch(0), variant=variant, level=level)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5, 0.999, 1.0])
def test_the_entropies_of_more_tokens_than_a_quantile_takes(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    entropy = torch.rand(7, 53, generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(entropy, dtype=torch.bool)
    right = high_entropy(entropy, mask, share)
    monkeypatch.setattr(policy, "MOST_VALUES", 10)
    assert torch.equal(high_entropy(entropy, mask, share), right)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.1, 0.7, 1 / 3, 1e6 + 0.1])
def test_equal_rewards_have_no_advantage_to_the_last_bit(value: float, dtype: torch.dtype) -> None:
    for size in range(1, 12):
        rewards = torch.full((size,), value, dtype=dtype)
        unscored = torch.cat([rewards, rewards.new_tensor([math.nan])])
        for given_B in (rewards, unscored):
            for kind in ("group", "batch", "none", "leave_one_out", "normalise_then_sum", "batch_mean"):
                assert not adv.advantages(given_B[:, None], len(given_B), kind).any(), (kind, size)
        assert not adv.leave_one_out(rewards, size, normalise=True).any()
        assert not self_play_advantages(rewards[None]).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("variant", [name for name in VARIANTS if VARIANTS[name].loss in ("clipped", "sapo")])
def test_a_ratio_that_a_loss_no_longer_follows_has_no_gradient(variant: str, dtype: torch.dtype) -> None:
    capped = {} if variant == "sapo" else {"delta": 3.0}
    for advantage, options in ((1.0, {}), (0.0, {}), (-1.0, capped)):
        logp = torch.zeros(1, 2, dtype=dtype, requires_grad=True)
        values = []
        for drift in (40.0, 5000.0):
            old = torch.full((1, 2), -drift, dtype=dtype)
            loss = policy_gradient(
                logp, torch.tensor([advantage], dtype=dtype), torch.ones(1, 2), variant, old_BT=old, max_length=2, **options
            ).mean()  # fmt: skip
            (gradient,) = torch.autograd.grad(loss, logp)
            assert not gradient.any(), (advantage, drift)
            values.append(loss.item())
        assert values[0] == values[1]


def test_a_ratio_that_a_loss_follows_is_not_capped() -> None:
    old = torch.full((1, 2), -5000.0)
    loss = policy_gradient(torch.zeros(1, 2), torch.tensor([-1.0]), torch.ones(1, 2), "grpo", old_BT=old)
    assert (
        loss.mean().item() == math.inf
    )  # a run stops and says so, where a capped one would go on with a wrong slope


def test_what_is_clipped_is_counted_and_nothing_else() -> None:
    old = torch.tensor([[-1.0, 1.0], [-1.0, 1.0], [-1.0, 1.0]])  # ratios e and 1 / e
    advantage, mask = torch.tensor([1.0, 0.0, -1.0]), torch.ones(3, 2)

    def counted(variant: str, **options: float) -> tuple[list[float], list[float]]:
        stats = policy_gradient(torch.zeros(3, 2), advantage, mask, variant, old_BT=old, **options).stats
        return stats["clipped_low"].tolist(), stats["clipped_high"].tolist()

    assert counted("grpo") == ([0.0, 0.0, 0.5], [0.5, 0.0, 0.0])
    assert counted("cispo", high=2.0) == (
        [0.0, 0.0, 0.0],
        [0.5, 0.0, 0.0],
    )  # 2 is the cap, not a distance from 1
    assert counted("cispo", high=3.0) == ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0])
    for variant in ("sapo", "vespo", "reinforce"):
        assert counted(variant) == ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0])
