"""Beam search over an intent decoder: the likeliest intents and transcripts, without chance.

A beam is scored by the sum of its log-probabilities, and an ended beam keeps its place. N clips, F frames, B beams, V tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from counterpoint.data.audio.load import Clips
from counterpoint.errors import CounterpointError
from counterpoint.models.audio.lexicon import END, PAD, START
from counterpoint.models.audio.understanding import IntentDecoder, Understanding


@torch.no_grad()
def beam_search(
    decoder: IntentDecoder,
    pooled: Tensor,
    states: Tensor,
    mask: Tensor,
    *,
    beams: int = 4,
    limit: int = 32,
) -> list[list[int]]:
    """The best sequence of each clip, ``intent, words..., end``; the first token is always an intent.

    Args:
        decoder: in evaluation mode.
        pooled: [N, D]. states: [N, F, D]. mask: [N, F].
        beams: B; 1 is greedy.
        limit: longest sequence; where it is reached the sequence ends without an end.

    Returns:
        N lists of ids.

    Raises:
        CounterpointError: no beam, or a limit below 1.
    """
    if beams < 1 or limit < 1:
        raise CounterpointError(f"beams={beams}, limit={limit}; expected at least 1 each")
    num, lexicon = len(pooled), decoder.lexicon
    if not num:
        return []
    memory, last = decoder.first(pooled), torch.full((num,), START, device=pooled.device)
    log_p, memory = decoder.step(memory, last, states, mask)
    intents = slice(lexicon.first_intent, lexicon.first_word)
    score, best = log_p[:, intents].topk(min(beams, len(lexicon.intents)), 1)
    starts = score.shape[1]
    ids = (best + lexicon.first_intent)[..., None]  # [N, B, length]
    memory = memory[:, None].expand(-1, starts, -1)
    rows = torch.arange(num, device=pooled.device)[:, None]
    for _ in range(limit - 1):
        ended = (ids == END).any(-1)
        if ended.all():
            break
        width = ids.shape[1]
        log_p, updated = decoder.step(
            memory.flatten(0, 1),
            ids[..., -1].flatten(),
            states.repeat_interleave(width, 0),
            mask.repeat_interleave(width, 0),
        )
        log_p = log_p.unflatten(0, (num, width)).masked_fill(ended[..., None], -torch.inf)
        # An ended beam has one way to go on, at no cost, so that it competes with those still speaking.
        log_p[..., PAD] = torch.where(ended, 0.0, -torch.inf)
        total = (score[..., None] + log_p).flatten(1)
        score, flat_index = total.topk(min(beams, total.shape[1]), 1)
        beam, token = flat_index // log_p.shape[-1], flat_index % log_p.shape[-1]
        ids = torch.cat([ids[rows, beam], token[..., None]], -1)
        memory = updated.unflatten(0, (num, width))[rows, beam]
    chosen = ids[rows[:, 0], score.argmax(1)].tolist()
    return [row[: row.index(END) + 1] if END in row else [i for i in row if i != PAD] for row in chosen]


@torch.no_grad()
def own_words(
    model: Understanding, clips: Clips, rows: Sequence[int], *, beams: int, limit: int
) -> list[list[int]]:
    """What a model with a decoder, in evaluation mode, says of some of the clips: ids as of ``beam_search``."""
    batch = clips[torch.tensor(rows)].to(next(model.parameters()).device)
    states = model.hidden_states(batch.waves, batch.lengths)
    return beam_search(cast(IntentDecoder, model.head), *states, beams=beams, limit=limit)
