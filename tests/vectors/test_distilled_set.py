"""krr-st: the authors' distillation step on features and through their network, and the rule of the pool."""

from __future__ import annotations

import torch
from harness import Case, Checks, vector_tests

from counterpoint.models.images.conv_net import ConvNet
from counterpoint.objectives.distillation.distilled_set import distilled_set_error, ridge_head
from counterpoint.phases.distilled_pool import next_count


def step(case: Case) -> Checks:
    def values() -> None:
        features, targets = case.tensor("f_syn", grad=True), case.tensor("y_syn", grad=True)
        relative = case.number("ridge_rel")
        loss = distilled_set_error(
            features, targets, case.tensor("f_real"), case.tensor("y_real"), relative
        ).mean()
        loss.backward()
        case.expect("loss", loss, rtol=1e-5)
        case.expect("grad_f_syn", features.grad, rtol=1e-5, atol=1e-9)
        case.expect("grad_y_syn", targets.grad, rtol=1e-5, atol=1e-9)
        head, penalty = ridge_head(features, targets, relative)
        case.expect("W", head, rtol=1e-5, atol=1e-7)
        case.expect("lam", penalty, rtol=1e-9)

    return {"values": values}


def through_the_network(case: Case) -> Checks:
    def values() -> None:
        images, targets = case.tensor("x_syn", grad=True), case.tensor("y_syn", grad=True)
        widths, channels = case.array("channels").tolist(), images.shape[1]
        net = ConvNet(tuple(images.shape[1:]), widths, [0.0] * channels, [1.0] * channels).double().eval()
        names = {"w": "weight", "b": "bias", "mean": "running_mean", "var": "running_var"}
        state = net.state_dict()
        for depth in range(len(widths)):
            for kind, at in (("conv", 0), ("bn", 1)):
                for short in case.names(f"{kind}{depth}_*"):
                    name = f"body.{4 * depth + at}.{names[short]}"
                    state[name].copy_(case.tensor(f"{kind}{depth}_{short}"))
        features = net(images)
        case.expect("f_syn", features, rtol=1e-5, atol=1e-9)
        assert features.shape[1] == net.num_features
        real = net(case.tensor("x_real"))
        loss = distilled_set_error(
            features, targets, real, case.tensor("y_real"), case.number("ridge_rel")
        ).mean()
        loss.backward()
        case.expect("loss", loss, rtol=1e-5)
        case.expect("grad_x_syn", images.grad, rtol=1e-5, atol=1e-9)
        case.expect("grad_y_syn", targets.grad, rtol=1e-5, atol=1e-9)

    return {"values": values}


def pool(case: Case) -> Checks:
    def rule(kind: str) -> None:
        counts, most = case.array("init_counts").tolist(), int(case.number("max_online"))
        assert len(counts) == int(case.number("n_pool"))
        resets, history = [], []
        for index in case.array("draws").tolist():
            reset, counts[index] = next_count(counts[index], most, kind)
            resets.append(reset)
            history.append(list(counts))
        case.expect(f"{kind}_was_reset", torch.tensor(resets), rtol=0)
        case.expect(f"{kind}_counts", torch.tensor(history), rtol=0)

    return {kind: lambda kind=kind: rule(kind) for kind in ("paper", "code")}


test_distilled_set = vector_tests({"krr-st": step, "krr-st_image": through_the_network, "krr-st_pool": pool})
