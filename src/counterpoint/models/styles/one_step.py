"""A generator of both directions from a pretrained latent diffusion model, in one step: as SD-Turbo restyles in one-step translation.

    z = Enc(x)    e = U-Net(z, T, c)    y = Dec((z - sqrt(1 - abar) e) / sqrt(abar)), clamped, the encoder's activations beside the decoder's

One-step translation (arXiv 2403.12036), which StyDeco (arXiv 2508.01215) trains from. Opened from the folder of a diffusers text-to-image
pipeline. All of it is frozen; what learns are low-rank additions to the U-Net, the VAE and the prompts' encoder, the U-Net's first
layer, and the convolutions that bring the VAE's activations across. A direction has its own VAE and its own additions to the text
encoder; the U-Net is shared. The latents are the posterior's mean, not a draw. Shapes: N pictures, C channels, H by W pixels,
P prompts, L tokens, D dimensions.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from counterpoint.errors import CounterpointError
from counterpoint.models.captioned.pipeline import open_pipeline, token_rows
from counterpoint.models.model_folders import configuration, state
from counterpoint.models.pictures.diffusion import noise_of_velocity
from counterpoint.models.styles.adapted import Mode
from counterpoint.models.styles.domains import DOMAINS, Domain
from counterpoint.models.styles.generator import Generator, named
from counterpoint.models.styles.low_rank import LowRank, matrices

BACK, SKIPS = "towards_plain", "skips.safetensors"
"""What a folder holds beside the pipeline, which stylises: the parts that take the style off, and the activations' convolutions."""
TEXT_LAYERS = ("q_proj", "k_proj", "v_proj", "out_proj")
LAYERS = (
    "to_q", "to_k", "to_v", "to_out.0", "conv", "conv1", "conv2", "conv_in", "conv_out", "conv_shortcut", "proj_in", "proj_out",
    "ff.net.0.proj", "ff.net.2",
)  # fmt: skip
UNET_SCALE, VAE_SCALE = 1.0, 2.0
FAINT = 1e-5
"""Weights of the activations' convolutions at first."""


class OneStepRestyler(Generator):
    """The generator.

    Args:
        pipe: a pipeline of ``models.captioned.pipeline.open_pipeline``; its parts are frozen.
        shape: channels, height and width of the pictures that it learns from. prompts: domain -> its prompts.
        back: the VAE and the text encoder that take the style off, where they are other ones than the pipeline's.
    """

    def __init__(
        self,
        pipe: Any,
        shape: Sequence[int],
        prompts: Mapping[str, Sequence[str]],
        back: Mapping[str, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.shape, self.prompts = tuple(shape), named(prompts)
        self.grids: dict[str, Tensor] = {}
        self.pipe, self.tokenizer = pipe, pipe.tokenizer
        steps = len(pipe.scheduler.alphas_cumprod)
        self.last = steps - 1
        self.alpha_bar = float(pipe.scheduler.alphas_cumprod[self.last].double())
        self.kind = str(pipe.scheduler.config.prediction_type)
        self.unet = pipe.unet
        self.vaes = nn.ModuleDict(
            {"plain": back["vae"] if back else copy.deepcopy(pipe.vae), "styled": pipe.vae}
        )
        self.texts = nn.ModuleDict({"styled": pipe.text_encoder})
        if back:
            self.texts["plain"] = back["text_encoder"]
        self.requires_grad_(False)
        self.unet.conv_in.requires_grad_(True)
        wide = list(pipe.vae.config.block_out_channels)
        ins, outs = [wide[0], *wide[:-1]][::-1], [wide[-1], *wide[:0:-1]]
        self.skips = nn.ModuleDict(
            {
                domain: nn.ModuleList(nn.Conv2d(i, o, 1, bias=False) for i, o in zip(ins, outs, strict=True))
                for domain in DOMAINS
            }
        )
        for parameter in self.skips.parameters():
            nn.init.constant_(parameter, FAINT)
        self.more = nn.ModuleDict()
        self.adapters: dict[str, Any] = {"adapters": "frozen"}

    def adapt(self, mode: Mode, rank: int, scale: float) -> None:
        """Give the text encoder new additions, unless it has such."""
        wanted = {"adapters": mode, "rank": rank, "scale": scale}
        if wanted == self.adapters:
            return
        for name in [name for name in self.more if name.startswith("text_")]:
            del self.more[name]
        for name in {"separate": DOMAINS, "shared": ("both",), "frozen": ()}[mode]:
            weights = matrices(self._text("styled" if name == "both" else name), TEXT_LAYERS)  # type: ignore[arg-type]
            self.more[f"text_{name}"] = LowRank(weights, rank, scale)
        self.adapters = wanted

    def adapt_network(self, unet_rank: int, vae_rank: int) -> None:
        """Give the U-Net and both VAEs their additions, where they have none."""
        if "unet" in self.more:
            return
        self.more["unet"] = LowRank(matrices(self.unet, LAYERS), unet_rank, UNET_SCALE)
        for domain, vae in self.vaes.items():
            for part in ("encoder", "decoder"):
                self.more[f"{part}_{domain}"] = LowRank(
                    matrices(getattr(vae, part), LAYERS), vae_rank, VAE_SCALE
                )

    def embed(self, domain: Domain) -> Tensor:
        """[P, D] the pooled prompts of a domain, through its additions."""
        read = self._read(domain)
        pooled: Tensor | None = getattr(read, "pooler_output", None)
        return read[0].mean(1) if pooled is None else pooled

    def forward(self, x_NCHW: Tensor, prompt_N: Tensor, towards: Domain) -> Tensor:
        """Pictures in [-1, 1] brought into a domain, by its prompts of these numbers; [N, C, H, W]."""
        states_NLD = self._read(towards)[0][prompt_N]
        height, width = x_NCHW.shape[2:]
        vae: Any = self.vaes[towards]
        side = 2 ** (len(vae.config.block_out_channels) - 1)
        x = functional.pad(x_NCHW, (0, -width % side, 0, -height % side), mode="replicate")
        z, beside = self._encode(vae, x, towards)
        steps = torch.full((len(z),), self.last, device=z.device)
        answer = self._call("unet", self.unet, z, steps, encoder_hidden_states=states_NLD).sample
        signal = torch.full((len(z),), self.alpha_bar, dtype=z.dtype, device=z.device)
        noise = answer if self.kind == "epsilon" else noise_of_velocity(z, answer, signal)
        at = signal[:, None, None, None]
        clean = (z - (1 - at).sqrt() * noise) / at.sqrt()
        return self._decode(vae, clean, beside, towards)[:, :, :height, :width].clamp(-1, 1)

    def _call(self, name: str, module: nn.Module, *given: Any, **options: Any) -> Any:
        if name not in self.more:
            return module(*given, **options)
        return self.more[name].call(module, *given, **options)  # type: ignore[operator]

    def _text(self, domain: Domain) -> Any:
        return self.texts[domain if domain in self.texts else "styled"]

    def _read(self, domain: Domain) -> Any:
        encoder = self._text(domain)
        ids = token_rows(self.tokenizer, self.prompts[domain]).to(self.unet.device)
        return self._call("text_both" if "text_both" in self.more else f"text_{domain}", encoder, ids)

    def _encode(self, vae: Any, x: Tensor, towards: Domain) -> tuple[Tensor, list[Tensor]]:
        """Latents, and what goes into each of the encoder's levels, the last first."""
        activations: list[Tensor] = []
        hooks = [
            block.register_forward_pre_hook(lambda _, given: activations.append(given[0]))
            for block in vae.encoder.down_blocks
        ]
        try:
            moments = self._call(f"encoder_{towards}", vae.encoder, x)
        finally:
            for hook in hooks:
                hook.remove()
        moments = moments if vae.quant_conv is None else vae.quant_conv(moments)
        return moments.chunk(2, 1)[0] * vae.config.scaling_factor, activations[::-1]

    def _decode(self, vae: Any, z: Tensor, beside: list[Tensor], towards: Domain) -> Tensor:
        def across(number: int) -> Any:
            convolution = self.skips[towards][number]  # type: ignore[index]
            return lambda _, given: (given[0] + convolution(beside[number]), *given[1:])

        hooks = [block.register_forward_pre_hook(across(n)) for n, block in enumerate(vae.decoder.up_blocks)]
        z = z / vae.config.scaling_factor
        try:
            made: Tensor = self._call(
                f"decoder_{towards}",
                vae.decoder,
                z if vae.post_quant_conv is None else vae.post_quant_conv(z),
            )
        finally:
            for hook in hooks:
                hook.remove()
        return made

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Write a pipeline that diffusers opens, whose parts have their additions in them and stylise; the way back beside it."""
        from safetensors.torch import save_file

        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        self._write(folder, "styled")
        self._write(folder / BACK, "plain")
        skips = {name: value.detach().cpu().contiguous() for name, value in self.skips.state_dict().items()}
        save_file(skips, folder / SKIPS)
        about = {
            "shape": list(self.shape),
            "prompts": {name: list(texts) for name, texts in self.prompts.items()},
        }
        (folder / "config.json").write_text(json.dumps(about) + "\n", encoding="utf-8")
        state(folder, self)
        self.draw_grids(folder)
        return None

    def _write(self, folder: Path, domain: Domain) -> None:
        from contextlib import ExitStack

        vae: Any = self.vaes[domain]
        text = self._text(domain)
        parts = {
            "unet": self.unet, f"encoder_{domain}": vae.encoder, f"decoder_{domain}": vae.decoder,
            "text_both" if "text_both" in self.more else f"text_{domain}": text,
        }  # fmt: skip
        with ExitStack() as merged:
            for name, module in parts.items():
                if name in self.more:
                    merged.enter_context(self.more[name].merged(module))  # type: ignore[operator]
            if domain == "styled":
                self.pipe.save_pretrained(folder)
            else:
                vae.save_pretrained(folder / "vae")
                text.save_pretrained(folder / "text_encoder")


def from_pipeline(
    folder: str | Path, shape: Sequence[int], prompts: Mapping[str, Sequence[str]]
) -> OneStepRestyler:
    """Start from a diffusers pipeline that knows no second direction.

    Raises:
        CounterpointError: a pipeline of another form, or pictures of other channels. MissingExtra: diffusers is not installed.
    """
    pipe = open_pipeline(folder)
    if pipe.vae.config.in_channels != shape[0]:
        raise CounterpointError(
            f"{folder} reads pictures of {pipe.vae.config.in_channels} channels, and the data's have {shape[0]}; turn them into such, or give "
            "--model restyler-small"
        )
    return OneStepRestyler(pipe, shape, prompts)


def open_one_step(folder: str | Path) -> OneStepRestyler:
    """Open a folder that ``OneStepRestyler.save_pretrained`` wrote."""
    from safetensors.torch import load_file

    root = Path(folder)
    pipe, about = open_pipeline(root), configuration(root)
    vae = type(pipe.vae).from_pretrained(root / BACK / "vae", local_files_only=True)
    text = type(pipe.text_encoder).from_pretrained(root / BACK / "text_encoder", local_files_only=True)
    model = OneStepRestyler(pipe, about["shape"], about["prompts"], {"vae": vae, "text_encoder": text})
    model.skips.load_state_dict(load_file(root / SKIPS))
    return model.eval()
