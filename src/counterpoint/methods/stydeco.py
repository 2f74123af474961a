r"""StyDeco (arXiv 2508.01215): a prior stylises photographs once, and a one-step generator learns both ways between the two domains.

    cycle     L1(G_S(G_T(x_s)), x_s) + L1(G_T(G_S(x_t)), x_t)       identity  L1(G_S(x_s), x_s) + L1(G_T(x_t), x_t)
    GAN       l(D_T(G_T(x_s)), 1) + l(D_S(G_S(x_t)), 1)             each with a perceptual distance beside the L1

G_T(x) = G(x; c_t) stylises and G_S(x) = G(x; c_s) takes the style off. The conditions c_t and c_s are prompts through one frozen text
encoder with an adapter for each domain: stylising moves only the one, de-stylising only the other, and so the two come apart. The
generator steps three times a batch, on cycle, GAN and identity by themselves; the discriminators twice, on made and on real pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from counterpoint.data.styles.sets import Styles
from counterpoint.errors import CounterpointError
from counterpoint.generation.picture_editors import Prior
from counterpoint.methods.base import Ablations, Method, Search
from counterpoint.models.styles.adapted import Mode
from counterpoint.models.styles.discriminators import Discriminators, discriminators
from counterpoint.models.styles.domains import DOMAINS, Domain, other
from counterpoint.models.styles.generator import Generator
from counterpoint.objectives.distillation.restyling import multilevel_sigmoid, reconstruction
from counterpoint.objectives.labels.supervised import supcon_out
from counterpoint.objectives.reduction import Loss
from counterpoint.pairs.crops import cropped
from counterpoint.phases.styles.before_after import before_after
from counterpoint.phases.styles.perceptual import Distance, perceptual_distance
from counterpoint.phases.styles.pseudo_pairs import with_pseudo_pairs
from counterpoint.training import Optimizer, Run
from counterpoint.training.batches import Batch
from counterpoint.training.seeds import derive


@dataclass(kw_only=True)
class Weights:
    """Factors of the terms.

    Attributes:
        cycle, identity, gan: lambda_cyc, lambda_idt, lambda_gan; the discriminators' terms have half of the last.
        cycle_perceptual, identity_perceptual: of the perceptual distance beside each L1, where there is a network for it.
        perceptual: what that is: "file.py:function", the folder of an image model, or "" for none.
        decoupling: of the contrast between the domains' prompts (reconstructed; the released program has none).
        temperature: of that contrast.
    """

    cycle: float = 1.0
    identity: float = 1.0
    gan: float = 0.5
    cycle_perceptual: float = 10.0
    identity_perceptual: float = 1.0
    perceptual: str = ""
    decoupling: float = 0.0
    temperature: float = 0.07


@dataclass(kw_only=True)
class Text:
    """The text encoder's adapters.

    Attributes:
        adapters: "separate", one a domain; "shared", one for both; "frozen", none, as in one-step translation (arXiv 2403.12036).
        rank, scale: of an adapter; scale is a/r.
    """

    adapters: Mode = "separate"
    rank: int = 16
    scale: float = 0.5


@dataclass(kw_only=True)
class LoRA:
    """The adapters of a pretrained network, a diffusers pipeline; the small generators learn whole and have none.

    Attributes:
        unet_rank: of the U-Net's, with a/r = 1.
        vae_rank: of each direction's VAE, with a/r = 2.
    """

    unet_rank: int = 128
    vae_rank: int = 4


@dataclass(kw_only=True)
class StyDeco(Method[Generator, Styles]):
    """Settings of StyDeco; shapes: n pictures of either domain on this rank.

    Attributes:
        batch_size: styled pictures per step, and as many plain ones.
        epochs: passes over the styled pictures when the run has no budget.
        learning_rate, weight_decay, max_grad_norm: of AdamW, for the generator and the discriminators.
        enlarge, flip: pictures are made larger by this factor and cut at random; mirrored by chance.
        weights, text, lora, prior: see ``Weights``, ``Text``, ``LoRA`` and ``generation.picture_editors.Prior``.
    """

    key: ClassVar[str] = "stydeco"
    search: ClassVar[Search] = {
        "learning_rate": (1e-5, 3e-3),
        "weights.cycle": [1.0, 2.0, 5.0],
        "weights.identity": [1.0, 2.0],
    }
    ablations: ClassVar[Ablations] = {
        "one adapter for both domains": {"text.adapters": "shared"},
        "frozen prompts": {"text.adapters": "frozen"},
        "with a contrast of prompts": {"weights.decoupling": 0.1},
        "without cycles": {"weights.cycle": 0.0},
        "without discriminators": {"weights.gan": 0.0},
    }

    batch_size: int = 1
    epochs: float = 100
    learning_rate: float = 1e-5
    weight_decay: float = 0.01
    max_grad_norm: float = 10.0
    enlarge: float = 1.1172
    flip: bool = True
    weights: Weights = field(default_factory=Weights)
    text: Text = field(default_factory=Text)
    lora: LoRA = field(default_factory=LoRA)
    prior: Prior = field(default_factory=Prior)

    def __post_init__(self) -> None:
        """Refuse steps and ranks of nothing, pictures made smaller, and a strength above 1."""
        super().__post_init__()
        self.demand(
            above_zero=(
                "batch_size",
                "epochs",
                "learning_rate",
                "max_grad_norm",
                "weights.temperature",
                "text.rank",
                "lora.unet_rank",
                "lora.vae_rank",
                "prior.steps",
            )
        )
        if self.enlarge < 1:
            raise CounterpointError(
                f"{self.key}: enlarge={self.enlarge}; expected 1 or more, for example enlarge=1.1172"
            )
        if not 0 < self.prior.strength <= 1:
            raise CounterpointError(
                f"{self.key}: prior.strength={self.prior.strength}; expected above 0, and at most 1"
            )

    def fit(self, model: Generator, data: Styles, run: Run) -> Generator:
        """Make the pseudo pairs where there is a prior, train both directions, and return the generator with its adapters."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(run.seed, "adapters") % 2**63)
            model.adapt(self.text.adapters, self.text.rank, self.text.scale)
            model.adapt_network(self.lora.unet_rank, self.lora.vae_rank)
        net, judges = run.state(
            model=model, judges=discriminators(model.shape[0], derive(run.seed, "judges") % 2**63)
        )
        run.optimize(net, self._optimizer())
        run.optimize(judges, self._optimizer(), "discriminators")
        distance = perceptual_distance(self.weights.perceptual, run)
        if distance is None and (self.weights.cycle_perceptual or self.weights.identity_perceptual):
            run.say(
                "weights.perceptual names no network, and the terms by a perceptual distance are left out"
            )
        data = with_pseudo_pairs(data, self.prior, run)
        counts = {domain: len(model.prompts[domain]) for domain in DOMAINS}
        for batch in run.batches(data.train.styled, self.batch_size, epochs=self.epochs):
            real = self._pictures(batch, data.train.plain)
            prompts: dict[Domain, Tensor] = {
                domain: batch.random.integers(counts[domain]) for domain in DOMAINS
            }

            def made(pictures: Tensor, towards: Domain, numbers: dict[Domain, Tensor] = prompts) -> Tensor:
                result: Tensor = run.forward(net, pictures, numbers[towards], towards=towards)
                return result

            terms = {
                f"cycle_{d}": self._near(made(made(real[d], other(d)), d), real[d], "cycle", distance)
                for d in DOMAINS
            }
            run.step({**terms, **self._decoupling(model)})

            fakes = {domain: made(real[other(domain)], domain) for domain in DOMAINS}
            with held(judges):
                run.step(
                    {
                        f"gan_{d}": self._looks(run, judges, fakes[d], d, True, self.weights.gan)
                        for d in DOMAINS
                    }
                )

            run.step(
                {
                    f"identity_{d}": self._near(made(real[d], d), real[d], "identity", distance)
                    for d in DOMAINS
                }
            )

            for name, pictures, looks in (("made", fakes, False), ("real", real, True)):
                losses = {
                    f"{name}_{d}": self._looks(
                        run, judges, pictures[d].detach(), d, looks, self.weights.gan / 2
                    )
                    for d in DOMAINS
                }
                run.step(losses, optimizer="discriminators")
        model.grids = before_after(model, data, run)
        return model

    def _optimizer(self) -> Optimizer:
        return Optimizer(
            name="adamw", learning_rate=self.learning_rate, weight_decay=self.weight_decay, decay_all=True,
            max_grad_norm=self.max_grad_norm, fused=True,
        )  # fmt: skip

    def _pictures(self, batch: Batch, plain: Tensor) -> dict[Domain, Tensor]:
        """The step's pictures of both domains [n, C, H, W]: styled ones in turn, plain ones by chance, cut and turned over."""
        rows = batch.random.integers(len(plain))
        drawn = plain[rows.to(plain.device)].to(batch.items.device)
        pixels: dict[Domain, Tensor] = {"plain": drawn, "styled": batch.items}
        return {d: cropped(pixels[d], batch.random.uniform(3), self.enlarge, self.flip) for d in DOMAINS}

    def _near(self, made: Tensor, real: Tensor, term: str, distance: Distance | None) -> Loss:
        weight = getattr(self.weights, term)
        if distance is None:
            return Loss(reconstruction(made, real, weight=weight))
        seen, factor = distance(made, real), getattr(self.weights, f"{term}_perceptual")
        return Loss(reconstruction(made, real, weight=weight, perceptual=seen, perceptual_weight=factor))

    def _looks(
        self, run: Run, judges: nn.Module, pictures: Tensor, domain: Domain, real: bool, weight: float
    ) -> Loss:
        return Loss(multilevel_sigmoid(run.forward(judges, pictures, domain=domain), real), weight=weight)

    def _decoupling(self, model: Generator) -> dict[str, Loss]:
        """The contrast of all prompts by their domain; it is the same on every rank, and its mean over ranks is itself."""
        if not self.weights.decoupling:
            return {}
        embedded = [model.embed(domain) for domain in DOMAINS]
        labels = torch.cat(
            [torch.full((len(each),), number, device=each.device) for number, each in enumerate(embedded)]
        )
        loss = supcon_out(torch.cat(embedded), labels, temperature=self.weights.temperature)
        return {"decoupling": Loss(loss.values, weight=self.weights.decoupling)}


@contextmanager
def held(judges: Discriminators) -> Iterator[None]:
    """Let no gradient into the discriminators."""
    judges.requires_grad_(False)
    try:
        yield
    finally:
        judges.requires_grad_(True)
