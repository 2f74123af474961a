"""What becomes of every causal and image-text class of transformers, measured on tiny random models.

Run as a script it writes ``docs/architectures.md``: ``python tests/architecture_verdicts.py`` (about five minutes).
"""

from __future__ import annotations

import logging
import signal
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch
import transformers

from counterpoint.errors import CounterpointError
from counterpoint.generation.sampler import Sampler
from counterpoint.models.language.language import Language
from counterpoint.models.language.likelihood import completion_log_probs
from tiny_models import architectures, tiny, tokenizer

PAGE = Path(__file__).parents[1] / "docs" / "architectures.md"
LIMIT = 60
"""Seconds for one class."""
UNBUILT: dict[str, str] = {
    "ChameleonForConditionalGeneration": "its default configuration has no map of image tokens",
    "CohereCompassForCausalLM": "its default configuration has no rotary parameters for full attention",
    "CohereCompassForConditionalGeneration": "its default configuration has no rotary parameters for full attention",
    "DbrxForCausalLM": "its default configuration has no rope_theta for the attention",
    "DeepseekOcr2ForConditionalGeneration": "its default configuration leaves a list out",
    "DiffusionGemmaForBlockDiffusion": "its default configuration leaves a size out",
    "Dots1ForCausalLM": "its default configuration leaves the number of routed experts out",
    "Dots3NoteForCausalLM": "its configuration has head sizes layer by layer, which the rule cannot shrink",
    "Dots3NoteForConditionalGeneration": "its configuration has head sizes layer by layer, which the rule cannot shrink",
    "Emu3ForConditionalGeneration": "its default configuration has no map of image tokens",
    "Ernie4_5_VLMoeForConditionalGeneration": "its default configuration gives a list of experts that is empty when shrunk",
    "FastVlmForConditionalGeneration": "needs timm",
    "Gemma3nForConditionalGeneration": "needs timm",
    "Gemma4AssistantForCausalLM": "the configuration refuses its own default of per-layer inputs",
    "Gemma4UnifiedAssistantForCausalLM": "layers that share keys and values need more layers than two",
    "Granite4VisionForConditionalGeneration": "its default configuration leaves a list out",
    "PerceptionLMForConditionalGeneration": "needs timm",
    "Qwen4ExpForCausalLM": "its default configuration leaves sizes out",
    "Qwen4ExpForConditionalGeneration": "its default configuration leaves sizes out",
    "ReformerModelWithLMHead": "its axial positions factor the full width",
    "ZambaForCausalLM": "its tied weights need more layers than two",
}
"""Classes that no tiny configuration builds, and why."""


class TooSlow(Exception):
    """A class took longer than the limit."""


@dataclass(frozen=True)
class Verdict:
    """What was measured of one class: right, plain path, refused, wrong, not built or too slow; and how or why."""

    word: str
    detail: str = ""


@torch.no_grad()
def compare(model: Language) -> None:
    """Log-probabilities and greedy samples of two unequal rows against the model's own logits, row by row."""
    prompts, completions = model.prompts(["12+3=", "4+5+6+7="]), model.completions(["15", "no: 22"])
    model.eval()
    ours = completion_log_probs(model, prompts, completions)
    greedy = Sampler(max_new_tokens=6, temperature=0)(model, prompts).rows()
    for row, (prompt, completion) in enumerate(zip(prompts.rows(), completions.rows(), strict=True)):
        ids = torch.tensor([prompt + completion])
        own = model.base(input_ids=ids, use_cache=False).logits[0].float().log_softmax(-1)
        expected = own[len(prompt) - 1 : -1].gather(1, torch.tensor(completion)[:, None]).squeeze(1)
        torch.testing.assert_close(ours[row, : len(completion)], expected, rtol=2e-3, atol=2e-3)
        read = list(prompt)
        for token in greedy[row]:
            last = model.base(input_ids=torch.tensor([read]), use_cache=False).logits[0, -1].float()
            assert float(last[token]) >= float(last.max()) - 2e-3 * float(last.abs().max())
            read.append(token)


def verdict(name: str, limit: int = LIMIT) -> Verdict:
    """Build a class, try it, and compare its scores and samples with its own logits."""
    kind, model_type = architectures()[name]
    try:
        with _within(limit):
            try:
                causal = tiny(name, kind, model_type)
            except TooSlow:
                raise
            except Exception as error:  # whatever a constructor of another's making raises
                return Verdict("not built", _line(error))
            try:
                model = Language(causal, tokenizer())
            except CounterpointError as error:
                return Verdict("refused", _line(error, name=False))
            try:
                compare(model)
            except Exception as error:  # unequal, or whatever a forward of another's making raises
                if isinstance(error, TooSlow):
                    raise
                return Verdict("wrong", _line(error))
    except TooSlow:
        return Verdict("too slow", f"more than {limit} s as a tiny model")
    given_up = "; ".join(model.runs.given_up())
    return Verdict("right" if model.runs.fast else "plain path", given_up)


def _line(error: BaseException, name: bool = True) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if name else text


@contextmanager
def _within(seconds: int) -> Iterator[None]:
    def over(number: int, frame: FrameType | None) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def written() -> dict[str, str]:
    """Class name -> verdict, as the page has them."""
    rows = (line.split("|") for line in PAGE.read_text().splitlines() if line.startswith("| `"))
    return {row[1].strip().strip("`"): row[3].strip() for row in rows}


def page(found: dict[str, Verdict]) -> str:
    """The page in Markdown."""
    counts = Counter(each.word for each in found.values())
    total = ", ".join(f"{number} {word}" for word, number in counts.most_common())
    lines = [
        "# Which language models score right",
        "",
        f"Every causal and image-text class of transformers {transformers.__version__}, as a tiny random model on text alone: "
        "per-token",
        "log-probabilities of padded rows and greedy samples are compared with the model's own `model(...).logits`, row by row",
        "without padding. Written by `python tests/architecture_verdicts.py`; the slow tests measure it again.",
        "Classes of encoders (BERT and its like) are built with `is_decoder=True`; without it they are refused.",
        "",
        "- *right*: by the usual way, hidden states and output layer.",
        "- *plain path*: right, but slower; how is stated here, and by a warning when such a model is loaded.",
        "- *refused*: loading it ends in one line, the one given here. It may be this tiny configuration that does not run.",
        "- *not built*: no tiny configuration builds it here, so nothing is known; it is tried when it is loaded, like all.",
        f"- *too slow*: not measured within {LIMIT} s.",
        "",
        f"{len(found)} classes: {total}.",
        "",
        "| class | kind | scores | how or why |",
        "|---|---|---|---|",
    ]
    for name, each in sorted(found.items()):
        detail = f"{UNBUILT.get(name, '')} ({each.detail[:120]})" if each.word == "not built" else each.detail
        detail = detail.removeprefix(f"{name}: ").removeprefix(f"{name} ").split("; give a")[0]
        detail = detail.replace("|", "\\|").replace("<", "\\<")
        lines.append(f"| `{name}` | {architectures()[name][0]} | {each.word} | {detail[:240]} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure every class and write the page."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    found = {}
    for name in architectures():
        start = time.perf_counter()
        found[name] = verdict(name)
        line = f"{found[name].word:10} {name} {time.perf_counter() - start:.1f} s {found[name].detail}"
        print(line, flush=True)
    PAGE.write_text(page(found))


if __name__ == "__main__":
    main()
