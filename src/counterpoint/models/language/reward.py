"""A reward model: a causal language model's states with one number read off each row's last token.

Saved, it is transformers' own sequence classifier with one label (``LlamaForSequenceClassification`` and its like), which TRL and others
open; that class reads the last token that is not the padding id, and so does this one. B rows, L positions, D width.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from counterpoint import library_bars
from counterpoint.conversation import Completion, Prompt
from counterpoint.errors import CounterpointError
from counterpoint.models import model_folders, passes, tokens
from counterpoint.models.language.adapters import Adapter
from counterpoint.models.language.language import Language, adapt
from counterpoint.models.language.rendering import render
from counterpoint.models.tokens import Tokens

ENDING = "ForSequenceClassification"


class RewardModel(nn.Module):
    """Rewards of prompts with answers.

    Args:
        language: whose states are read; its output layer is not used.
        score: [1, D], the linear layer without bias that reads them.

    Raises:
        CounterpointError: transformers has no sequence classifier for this architecture.

    >>> from counterpoint.models.language.characters import tiny
    >>> model = RewardModel.on(tiny(seed=0), seed=0)
    >>> model.rewards(["1+1=", "20+2="], ["2", "23"]).shape
    torch.Size([2])
    """

    def __init__(self, language: Language, score: nn.Linear) -> None:
        super().__init__()
        self.language, self.score = language, score

    @classmethod
    def on(cls, language: Language, seed: int = 0) -> RewardModel:
        """A fresh head on a language model, drawn as transformers draws it, from ``seed``."""
        _skeleton(language)
        width = language.head.weight.shape[1]
        score = nn.Linear(width, 1, bias=False)
        deviation = float(getattr(language.config.get_text_config(), "initializer_range", 0.02))
        drawn = torch.randn(1, width, generator=torch.Generator().manual_seed(seed)) * deviation
        with torch.no_grad():
            score.weight.copy_(drawn)
        return cls(language, score.to(language.device, language.head.weight.dtype))

    def adapt(self, rank: int, seed: int, adapter: Adapter) -> RewardModel:
        """With fresh adapters of a rank, 0 for none; the head is trained whole in any case."""
        return RewardModel(adapt(self.language, rank, seed, adapter), self.score)

    @property
    def tokenizer(self) -> Any:
        """The tokenizer."""
        return self.language.tokenizer

    @property
    def adapted(self) -> bool:
        """Whether LoRA adapters are on."""
        return self.language.adapted

    def forward(self, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """Rewards [B] of rows that are padded on the right."""
        if not len(ids_BL):  # a process without a row of a small last batch
            return self.score(self.score.weight.new_zeros(0, self.score.in_features))[:, 0]
        states_BLD = self.language(ids_BL, mask_BL)
        position_L = torch.arange(ids_BL.shape[1], device=ids_BL.device)
        last_B = (position_L * (ids_BL != self.language.pad_id) * mask_BL).amax(1)
        rows = torch.arange(len(ids_BL), device=ids_BL.device)
        return self.score(states_BLD[rows, last_B])[:, 0]

    def rows(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Tokens:
        """Prompts with their answers as ids, padded on the right, cut where a row passes the model's ``max_length``.

        Raises:
            CounterpointError: a row longer than the model's positions; messages that the chat template refuses.
        """
        rendered = render(self.tokenizer, list(zip(prompts, completions, strict=True)))
        ids = [row.ids[: self.language.max_length] for row in rendered]
        limit, longest = self.language.limit, max(map(len, ids), default=0)
        if limit is not None and longest > limit:
            raise CounterpointError(
                f"a prompt with its answer has {longest} tokens, and the reward model reads {limit}; shorten prompts "
                "(max_characters) or answers (max_new_tokens)"
            )
        return tokens.pad(ids, side="right", fill=self.language.pad_id).to(self.language.device)

    @torch.no_grad()
    def rewards(
        self, prompts: Sequence[Prompt], completions: Sequence[Completion], *, at_once: int = 32
    ) -> Tensor:
        """Rewards [N] in float64 of N answers, without gradient or dropout; rows of similar length go together."""
        training = self.training
        self.eval()
        try:
            lengths = [len(str(p)) + len(str(c)) for p, c in zip(prompts, completions, strict=True)]
            order = sorted(range(len(lengths)), key=lengths.__getitem__)
            result = torch.zeros(len(order), dtype=torch.float64)
            for part in map(list, passes.over(order, passes.at_once(at_once))):
                rows = self.rows([prompts[i] for i in part], [completions[i] for i in part])
                result[part] = self(rows.ids, rows.mask).double().cpu()
        finally:
            self.train(training)
        return result

    def save(self, folder: Path | str, *, adapter: bool = False) -> Path:
        """Write transformers' folder of the sequence classifier, with merged weights; it appears whole or not at all.

        Raises:
            CounterpointError: ``adapter=True``: the head beside the adapters would be lost.
        """
        if adapter:
            raise CounterpointError(
                "a reward model's adapters without its head are no model; save it with --save merged"
            )
        whole = self.language.merged()
        classifier = _skeleton(whole)
        setattr(classifier, classifier.base_model_prefix, whole.backbone)
        classifier.score = copy.deepcopy(self.score)
        setattr(classifier, model_folders.SOURCE, getattr(self.language.base, model_folders.SOURCE, None))
        return model_folders.write(folder, classifier, self.tokenizer)

    @classmethod
    def load(cls, folder: str | Path, **options: Any) -> RewardModel:
        """Open a folder of a sequence classifier with one label, from here, from TRL or from elsewhere.

        Args:
            folder: written by ``save_pretrained``. options: ``dtype``, ``attention`` and the rest of ``language.load``.

        Raises:
            CounterpointError: another class of model, or more labels than one.
        """
        import transformers

        library_bars.hide("transformers")
        content = model_folders.configuration(Path(folder))
        names = content.get("architectures") or []
        if not any(name.endswith(ENDING) for name in names):
            raise CounterpointError(
                f"{folder} holds {', '.join(names) or 'no named model'}, and a reward model is one that ends in {ENDING}; "
                "train one: counterpoint run reward --data pairs.jsonl --model FOLDER"
            )
        classifier: Any = transformers.AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=options.get("dtype") or torch.float32, local_files_only=True
        )
        if classifier.config.num_labels != 1:
            raise CounterpointError(
                f"{folder} has {classifier.config.num_labels} labels; a reward model has one"
            )
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        causal = transformers.AutoModelForCausalLM.from_config(classifier.config)
        setattr(causal, causal.base_model_prefix, classifier.base_model)
        causal.tie_weights()
        setattr(causal, model_folders.SOURCE, transformers.AutoConfig.from_pretrained(folder).dtype)
        return cls(Language(causal, tokenizer), classifier.score)


def is_reward_folder(spec: str | Path) -> bool:
    """Whether a folder's configuration names a sequence classifier."""
    file = Path(spec) / "config.json"
    if not file.is_file():
        return False
    names = json.loads(file.read_text(encoding="utf-8")).get("architectures") or ()
    return any(str(name).endswith(ENDING) for name in names)


def _skeleton(language: Language) -> Any:
    """The sequence classifier of a model's architecture, without weights."""
    import transformers

    config = copy.deepcopy(language.config)
    config.num_labels, config.pad_token_id = 1, language.pad_id
    try:
        with torch.device("meta"):
            classifier = transformers.AutoModelForSequenceClassification.from_config(config)
    except ValueError:
        classifier = None
    reads = classifier is not None and isinstance(getattr(classifier, "score", None), nn.Linear)
    if not reads or language.runs.whole or classifier.score.bias is not None:
        raise CounterpointError(
            f"transformers has no sequence classifier that reads the last token of a {type(language.base).__name__}; take a model "
            "of another family, for example a Llama, Qwen, Mistral or GPT-2"
        )
    return classifier
