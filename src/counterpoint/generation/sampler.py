"""Sampling from the model itself, batched, with a key/value cache.

Every token is drawn by inverting the cumulative distribution at a uniform number that belongs to its row and its
position. So a row's completion depends on its own prompt and its own numbers only: not on who else is in the batch,
nor on how many processes share it. B rows, P prompt positions, T completion positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from counterpoint.errors import CounterpointError
from counterpoint.kernels.evaluating import evaluating
from counterpoint.kernels.prefix.cache_names import select_rows
from counterpoint.models import passes, sharding, tokens
from counterpoint.models.language.language import Language
from counterpoint.models.language.prompt_groups import groups
from counterpoint.models.tokens import Tokens


@dataclass(frozen=True)
class Sampled(Tokens):
    """Completions, right-padded, together with what the sampler knew.

    Attributes:
        ids: [B, T], the end token included where it was reached.
        mask: [B, T].
        log_probs: [B, T], log-probability of each token at the sampling temperature, before top-k and top-p; 0 on padding.
        ended: [B] bool, False where ``max_new_tokens`` cut the completion.
    """

    log_probs: Tensor
    ended: Tensor

    def __getitem__(self, rows: Tensor | slice) -> Sampled:
        return Sampled(self.ids[rows], self.mask[rows], self.log_probs[rows], self.ended[rows])


@dataclass(frozen=True)
class Sampler:
    """How to sample; call it with a model and prompts.

    Attributes:
        max_new_tokens: longest completion T.
        temperature: divides the logits; 0 is greedy.
        top_p: keep the smallest set of tokens that holds this much probability; 1 keeps all.
        top_k: keep this many tokens; 0 keeps all.
        stop: texts that end a completion, which keeps them, as the model's end tokens do.

    >>> from counterpoint.models.language.characters import tiny
    >>> model = tiny(seed=0)
    >>> sampler = Sampler(max_new_tokens=5)
    >>> draws = row_draws(seed=0, rows=range(3), width=5)
    >>> together = sampler(model, model.prompts(["1+1=", "2+2=", "15+15="]), draws)
    >>> alone = sampler(model, model.prompts(["15+15="]), draws[2:])
    >>> together[2:].rows() == alone.rows()
    True
    """

    max_new_tokens: int = 64
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if "" in self.stop:
            raise CounterpointError(
                "stop holds an empty text, which would end every completion; leave it out"
            )
        if self.max_new_tokens < 1 or self.temperature < 0 or not 0 < self.top_p <= 1 or self.top_k < 0:
            raise CounterpointError(
                f"{self}: needs max_new_tokens >= 1, temperature >= 0 (0 is greedy), 0 < top_p <= 1, top_k >= 0"
            )

    @property
    def greedy(self) -> bool:
        """Whether it takes the likeliest token and draws nothing."""
        return self.temperature == 0

    @torch.no_grad()
    def __call__(
        self, model: Language, prompts: Tokens, draws: Tensor | torch.Generator | None = None
    ) -> Sampled:
        """Complete the prompts, as many at once as ``models.passes`` allows; dropout is off while it does.

        Args:
            model: the language model, wherever it is.
            prompts: left-padded, [B, P].
            draws: [B, max_new_tokens] uniform numbers in [0, 1), one per row and position (``batch.random.uniform``
                gives them the same on any number of processes), or a generator to draw them from. Not for greedy.

        Returns:
            Completions on the model's device; T is the longest one's length.
        """
        rows, device = len(prompts), model.device
        draws_BT = self._draws(draws, rows)
        if model.limit is not None and prompts.width + self.max_new_tokens > model.limit:
            raise CounterpointError(
                f"prompts of {prompts.width} tokens and {self.max_new_tokens} new ones pass the model's "
                f"{model.limit} positions; lower max_new_tokens to {max(model.limit - prompts.width, 0)}"
            )
        draws_BT = draws_BT.to(device)
        parts = self._parts(prompts)
        with sharding.whole(model):
            if len(parts) == 1:
                return self._complete(model, prompts, draws_BT)
            done = [self._complete(model, tokens.trim(prompts[part]), draws_BT[part]) for part in parts]
        joined = tokens.stack(done, side="right", fill=model.pad_id)
        log_probs_BT = torch.cat([pad(each.log_probs, (0, joined.width - each.width)) for each in done])
        return Sampled(joined.ids, joined.mask, log_probs_BT, torch.cat([each.ended for each in done]))

    def _parts(self, prompts: Tokens) -> list[slice]:
        """Which rows are completed together."""
        limit, rows = passes.token_limit(), len(prompts)
        if limit is not None:
            return passes.within([length + self.max_new_tokens for length in prompts.lengths.tolist()], limit)
        if rows <= passes.at_once(rows):
            return [slice(0, rows)]
        return [slice(part[0], part[-1] + 1) for part in passes.over(range(rows), rows, announce=False)]

    def _complete(self, model: Language, prompts: Tokens, draws_BT: Tensor) -> Sampled:
        rows, device = len(prompts), model.device
        stops = torch.tensor(model.stops, device=device)
        ids_BT = torch.full((rows, self.max_new_tokens), model.pad_id, device=device)
        mask_BT = torch.zeros_like(ids_BT)
        log_probs_BT = torch.zeros(ids_BT.shape, device=device)
        ended_B = torch.zeros(rows, dtype=torch.bool, device=device)
        alive = torch.arange(rows, device=device)  # rows still in the cache
        mask, new, cache, longest = prompts.mask.to(device), prompts.ids.to(device), None, 0
        with evaluating(model):
            shared = groups(model, prompts.to(device))
            for step in range(self.max_new_tokens if rows else 0):
                if step == 0 and shared is not None:  # a prompt that is answered several times is read once
                    logits, cache = model.decode(new[shared.first], mask[shared.first], cache)
                    cache.batch_select_indices(shared.owner)
                    logits = logits[shared.owner]
                else:
                    logits, cache = model.decode(new, mask, cache)
                token, log_prob = self._pick(logits.float(), draws_BT[alive, step])
                going = ~ended_B[alive]
                where = alive[going]
                ids_BT[where, step], mask_BT[where, step] = token[going], 1
                log_probs_BT[where, step] = log_prob[going]
                ended_B[where] = torch.isin(token[going], stops)
                if self.stop:
                    ended_B[where] |= self._stopped(model, ids_BT[where, : step + 1])
                longest = step + 1
                going = ~ended_B[alive]
                left = int(going.sum())
                if left == 0:
                    break
                keep = going.nonzero().squeeze(1)  # finished rows leave the cache once they are half of it
                if left <= alive.numel() // 2 and select_rows(cache, keep):
                    alive, mask, token = alive[keep], mask[keep], token[keep]
                new = token[:, None]
                mask = torch.cat([mask, torch.ones_like(new)], 1)
        return Sampled(ids_BT[:, :longest], mask_BT[:, :longest], log_probs_BT[:, :longest], ended_B)

    def _draws(self, draws: Tensor | torch.Generator | None, rows: int) -> Tensor:
        shape = (rows, self.max_new_tokens)
        if self.greedy:
            return torch.zeros(shape)
        if isinstance(draws, torch.Generator):
            return torch.rand(shape, generator=draws, device=draws.device)
        if draws is None or draws.shape != shape:
            given = "none" if draws is None else str(tuple(draws.shape))
            raise CounterpointError(
                f"sampling at temperature {self.temperature} needs uniform numbers of shape {shape}, got {given}; "
                "pass draws=batch.random.uniform(max_new_tokens), or a torch.Generator"
            )
        return draws

    def _stopped(self, model: Language, ids_BT: Tensor) -> Tensor:
        """[B] whether a stop text is in the last tokens; each is a byte or more, but for those that say nothing."""
        window = max(len(each.encode()) for each in self.stop) + 8
        texts = model.tokenizer.batch_decode(ids_BT[:, -window:].tolist(), skip_special_tokens=True)
        ended = [any(each in text for each in self.stop) for text in texts]
        return torch.tensor(ended, dtype=torch.bool, device=ids_BT.device)

    def _pick(self, logits_BV: Tensor, draws_B: Tensor) -> tuple[Tensor, Tensor]:
        log_probs_BV = (logits_BV if self.greedy else logits_BV / self.temperature).log_softmax(-1)
        if self.greedy:
            token_B = log_probs_BV.argmax(-1)
        else:
            token_B = invert(log_probs_BV, draws_B, top_p=self.top_p, top_k=self.top_k)
        return token_B, log_probs_BV.gather(1, token_B[:, None]).squeeze(1)


def invert(log_probs_BV: Tensor, draws_B: Tensor, *, top_p: float = 1.0, top_k: int = 0) -> Tensor:
    """Return for each row the token at which the cumulative distribution passes the row's uniform number: [B].

    >>> p = torch.tensor([[0.5, 0.25, 0.25]]).log().expand(3, 3)
    >>> invert(p, torch.tensor([0.1, 0.6, 0.99])).tolist()
    [0, 1, 2]
    >>> invert(p, torch.tensor([0.1, 0.6, 0.99]), top_k=1).tolist()
    [0, 0, 0]
    """
    order_BV = None
    truncated = top_p < 1 or 0 < top_k < log_probs_BV.shape[1]
    if truncated:
        log_probs_BV, order_BV = log_probs_BV.sort(dim=-1, descending=True, stable=True)
    weights_BV = log_probs_BV.double().exp()
    if 0 < top_k < weights_BV.shape[1]:
        weights_BV[:, top_k:] = 0
    if top_p < 1:
        weights_BV = weights_BV / weights_BV.sum(-1, keepdim=True)
        before_BV = weights_BV.cumsum(-1) - weights_BV
        weights_BV = weights_BV.masked_fill(before_BV >= top_p, 0)
    total_BV = weights_BV.cumsum(-1)
    target_B1 = draws_B.double().clamp(0, 1 - 1e-12)[:, None] * total_BV[:, -1:]
    index_B1 = torch.searchsorted(total_BV, target_B1, right=True).clamp(max=total_BV.shape[1] - 1)
    return (index_B1 if order_BV is None else order_BV.gather(1, index_B1)).squeeze(1)


def row_draws(seed: int, rows: Sequence[int] | Tensor, width: int) -> Tensor:
    """Uniform numbers [len(rows), width] that depend on the seed and each row's own number only.

    For sampling outside a training batch: any split of the rows gives the same numbers.

    >>> bool((row_draws(0, [3, 5], 4)[1] == row_draws(0, [5], 4)[0]).all())
    True
    """
    numbers = rows.tolist() if isinstance(rows, Tensor) else list(rows)
    out = torch.empty(len(numbers), width)
    for row, number in enumerate(numbers):
        mixed = (seed * 0x9E3779B97F4A7C15 + number * 0xBF58476D1CE4E5B9 + 1) % (1 << 63)
        out[row] = torch.rand(width, generator=torch.Generator().manual_seed(mixed))
    return out
