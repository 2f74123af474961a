"""Tensors to a safetensors file, one at a time, with the file's sha256: no second copy in memory, no second reading.

The bytes are those of ``safetensors.torch.save_file``: a header of names, types, shapes and offsets as JSON, padded to eight
bytes, and the tensors behind it, wide types first, then by name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch

from counterpoint.errors import CounterpointError

TYPES = {
    torch.float64: "F64", torch.int64: "I64", torch.uint64: "U64", torch.complex64: "C64", torch.float32: "F32",
    torch.int32: "I32", torch.uint32: "U32", torch.bfloat16: "BF16", torch.float16: "F16", torch.int16: "I16",
    torch.uint16: "U16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL", torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}  # fmt: skip
"""Types and their names in the header."""


def write_tensors(tensors: Mapping[str, torch.Tensor], path: Path) -> str:
    """Write tensors of any device and memory layout; return the file's sha256 in hex.

    Raises:
        CounterpointError: a type that safetensors does not have.
    """
    for name, tensor in tensors.items():
        if tensor.dtype not in TYPES:
            raise CounterpointError(
                f"cannot save '{name}' of type {tensor.dtype}; give one of {', '.join(TYPES.values())}"
            )
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    entries, offset = {}, 0
    for name in order:
        tensor = tensors[name]
        size = tensor.numel() * tensor.element_size()
        entries[name] = {
            "dtype": TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, offset + size],
        }  # fmt: skip
        offset += size
    header = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for part in (len(header).to_bytes(8, "little"), header):
            file.write(part)
            digest.update(part)
        for name in order:
            flat = tensors[name].detach().cpu().contiguous().reshape(-1)
            if flat.numel():
                content = flat.view(torch.uint8).numpy().data
                file.write(content)
                digest.update(content)
    return digest.hexdigest()
