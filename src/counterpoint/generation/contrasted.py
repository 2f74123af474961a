"""A language model that decodes by contrast: every step has a strong and a weak pass, and a token is picked by both.

Each pass has a cache of its own and reads the prompt by itself, so that what is weak is weak everywhere. It is a language
model like any other: samplers, measurements and transformers' ``generate`` take it. Knows: caches, batches, folders. Does
not know: how a router is redirected, how two sets of logits become scores. B rows, L positions, V vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.generation.contrast import Contrast
from counterpoint.generation.weak import Amateur, EarlyLayers, Weak, WeakExperts
from counterpoint.models import model_folders
from counterpoint.models.language import encoder_decoder, instructed, language
from counterpoint.models.language.experts import Routers, Routing
from counterpoint.models.language.find_routers import routers
from counterpoint.models.language.language import Language, same_vocabulary

FILE = "contrast.json"
"""Beside the weights, in an ordinary folder: how the model decodes."""
AMATEUR = "amateur"
"""The folder, inside the model's, of another model that it is contrasted with."""
LOOPS = ("penalty_alpha", "assistant_model", "prompt_lookup_num_tokens", "custom_generate")
"""Options of ``generate`` that bring another loop than token by token."""


@dataclass
class Both:
    """Two caches that keep the same rows."""

    strong: Any
    weak: Any

    @property
    def layers(self) -> list[Any]:
        """All layers of both."""
        return [*getattr(self.strong, "layers", ()), *getattr(self.weak, "layers", ())]

    def batch_select_indices(self, rows: Tensor) -> None:
        """Keep some rows, as transformers' caches do."""
        for each in (self.strong, self.weak):
            if each is not None:
                each.batch_select_indices(rows)

    def reorder_cache(self, rows: Tensor) -> None:
        """The same, for recurrent layers."""
        for each in (self.strong, self.weak):
            if each is not None:
                each.reorder_cache(rows)


class Contrasted(Language):
    """A model whose next-token scores are its logits, moved away from weaker ones.

    What it is trained on and measured by without decoding (hidden states, perplexity) is the strong pass alone.

    Args:
        model: the model; its weights are shared, not copied.
        weak: what it is contrasted with.
        how: strength, mask and form of the contrast.
        routing: the strong pass's experts, and routers: the model's, where it is a mixture of experts.

    >>> from counterpoint.models.language.characters import tiny
    >>> model = Contrasted(tiny(seed=0), Amateur(tiny(seed=1)), Contrast(beta=0.5, alpha=0.1))
    >>> prompts = model.prompts(["1+1="])
    >>> model.generate(prompts.ids, prompts.mask, max_new_tokens=3).shape
    torch.Size([1, 9])
    """

    def __init__(
        self,
        model: Language,
        weak: Weak,
        how: Contrast,
        *,
        routers: Routers | None = None,
        routing: Routing | None = None,
    ) -> None:
        super().__init__(model.causal, model.tokenizer, runs=model.runs)
        self.weak, self.how, self.routing = weak, how, routing or Routing()
        self._routers = routers
        if isinstance(weak, Amateur):
            same_vocabulary(model, weak.model)

    @contextmanager
    def strong(self) -> Iterator[None]:
        """Passes inside take the strong routing."""
        with nullcontext() if self._routers is None else self._routers.use(self.routing):
            yield

    def forward(
        self, ids_BL: Tensor, mask_BL: Tensor, last: int | None = None, share: bool = False
    ) -> Tensor:
        """Hidden states of the strong pass; see ``Language.forward``."""
        with self.strong():
            return super().forward(ids_BL, mask_BL, last, share)

    def decode(self, ids_BL: Tensor, mask_BL: Tensor, cache: Any = None) -> tuple[Tensor, Any]:
        """One decoding step: contrasted scores [B, V], -inf where the strong pass finds a token implausible."""
        caches = Both(None, None) if cache is None else cache
        self._begin(cache is None)
        with self.strong(), self.weak.watch():
            strong_BV, own = super().decode(ids_BL, mask_BL, caches.strong)
        weak_BV, other = self.weaker(ids_BL, mask_BL, caches.weak, strong_BV)
        return self.how(strong_BV.float(), weak_BV.float()), Both(own, other)

    @torch.no_grad()
    def generate(self, input_ids: Tensor, attention_mask: Tensor | None = None, **options: Any) -> Any:
        """transformers' own ``generate``, with contrasted logits: its sampling, penalties, stops and streamers.

        Args:
            input_ids: [B, L], left-padded. attention_mask: [B, L], 0 on padding; none is padding when None.
            options: as of transformers' ``generate``; greedy unless ``do_sample=True``.

        Returns:
            What transformers gives back: [B, L + T] ids, prompt included.

        Raises:
            CounterpointError: several beams or another loop that keeps more than one cache.
        """
        if options.get("num_beams", 1) != 1 or any(options.get(each) for each in LOOPS):
            raise CounterpointError(
                "contrasted decoding keeps two caches, which beam, assisted and contrastive search do not; leave "
                f"num_beams, {', '.join(LOOPS)} out"
            )
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        self._begin(True)
        loop = _Loop(self, mask.repeat_interleave(int(options.get("num_return_sequences") or 1), 0))
        defaults = {"eos_token_id": list(self.stops), "pad_token_id": self.pad_id, "do_sample": False}
        handle = self.base.register_forward_hook(loop, with_kwargs=True)
        try:
            with self.strong(), self.weak.watch():
                return self.causal.generate(
                    input_ids=input_ids, attention_mask=mask, **{**defaults, **options}
                )
        finally:
            handle.remove()

    def save(self, folder: Path | str, *, adapter: bool = False) -> Path:
        """Write the ordinary folder, and beside the weights how to decode; ``load`` here reads both."""
        if adapter:
            return super().save(folder, adapter=True)

        def beside(part: Path) -> None:
            (part / FILE).write_text(json.dumps(self.described(), indent=2) + "\n", encoding="utf-8")
            if isinstance(self.weak, Amateur):
                self.weak.model.save(part / AMATEUR)

        return model_folders.write(folder, self.merged().causal, self.tokenizer, beside)

    def described(self) -> dict[str, Any]:
        """How it decodes, as plain values."""
        weak: dict[str, Any] = {"model": AMATEUR}
        if isinstance(self.weak, WeakExperts):
            weak = {"routing": str(self.weak.routing), "strong": str(self.routing)}
        elif isinstance(self.weak, EarlyLayers):
            weak = {"layers": list(self.weak.layers)}
        return {"weak": weak, "contrast": asdict(self.how)}

    def weaker(self, ids_BL: Tensor, mask_BL: Tensor, cache: Any, strong_BV: Tensor) -> tuple[Tensor, Any]:
        """The weak pass's logits and cache, as of ``Weak.decode``; the strong logits where they would not count."""
        if self.how.form == "extrapolate" and self.how.beta == 0:
            return strong_BV, None
        return self.weak.decode(ids_BL, mask_BL, cache, strong_BV)

    def _begin(self, first: bool) -> None:
        if first and self._routers is not None:
            self._routers.draws.manual_seed(0)  # a batch's random experts do not depend on what ran before


class _Loop:
    """Inside transformers' ``generate``: a hook that replaces the last logits of every pass by contrasted scores."""

    def __init__(self, model: Contrasted, mask_BL: Tensor) -> None:
        self.model, self.mask_BL, self.cache = model, mask_BL, None
        self.read, self.inside = 0, False

    def __call__(self, module: Any, given: tuple[Any, ...], named: dict[str, Any], out: Any) -> Any:
        if self.inside:  # a weak pass that runs through the whole model
            return None
        ids_BL: Tensor = named["input_ids"] if "input_ids" in named else given[0]
        self.read += ids_BL.shape[1]
        grown = self.mask_BL.new_ones(len(ids_BL), max(self.read - self.mask_BL.shape[1], 0))
        self.mask_BL = torch.cat([self.mask_BL, grown], 1)
        strong_BV = out.logits[:, -1].float()
        self.inside = True
        try:
            weak_BV, self.cache = self.model.weaker(ids_BL, self.mask_BL, self.cache, strong_BV)
        finally:
            self.inside = False
        scores_BV = self.model.how(strong_BV, weak_BV.float())
        out.logits = torch.cat([out.logits[:, :-1].float(), scores_BV[:, None]], 1)
        return out


def self_contrast(model: Language, strong: str, weak: str, how: Contrast) -> Contrasted:
    """A mixture of experts against its own weaker routing (SCMoE).

    Args:
        model: the model. strong, weak: routings, as of ``Routing.of``.
        how: strength and mask.

    Raises:
        CounterpointError: no mixture of experts, one that cannot be redirected, a rank beyond its experts.
    """
    redirected = routers(model)
    chosen = Routing.of(strong), Routing.of(weak)
    for routing in chosen:
        with redirected.use(routing):
            pass
    return Contrasted(
        model, WeakExperts(model, redirected, chosen[1]), how, routers=redirected, routing=chosen[0]
    )


def load(spec: str | Path, **options: Any) -> Language:
    """Load a language model; one that was saved contrasted decodes so again, one with an instruction is given it again.

    Args:
        spec: as of ``models.language.language.load``, which takes the options; an encoder-decoder, too.

    Raises:
        CounterpointError: what is beside the weights cannot be read.
    """
    model = encoder_decoder.load(spec, **options)
    file = model_folders.find(spec) / FILE
    if not file.exists():
        return instructed.with_stored(model, file.parent)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        weak, how = dict(content["weak"]), Contrast(**content["contrast"])
    except (ValueError, KeyError, TypeError) as error:
        raise CounterpointError(
            f"{file} does not say how to decode ({error}); remove it to decode plainly, or save the model again"
        ) from None
    if "routing" in weak:
        return self_contrast(model, weak.get("strong", "own"), weak["routing"], how)
    if "layers" in weak:
        return Contrasted(model, EarlyLayers(model, tuple(weak["layers"])), how)
    return Contrasted(model, Amateur(language.load(file.parent / weak["model"])), how)
