"""Vectors of the contrastive losses: supcon_core, dcl, dcl_nnclr, multiview; values and gradients."""

from collections.abc import Callable
from functools import partial

import torch
from harness import Case, Checks, vector_tests
from torch import Tensor

from counterpoint.objectives.contrast import decoupled as dcl
from counterpoint.objectives.contrast import multiview, neighbours
from counterpoint.objectives.contrast.infonce import nt_xent
from counterpoint.objectives.labels import pairwise, proxy, supervised
from counterpoint.objectives.labels.triplet import triplet
from counterpoint.objectives.reduction import Loss, nonzero_mean, total

Labelled = Callable[[Tensor, Tensor], "Loss | Tensor | dict[str, Loss]"]


def _mean(result: Loss | Tensor | dict[str, Loss]) -> Tensor:
    return total(result if isinstance(result, dict) else {"loss": result})


# supcon_core: rtol 1e-8, atol 1e-9; circle (whose reference takes torch's approximate softplus) rtol 1e-7


def _supcon_labelled(case: Case, name: str) -> Labelled | None:
    def number(key: str) -> float:
        return case.number(f"{name}/{key}")

    def pairs(z: Tensor, y: Tensor) -> Loss:
        expected = [case.tensor(f"{name}/{side}_mask") for side in ("pos", "neg")]
        mined = pairwise.mine_multi_similarity(z.detach(), y, number("epsilon"))
        assert all(torch.equal(a, b) for a, b in zip(mined, expected))
        return similarity(z, y, epsilon=number("epsilon"))

    def similarity(z: Tensor, y: Tensor, **miner: float) -> Loss:
        return pairwise.multi_similarity(
            z, y, alpha=number("alpha"), beta=number("beta"), base=number("base"), **miner
        )

    def three(**how: object) -> Labelled:
        return lambda z, y: triplet(z, y, margin=number("margin"), **how)

    known: dict[str, Labelled] = {
        "supcon_out_ref": lambda z, y: supervised.supcon_out(
            z, y, temperature=number("temperature"), base_temperature=number("base_temperature")
        ),
        "supcon_out_avgnonzero": lambda z, y: nonzero_mean(
            supervised.supcon_out(z, y, temperature=number("temperature"))
        ),
        "supcon_in": lambda z, y: supervised.supcon_in(z, y, temperature=number("temperature")),
        "ntxent_pairs": lambda z, y: supervised.nt_xent_pairs(z, y, temperature=number("temperature")),
        "n_pairs": supervised.n_pairs,
        "multi_similarity": similarity,
        "multi_similarity_mined": pairs,
        "triplet_l2": three(),
        "triplet_sq": three(distance="squared"),
        "triplet_raw_sq": three(distance="squared", normalize=False),
        "triplet_l2_mean": three(average="all"),
        "triplet_l2_swap": three(swap=True),
        "triplet_l2_smooth": three(soft=True),
        "triplet_batch_hard": three(mining="hard"),
        "triplet_semihard": three(mining="semihard"),
        "circle": lambda z, y: pairwise.circle(z, y, margin=number("m"), gamma=number("gamma")),
        "contrastive_pair": lambda z, y: pairwise.contrastive_pair(
            z, y, positive_margin=number("pos_margin"), negative_margin=number("neg_margin")
        ),
        "generalized_lifted": lambda z, y: pairwise.generalized_lifted(
            z, y, positive_margin=number("pos_margin"), negative_margin=number("neg_margin")
        ),
    }
    known["supcon_out_ref_base007"] = known["supcon_out_ref"]
    return known.get(name)


def _check_labelled(case: Case, name: str, loss: Labelled) -> None:
    z = case.tensor("z", grad=True)
    value = _mean(loss(z, case.tensor("labels")))
    value.backward()
    rtol = 1e-7 if name == "circle" else 1e-8
    case.expect(f"{name}/loss", value, rtol=rtol, atol=1e-9)
    case.expect(f"{name}/grad_z", z.grad, rtol=rtol, atol=1e-9)


def _check_proxy(case: Case, name: str) -> None:
    z, y = case.tensor("z", grad=True), case.tensor("labels")
    proxies = case.tensor("proxies", grad=True)
    extra = "grad_proxies"

    def number(key: str) -> float:
        return case.number(f"{name}/{key}")

    if name == "proxy_nca":
        loss: Tensor | Loss = proxy.proxy_nca(z, y, proxies, softmax_scale=number("softmax_scale"))
    elif name == "proxy_anchor":
        loss = proxy.proxy_anchor(z, y, proxies, margin=number("margin"), alpha=number("alpha"))
    elif name == "normalized_softmax":
        loss, extra = (
            proxy.normalized_softmax(z, y, proxies, temperature=number("temperature")),
            "grad_proxies_T",
        )
    else:
        raise KeyError(name)
    value = _mean(loss)
    value.backward()
    grad = proxies.grad.T if extra.endswith("_T") else proxies.grad
    for key, actual in {"loss": value, "grad_z": z.grad, extra: grad}.items():
        case.expect(f"{name}/{key}", actual, rtol=1e-8, atol=1e-9)


def _check_soft_triple(case: Case) -> None:
    z, y = case.tensor("z", grad=True), case.tensor("labels")
    columns = case.tensor("soft_triple/centers", grad=True)  # [d, C * K], class-major
    each = int(case.number("soft_triple/centers_per_class"))
    centers = columns.T.reshape(-1, each, columns.shape[0])
    settings = {key: case.number(f"soft_triple/{key}") for key in ("la", "gamma", "margin")}
    value = proxy.soft_triple(z, y, centers, **settings).mean()
    value.backward()
    for key, actual in {"loss": value, "grad_z": z.grad, "grad_centers": columns.grad}.items():
        case.expect(f"soft_triple/{key}", actual, rtol=1e-8, atol=1e-9)


def _check_views(case: Case) -> None:
    name = "supcon_views"
    features = case.tensor("features", grad=True)
    loss = supervised.supcon_views(
        features,
        case.tensor("labels") if "labels" in case else None,
        contrast=case.text(f"{name}/contrast_mode"),
        temperature=case.number(f"{name}/temperature"),
        base_temperature=case.number(f"{name}/base_temperature"),
        normalize=not _unit_rows(features),
    )
    value = loss.mean()
    value.backward()
    case.expect(f"{name}/loss", value, rtol=1e-8, atol=1e-9)
    case.expect(f"{name}/grad_features", features.grad, rtol=1e-8, atol=1e-9)


def _unit_rows(features: Tensor) -> bool:
    """The reference takes features as they are: unit rows in the file mean it did not normalise (nor differentiate that)."""
    return torch.allclose(features.norm(dim=-1), torch.ones((), dtype=features.dtype), atol=1e-9)


def _check_two_views(case: Case) -> None:
    name = "ntxent_two_views"
    features = case.tensor("features")
    z0, z1 = (features[:, view].clone().requires_grad_() for view in (0, 1))
    value = nt_xent(z0, z1, temperature=case.number(f"{name}/temperature")).mean()
    value.backward()
    for key, actual in {"loss": value, "grad_z0": z0.grad, "grad_z1": z1.grad}.items():
        case.expect(f"{name}/{key}", actual, rtol=1e-8, atol=1e-9)


def supcon_core(case: Case) -> Checks:
    checks: Checks = {}
    for name in case.losses():
        labelled = _supcon_labelled(case, name)
        if labelled is not None:
            checks[name] = partial(_check_labelled, case, name, labelled)
        elif name == "soft_triple":
            checks[name] = partial(_check_soft_triple, case)
        elif name == "supcon_views":
            checks[name] = partial(_check_views, case)
        elif name == "ntxent_two_views":
            checks[name] = partial(_check_two_views, case)
        else:
            checks[name] = partial(_check_proxy, case, name)
    return checks


# dcl: rtol 1e-9 in float64


def _check_decoupled(case: Case, name: str) -> None:
    first, second = case.tensor("x1", grad=True), case.tensor("x2", grad=True)
    tau, sigma = case.number("temperature"), case.number("sigma")
    losses: dict[str, Callable[[], Tensor]] = {
        "dcl_oneway": lambda: dcl.decoupled(first, second, temperature=tau, symmetric=False),
        "dcl_sym": lambda: dcl.decoupled(first, second, temperature=tau),
        "dclw_oneway_wgrad": lambda: dcl.decoupled(
            first, second, temperature=tau, sigma=sigma, symmetric=False, weight_gradient=True
        ),
        "dclw_sym_wdetach": lambda: dcl.decoupled(first, second, temperature=tau, sigma=sigma),
        "ntxent_sym": lambda: nt_xent(first, second, temperature=tau),
    }
    value = losses[name]().mean()
    value.backward()
    case.expect(f"{name}/loss", value, rtol=1e-9)
    case.expect(f"{name}/grad_x1", first.grad, rtol=1e-9, atol=1e-15)
    case.expect(f"{name}/grad_x2", second.grad, rtol=1e-9, atol=1e-15)


def _check_dcl_statistics(case: Case, key: str) -> None:
    first, second = dcl.unit(case.tensor("x1")), dcl.unit(case.tensor("x2"))
    if key == "weights":
        actual = dcl.positive_weights((first * second).sum(-1), case.number("sigma"))
    else:
        actual = dcl.negative_mass(first, second, temperature=case.number("temperature"))
    case.expect(key, actual, rtol=1e-9)


def dcl_core(case: Case) -> Checks:
    checks: Checks = {name: partial(_check_decoupled, case, name) for name in case.losses()}
    for key in ("weights", "npc_q_view1"):
        checks[key] = partial(_check_dcl_statistics, case, key)
    return checks


def _check_nnclr(case: Case, name: str) -> None:
    found = [neighbours.nearest_neighbours(case.tensor(f"z{view}"), case.tensor("bank")) for view in (0, 1)]
    for view in (0, 1):
        case.expect(f"nn{view}", found[view], rtol=1e-12)
    predictions = (case.tensor("p0", grad=True), case.tensor("p1", grad=True))
    decoupled = {"nnclr_infonce": False, "nnclr_dcl": True}[name]
    losses = neighbours.nnclr(
        (found[0], found[1]), predictions, temperature=case.number("temperature"), decoupled=decoupled
    )
    losses.mean().backward()
    case.expect(f"{name}/loss", losses.mean(), rtol=1e-9)
    case.expect(f"{name}/grad_p0", predictions[0].grad, rtol=1e-9, atol=1e-15)
    case.expect(f"{name}/grad_p1", predictions[1].grad, rtol=1e-9, atol=1e-15)


def nnclr(case: Case) -> Checks:
    return {name: partial(_check_nnclr, case, name) for name in case.losses()}


# multiview: rtol 1e-9 in float64

MULTIVIEW: dict[str, Callable[..., Tensor]] = {
    "mv_infonce": multiview.mv_infonce,
    "mv_infonce_printed": partial(multiview.mv_infonce, printed=True),
    "mv_dhel": multiview.mv_dhel,
    "mv_dhel_printed": partial(multiview.mv_dhel, printed=True),
    "cl_1": multiview.mv_per_view,
    "cl_2": multiview.mv_dhel_per_view,
    "pvc_geometric": multiview.poly_view,
    "pvc_arithmetic": partial(multiview.poly_view, mean="arithmetic"),
    "ntxent_pwe": multiview.pairwise_nt_xent,
    "ntxent_avg": multiview.average_nt_xent,
    "dhel_pwe": multiview.pairwise_dhel,
    "dhel_avg": multiview.average_dhel,
}


def _check_multiview(case: Case, name: str) -> None:
    z = case.tensor("z", grad=True)
    views = z.view(int(case.number("n_views")), int(case.number("n_instances")), -1)
    value = MULTIVIEW[name](views, temperature=case.number("temperature")).mean()
    value.backward()
    case.expect(f"{name}/loss", value, rtol=1e-9)
    case.expect(f"{name}/grad_z", z.grad, rtol=1e-9, atol=1e-15)


def multiview_core(case: Case) -> Checks:
    return {name: partial(_check_multiview, case, name) for name in case.losses()}


test_vectors = vector_tests({
    "supcon_core": supcon_core,
    "dcl": dcl_core,
    "dcl_nnclr": nnclr,
    "multiview": multiview_core,
})  # fmt: skip
