"""Ordinary model folders: transformers' own, PEFT's adapters on one, bundled names, and the reference models'.

Nothing here is a private format.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import nn

from counterpoint import library_bars
from counterpoint.errors import CounterpointError, MissingExtra
from counterpoint.models import deferred, deferred_folder
from counterpoint.models.file_modes import give_ordinary_modes

SOURCE = "_source_dtype"
"""Attribute of an opened model: the type of the numbers in its folder."""
STATEMENT = "counterpoint"
"""The key of config.json under which a folder says what opens it, ``KIND/CLASS``."""


READING = "reading.json"
"""Beside a run's weights: ``kind``, which opens a folder that states nothing, and how the run's data were read where the weights do
not say it (``shape`` of images, ``seconds`` of clips)."""


def statement(model: nn.Module) -> dict[str, str]:
    """What the folder of a whole model of this package states; nothing of a person's own class."""
    home, kind, *_ = type(model).__module__.removeprefix("counterpoint.").split(".")
    return {STATEMENT: f"{kind.replace('_', '-')}/{type(model).__name__}"} if home == "models" else {}


def state(folder: str | Path, model: nn.Module | None) -> None:
    """Put the statement of a model of several parts in place of its encoder's; None takes it away."""
    content = configuration(Path(folder))
    content.pop(STATEMENT, None)
    content |= {} if model is None else statement(model)
    if content:
        text = json.dumps(content, indent=2, sort_keys=True) + "\n"
        (Path(folder) / "config.json").write_text(text, encoding="utf-8")


def configuration(folder: Path) -> dict[str, Any]:
    """The content of a folder's config.json; empty without one.

    Raises:
        CounterpointError: a file that is no JSON object.
    """
    file = folder / "config.json"
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CounterpointError(f"{file} cannot be read ({error}); copy the model's folder again") from None
    if not isinstance(content, dict):
        raise CounterpointError(f"{file} holds no object; copy the model's folder again")
    return content


def reading(folder: Path) -> dict[str, Any]:
    """What the run wrote of its data beside the model; {} where it wrote nothing.

    Raises:
        CounterpointError: a file that cannot be read.
    """
    file = folder / READING
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CounterpointError(f"{file} cannot be read ({error}); copy the model's folder again") from None
    return content if isinstance(content, dict) else {}


class Saved(nn.Module, PyTorchModelHubMixin):
    """A module whose ordinary folder also says which architecture it is, so that a folder alone can be opened.

    Attributes:
        whole: whether such a folder is a model, or a part of one.
    """

    whole: ClassVar[bool] = True

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:  # type: ignore[override]
        """Write model.safetensors, config.json and a model card."""
        described = {"architecture": type(self).__name__, **(self._hub_mixin_config or {})}  # type: ignore[dict-item]
        described |= statement(self) if self.whole else {}
        return super().save_pretrained(save_directory, **{"config": described, **options})


def find(spec: str | Path) -> Path:
    """Return the folder of a model: the path itself, a bundled model's, or that of a name ``org/name[@revision]`` on the hub."""
    folder = Path(spec)
    if folder.is_dir():
        return folder
    from counterpoint import bundled
    from counterpoint.bundled import hub

    if len(folder.parts) > 1 and hub.HubName.of(str(spec)) is None:
        raise CounterpointError(
            f"there is no folder {spec}; expected that of a model, or of a run that has ended"
        )
    return hub.model(str(spec)) or bundled.path(str(spec))


def has_encoder(spec: str | Path) -> bool:
    """Whether a folder holds an encoder-decoder; a bundled name's folder, too. False where its configuration says nothing."""
    file = find(spec) / "config.json"
    return file.exists() and bool(json.loads(file.read_text(encoding="utf-8")).get("is_encoder_decoder"))


def read(
    spec: str | Path,
    dtype: torch.dtype | None = None,
    *,
    attention: str | None = None,
    quantization: str | None = None,
) -> tuple[Any, Any]:
    """Return (model, tokenizer) of a folder or a bundled name, causal or encoder-decoder; adapters come back on their base.

    Args:
        spec: a folder or a bundled name. dtype: of the weights in memory; float32 when None.
        attention, quantization: as of ``models.language.language.load``.

    Raises:
        CounterpointError: neither a folder nor a bundled name; a folder without a causal model; adapters without a base.
        MissingExtra: transformers or PEFT is not installed.
    """
    try:
        import transformers
    except ImportError:
        raise MissingExtra("transformers", "language") from None
    library_bars.hide("transformers")
    folder = find(spec)
    where, adapter = folder, folder / "adapter_config.json"
    if adapter.exists():
        base = json.loads(adapter.read_text(encoding="utf-8")).get("base_model_name_or_path")
        if not base:
            raise CounterpointError(
                f"the adapter in {folder} does not say which model it stands on (base_model_name_or_path in adapter_config.json is empty); "
                "write that model's folder there, or take the merged model"
            )
        where = Path(base)
        if not where.is_dir():
            from counterpoint.bundled import hub

            where = hub.model(str(where)) or where
        if not where.is_dir():
            raise CounterpointError(
                f"the adapter in {folder} stands on {where}, which is not there; save it merged"
            )
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        config = transformers.AutoConfig.from_pretrained(where, local_files_only=True)
        named = config.architectures or []
        if named and all(name.endswith("ForSequenceClassification") for name in named):
            raise ValueError(f"it holds {named[0]}, which writes nothing; as a judge it is scored:{folder}")
        own, reads = config.dtype, config.is_encoder_decoder
        kind: Any = transformers.AutoModelForSeq2SeqLM if reads else transformers.AutoModelForCausalLM
        if (
            not reads
            and type(config) not in transformers.MODEL_FOR_CAUSAL_LM_MAPPING
            and type(config) in transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
        ):
            kind = transformers.AutoModelForImageTextToText
        given = {} if attention is None else {"attn_implementation": attention}
        causal: Any = None
        if deferred.is_wanted() and quantization is None and kind is transformers.AutoModelForCausalLM:
            causal = deferred.empty(kind, where, config, dtype or torch.float32, **given)
        if causal is None:
            causal = kind.from_pretrained(
                where,
                dtype=dtype or torch.float32,
                local_files_only=True,
                **given,
                **({} if quantization is None else quantized(quantization)),
            )
    except ImportError as error:
        first = str(error).strip().splitlines()[0]
        raise CounterpointError(
            f"attention={attention}: {first}; leave it out, or give attention=sdpa"
        ) from None
    except (OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        if attention is not None and attention in str(error):
            raise CounterpointError(
                f"attention={attention}: {first}; leave it out, or give attention=eager"
            ) from None
        raise CounterpointError(
            f"{folder} holds no causal language model that transformers can load: {first}"
        ) from None
    if adapter.exists():
        try:
            import peft
        except ImportError:
            raise MissingExtra("peft", "language") from None
        setattr(causal, SOURCE, own)
        with deferred.stand_ins(causal):
            causal = peft.PeftModel.from_pretrained(causal, str(folder), is_trainable=True)
    else:
        setattr(causal, SOURCE, own)
    return causal, tokenizer


def processor(spec: str | Path) -> Any | None:
    """The processor of a vision-language model's folder; None where there is none.

    Raises:
        CounterpointError: one that cannot be opened here, with the reason.
    """
    folder = find(spec)
    if not any((folder / name).exists() for name in ("processor_config.json", "preprocessor_config.json")):
        return None
    import transformers

    try:
        return transformers.AutoProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, ImportError) as error:
        first = str(error).strip().splitlines()[0].split(". ")[0].rstrip(".")
        raise CounterpointError(
            f"{folder} has a processor, for pictures, which cannot be opened: {first}; install what it asks for, or take its processor files "
            "out of the folder to train on text alone"
        ) from None


def quantized(bits: str) -> dict[str, Any]:
    """What ``from_pretrained`` is given for an 8- or 4-bit base.

    Raises:
        CounterpointError: no GPU, or no bitsandbytes.
    """
    if not torch.cuda.is_available():
        raise CounterpointError(
            f"quantization={bits} needs an NVIDIA GPU, and there is none; leave it out, or give dtype=bf16"
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise CounterpointError(f"quantization={bits} needs bitsandbytes: pip install bitsandbytes")
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_8bit=bits == "8bit",
        load_in_4bit=bits == "4bit",
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return {"quantization_config": config, "device_map": {"": torch.cuda.current_device()}}


def in_source_type(causal: Any) -> dict[str, Any]:
    """What ``save_pretrained`` is given so that the folder has the numbers' type of the one that was opened."""
    kind = getattr(causal, SOURCE, None)
    if kind not in (torch.bfloat16, torch.float16) or causal.dtype == kind:
        return {}
    seen: dict[int, torch.Tensor] = {}  # tied weights stay one tensor
    state = causal.state_dict()
    for name, value in state.items():
        if value.is_floating_point():
            state[name] = value if value.is_meta else seen.setdefault(value.data_ptr(), value.to(kind))
    return {"state_dict": state}


def save_tokenizer(tokenizer: Any, folder: Path | str) -> None:
    """Write a tokenizer without the cut and the padding that its last call happened to have."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        backend.no_truncation()
        backend.no_padding()
    tokenizer.save_pretrained(str(folder))


def order_adapted_layers(folder: Path) -> None:
    """Name the layers that an adapter changes in the order of their names: PEFT keeps them as a set and writes them in any."""
    path = folder / "adapter_config.json"
    if not path.exists():
        return
    content = json.loads(path.read_text(encoding="utf-8"))
    for name in ("target_modules", "exclude_modules"):
        if isinstance(content.get(name), list):
            content[name].sort()
    path.write_text(json.dumps(content, indent=2, sort_keys=True), encoding="utf-8")


def write(
    folder: Path | str, causal: Any, tokenizer: Any, beside: Callable[[Path], None] | None = None
) -> Path:
    """Write safetensors, config and tokenizer; the folder appears whole or not at all, in place of an older one.

    Args:
        folder: where. causal, tokenizer: what.
        beside: writes more into the folder before it appears.
    """
    folder = Path(folder)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)

    library_bars.hide("transformers")
    there = deferred.sources(causal)
    if hasattr(causal, "peft_config"):  # adapters are few, and what they stand on is not written
        deferred.fill(causal, {n for n, p in causal.named_parameters() if "lora_" in n or p.requires_grad})
    kind = getattr(causal, SOURCE, None)
    given = kind in (torch.bfloat16, torch.float16) and causal.dtype != kind
    if there and not hasattr(causal, "peft_config"):
        deferred_folder.write(causal, partial, kind if given else None)
    else:
        causal.save_pretrained(str(partial), **in_source_type(causal))
    if given:
        content = configuration(partial) | {"dtype": str(getattr(causal, SOURCE)).removeprefix("torch.")}
        (partial / "config.json").write_text(
            json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8"
        )
    order_adapted_layers(partial)
    save_tokenizer(tokenizer, partial)
    if beside is not None:
        beside(partial)
    give_ordinary_modes(partial)
    if folder.exists():
        shutil.rmtree(folder)
    os.replace(partial, folder)
    return folder
