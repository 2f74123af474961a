"""The pool of partly trained networks that a distilled set is judged with, so that it fits no single one (arXiv 2310.06511, 3.3).

Networks are drawn at random; one that was updated Z times gives way to a fresh one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from counterpoint.models.images.conv_net import ConvNet
from counterpoint.models.images.distilled import DistilledSet
from counterpoint.training.seeds import derive

Reset = Literal["paper", "code"]


def next_count(count: int, most: int, reset: Reset = "paper") -> tuple[bool, int]:
    """Whether a drawn network is replaced, and its count of updates afterwards.

    The authors' program replaces a network and leaves its count as it was ("code"), so that every later draw replaces it, too.

    >>> next_count(3, 4), next_count(4, 4), next_count(4, 4, "code")
    ((False, 4), (True, 0), (True, 4))
    """
    if count < most:
        return False, count + 1
    return True, 0 if reset == "paper" else count


class Pool:
    """Networks with a linear head each, their SGD, and how often each was updated. A state of the run.

    Args:
        networks: how many. most: Z, updates after which one is replaced.
        shape, widths, statistics: of the ConvNets. outputs: K.
        learning_rate, momentum, weight_decay: of SGD. reset: see ``next_count``. seed: of all weights and first counts.
    """

    def __init__(
        self,
        networks: int,
        most: int,
        shape: Sequence[int],
        widths: Sequence[int],
        statistics: tuple[list[float], list[float]],
        outputs: int,
        learning_rate: float,
        momentum: float,
        weight_decay: float,
        reset: Reset,
        seed: int,
        device: torch.device,
    ) -> None:
        self.most, self.reset, self.seed, self.device = most, reset, seed, device
        self._made: dict[str, Any] = {
            "shape": tuple(shape),
            "widths": tuple(widths),
            "mean": statistics[0],
            "std": statistics[1],
        }
        self._outputs = outputs
        self._rule: dict[str, Any] = {"lr": learning_rate, "momentum": momentum, "weight_decay": weight_decay}
        self.fresh = 0
        self.nets = [self._net() for _ in range(networks)]
        self.rules = [self._sgd(net) for net in self.nets]
        draw = torch.Generator().manual_seed(derive(seed, "pool", "counts"))
        self.counts = torch.randint(1, max(most, 2), (networks,), generator=draw).tolist()

    def begin(self, distilled: DistilledSet) -> None:
        """Train every network as often as its count says."""
        for index, count in enumerate(self.counts):
            for _ in range(count):
                self._update(index, distilled)

    def features(self, index: int, pixels: Tensor) -> Tensor:
        """[N, D] features of a network in evaluation mode; gradients reach the pixels and nothing of the network."""
        body: nn.Module = self.nets[index][0]  # type: ignore[assignment]
        body.eval()
        constants = {
            name: value.detach() for name, value in (*body.named_parameters(), *body.named_buffers())
        }
        return functional_call(body, constants, (pixels,))

    def after(self, index: int, distilled: DistilledSet) -> None:
        """Update the network that was drawn on the set as it is now, or replace it where its time is over."""
        replaced, self.counts[index] = next_count(self.counts[index], self.most, self.reset)
        if replaced:
            self.nets[index] = self._net()
            self.rules[index] = self._sgd(self.nets[index])
        else:
            self._update(index, distilled)

    def state_dict(self) -> dict[str, Any]:
        """Weights, momenta, counts."""
        return {
            "nets": [dict(net.state_dict()) for net in self.nets],
            "rules": [rule.state_dict() for rule in self.rules],
            "counts": list(self.counts),
            "fresh": self.fresh,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put them back."""
        for net, values in zip(self.nets, state["nets"], strict=True):
            net.load_state_dict(values)
        for rule, values in zip(self.rules, state["rules"], strict=True):
            rule.load_state_dict(values)
        self.counts, self.fresh = [int(count) for count in state["counts"]], int(state["fresh"])

    def _net(self) -> nn.Sequential:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(self.seed, "pool", self.fresh))
            body = ConvNet(**self._made)
            net = nn.Sequential(body, nn.Linear(body.num_features, self._outputs))
        self.fresh += 1
        return net.to(self.device)

    def _sgd(self, net: nn.Module) -> torch.optim.SGD:
        return torch.optim.SGD(net.parameters(), **self._rule)

    def _update(self, index: int, distilled: DistilledSet) -> None:
        net, rule = self.nets[index].train(), self.rules[index]
        rule.zero_grad(set_to_none=True)
        with torch.enable_grad():
            error = ((net(distilled.images.detach()) - distilled.targets.detach()) ** 2).mean()
            error.backward()
        rule.step()
