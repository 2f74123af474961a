"""Embeddings of a saved recommender for an index of inner products, with the ids they belong to."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.torch import save_file

from counterpoint.errors import CounterpointError
from counterpoint.models.interactions.recommender import load_recommender


def export_embeddings(folder: str | Path, out: str | Path) -> list[Path]:
    """Write a saved model's output embeddings for an inner-product index (FAISS ``IndexFlatIP`` and kin).

    Args:
        folder: the saved model.
        out: a ``.safetensors`` file (tensors ``users`` and ``items``, ids as metadata), or a folder for ``users.npy``,
            ``items.npy`` and the ids beside them, one a line, in ``users.txt`` and ``items.txt``.

    Returns:
        The files written.
    """
    model, out = load_recommender(folder), Path(out)
    users_UD, items_ID = (table.contiguous() for table in model.embeddings())
    if out.suffix == ".safetensors":
        out.parent.mkdir(parents=True, exist_ok=True)
        ids = {"user_ids": json.dumps(model.user_ids), "item_ids": json.dumps(model.item_ids)}
        save_file({"users": users_UD, "items": items_ID}, str(out), metadata=ids)
        return [out]
    if out.suffix:
        raise CounterpointError(
            f"{out}: expected a name that ends in .safetensors, or a folder for .npy files"
        )
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for name, table, names in (("users", users_UD, model.user_ids), ("items", items_ID, model.item_ids)):
        np.save(out / f"{name}.npy", table.numpy())
        (out / f"{name}.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
        written += [out / f"{name}.npy", out / f"{name}.txt"]
    return written
