"""A causal language model as a text encoder: the mean of its last states over a text, and over what it wrote about it.

The folder is the language model's own, with two more statements: ``embedding.json`` holds how texts are shown to it, and the files of
sentence-transformers make the folder open there, too (which pools the text alone and writes nothing). B rows, L positions, D width.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from counterpoint.errors import CounterpointError
from counterpoint.models import sharding
from counterpoint.models.language import language
from counterpoint.models.language.language import Language
from counterpoint.models.model_folders import state
from counterpoint.models.tokens import Tokens, join

FILE = "embedding.json"
INSTRUCTION = "Read the text, think about what it says and what it is about, and then write down a comprehensive understanding of it.\n\n{text}"
"""What a text is shown with; what stands before {text} is not pooled."""


@dataclass
class Shown:
    """How texts become vectors.

    Attributes:
        template: with {text}. rationale: tokens that the model may write about a text before it is pooled; 0 writes nothing.
        longest: words of a text that are shown.
    """

    template: str = INSTRUCTION
    rationale: int = 0
    longest: int = 256


def pooled(hidden_BLD: Tensor, mask_BL: Tensor, skip: int = 0) -> Tensor:
    """Return [B, D], the mean of the states of the counted positions, of length one.

    Args:
        hidden_BLD: states. mask_BL: 0 on padding, on either side.
        skip: as many of a row's first tokens are left out (what stands before the text in every prompt); of a row that has no
            more than these, none.

    >>> import torch
    >>> pooled(torch.tensor([[[9.0, 9.0], [3.0, 0.0], [0.0, 4.0]]]), torch.ones(1, 3), skip=1)
    tensor([[0.6000, 0.8000]])
    """
    counted_BL = mask_BL.bool()
    number_BL = counted_BL.long().cumsum(1)
    longer_B1 = number_BL[:, -1:] > skip
    inside_BL = counted_BL & ((number_BL > skip) | ~longer_B1)
    weight_BL1 = inside_BL.to(hidden_BLD.dtype)[..., None]
    sums_BD = (hidden_BLD.masked_fill(~inside_BL[..., None], 0.0)).sum(1)
    return functional.normalize(sums_BD / weight_BL1.sum(1).clamp(min=1), dim=-1)


class Embedder(nn.Module):
    """The encoder.

    Args:
        model: a causal language model. shown: how texts are shown to it.

    Raises:
        CounterpointError: a template without {text}.

    >>> from counterpoint.models.language.characters import tiny
    >>> encoder = Embedder(tiny(seed=0), Shown(template="{text}"))
    >>> encoder.pool(encoder.prompts(["some text", "more"])).norm(dim=-1).round(decimals=6).tolist()
    [1.0, 1.0]
    """

    def __init__(self, model: Language, shown: Shown | None = None) -> None:
        super().__init__()
        self.language = model
        self.shown = Shown() if shown is None else shown
        if "{text}" not in self.shown.template:
            raise CounterpointError(
                f"template={self.shown.template!r} has no field {{text}}, where the text to embed is to stand"
            )

    @property
    def device(self) -> Any:
        """Where the weights are."""
        return self.language.device

    def questions(self, texts: Sequence[str]) -> list[str]:
        """Texts as they are shown: what the model writes a rationale to."""
        cut = (" ".join(text.split()[: self.shown.longest]) for text in texts)
        return [self.shown.template.replace("{text}", text) for text in cut]

    def prompts(self, texts: Sequence[str]) -> Tokens:
        """[B, L] left-padded tokens of texts as they are shown."""
        return self.language.prompts(self.questions(texts))

    def skipped(self) -> int:
        """How many first tokens every prompt shares: those before the text, which are not pooled."""
        one, other = (
            self.language.prompts([self.shown.template.replace("{text}", text)]) for text in ("a", "1")
        )
        count = 0
        for left, right in zip(one.ids[0].tolist(), other.ids[0].tolist()):
            if left != right:
                break
            count += 1
        return count

    def pool(
        self, prompts: Tokens, rationales: Tokens | None = None, forward: Callable[..., Any] | None = None
    ) -> Tensor:
        """Return [B, D], the pooled last states of prompts and what follows them, of length one.

        Args:
            prompts: [B, P] left-padded. rationales: [B, T] right-padded. forward: how to call the model, ``run.forward`` in training.
        """
        both = prompts if rationales is None else join(prompts, rationales)
        if not len(both) and not sharding.apart(self.language):
            # With a gradient, of nothing: every process takes part in its gathering.
            return self.language.head.weight[:0]
        call = forward or (lambda model, *given: model(*given))
        return pooled(call(self.language, both.ids, both.mask), both.mask, self.skipped())

    def save_pretrained(self, folder: Path | str) -> None:
        """Write the language model's folder, how texts are shown, and what sentence-transformers reads."""
        path = Path(folder)
        self.language.save(path)
        (path / FILE).write_text(json.dumps(asdict(self.shown), indent=1) + "\n", encoding="utf-8")
        state(path, self)
        for name, content in self._for_sentence_transformers().items():
            (path / name).parent.mkdir(exist_ok=True)
            (path / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def _for_sentence_transformers(self) -> dict[str, Any]:
        before = self.shown.template.partition("{text}")[0]
        tokenizer = self.language.tokenizer
        if getattr(tokenizer, "chat_template", None):
            turn = [{"role": "user", "content": before + os.sep * 3}]
            written = str(tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=False))
            before = written.partition(os.sep * 3)[0]
        kinds = ("Transformer", "Pooling", "Normalize")
        return {
            "modules.json": [
                {
                    "idx": at,
                    "name": str(at),
                    "path": f"{at}_{kind}" if at else "",
                    "type": f"sentence_transformers.models.{kind}",
                }
                for at, kind in enumerate(kinds)
            ],
            "sentence_bert_config.json": {"max_seq_length": self.language.limit, "do_lower_case": False},
            "1_Pooling/config.json": {
                "word_embedding_dimension": self.language.head.weight.shape[1],
                "pooling_mode_mean_tokens": True,
                "pooling_mode_cls_token": False,
                "include_prompt": False,
            },
            "2_Normalize/config.json": {},
            "config_sentence_transformers.json": {
                "prompts": {"text": before},
                "default_prompt_name": "text" if before else None,
                "similarity_fn_name": "cosine",
            },
        }


def load(folder: str | Path, **options: Any) -> Embedder:
    """Open a folder that ``save_pretrained`` wrote, or any causal language model's, or a bundled name.

    Raises:
        CounterpointError: no causal model there, or an embedding.json that does not say how texts are shown.
    """
    file = Path(folder) / FILE
    shown = Shown()
    if file.is_file():
        try:
            shown = Shown(**json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise CounterpointError(
                f"{file} does not say how texts are shown ({error}); copy the folder again"
            ) from None
    return Embedder(language.load(folder, **options), shown)
