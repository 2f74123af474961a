"""A judge of rationales that is trained beside a student: an encoder, the largest state of each unit, two linear layers.

D(x, r) = sigmoid of the last layer (QCRD, arXiv 2405.13014, eq. 1 and figure 6). The encoder is a copy of the student's as it came:
of an encoder-decoder its encoder over question and rationale, of a causal model all its layers. B rows, L positions.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from counterpoint.models.language.encoder_decoder import EncoderDecoder
from counterpoint.models.language.language import Language
from counterpoint.models.tokens import Tokens, join


class RationaleJudge(nn.Module):
    """The judge.

    Args:
        model: what it starts from; copied.
        seed: of its two layers.
        width: of the layer between.

    >>> from counterpoint.models.language.characters import tiny
    >>> model = tiny(seed=0)
    >>> judge = RationaleJudge(model)
    >>> judge(*model.rows(["1+1=", "2+2="], ["so 2", "so 5"])).shape
    torch.Size([2])
    """

    def __init__(self, model: Language, *, seed: int = 0, width: int | None = None) -> None:
        super().__init__()
        self.body: Language = copy.deepcopy(model.merged())
        dimension = self.body.head.weight.shape[1]
        width = dimension if width is None else width
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layers = nn.Sequential(nn.Linear(dimension, width), nn.ReLU(), nn.Linear(width, 1))
        reader = self.body.base.get_encoder() if isinstance(self.body, EncoderDecoder) else self.body.backbone
        trained = {id(weight) for weight in reader.parameters()}
        for weight in self.body.parameters():
            weight.requires_grad_(id(weight) in trained)

    def forward(self, prompts: Tokens, rationales: Tokens) -> Tensor:
        """Scores before the sigmoid, [B].

        Args:
            prompts: [B, P] left-padded. rationales: [B, T] right-padded.
        """
        both = join(prompts, rationales)
        body = self.body
        if not len(both):
            return body.head.weight.new_zeros(0)
        reads = body.encoded if isinstance(body, EncoderDecoder) else body.forward
        states_BLD = reads(both.ids, both.mask)
        largest_BD = states_BLD.masked_fill(both.mask[..., None] == 0, -torch.inf).amax(1)
        return self.layers(largest_BD).squeeze(1)
