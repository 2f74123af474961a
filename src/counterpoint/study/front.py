"""The front matter of a model card: what model hubs read. And what of the source was changed, in one line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from counterpoint.bundled import hub, registry
from counterpoint.errors import CounterpointError
from counterpoint.methods.base import Method
from counterpoint.study.recipe import Recipe

LICENCES = {
    "apache-2.0": "apache-2.0",
    "mit": "mit",
    "bsd-3-clause": "bsd-3-clause",
    "cc-by-4.0": "cc-by-4.0",
}
"""Licences as this package's registry writes them, and the hub's names."""


def front_matter(recipe: Recipe, folder: Path) -> str:
    """YAML between two lines of dashes: library, base model and licence where they are known, tags."""
    content: dict[str, Any] = {"library_name": library(folder)}
    name, source = hub.HubName.of(recipe.model), Path(recipe.model)
    if name is not None:
        source = hub.model(recipe.model) or source
    upstream = _of_folder(source) if source.is_dir() else {}
    if name is not None:
        content["base_model"] = name.name
    elif upstream.get("base_model"):
        content["base_model"] = upstream["base_model"]
    licence = upstream.get("license") or _bundled_licence(recipe.model)
    if licence:
        content["license"] = licence
    if data := hub.HubName.of(recipe.data):
        content["datasets"] = [data.name]
    content["tags"] = ["counterpoint", recipe.key, recipe.kind]
    return f"---\n{yaml.safe_dump(content, sort_keys=False)}---\n"


def library(folder: Path) -> str:
    """Which library opens a folder: transformers where its config names an architecture, PEFT an adapter, else this package.

    >>> library(Path("nowhere"))
    'counterpoint'
    """
    if (folder / "config.json").is_file():
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return (
            "transformers"
            if content.get("architectures") and "counterpoint" not in content
            else "counterpoint"
        )
    return "peft" if (folder / "adapter_config.json").is_file() else "counterpoint"


def changed_weights(recipe: Recipe, method: Method[Any, Any]) -> str | None:
    """What of a language model was trained; None for methods that say nothing of adapters."""
    rank, adapter = getattr(method, "lora_rank", None), getattr(method, "adapter", None)
    if rank is None:
        return None
    if not rank:
        return "every weight"
    targets = getattr(adapter, "targets", "all")
    layers = "every linear layer but the head" if targets == "all" else ", ".join(targets)
    form = {
        "merged": "merged into the weights",
        "adapter": "written alone",
        "both": "merged, and alone in adapter/",
    }
    return f"adapters of rank {rank} on {layers}, {form[recipe.save]}"


def _of_folder(folder: Path) -> dict[str, Any]:
    """The front matter of a source folder's card."""
    card = folder / "README.md"
    match = re.match(r"---\n(.*?)\n---", card.read_text(encoding="utf-8") if card.is_file() else "", re.S)
    try:
        content = yaml.safe_load(match[1]) if match else {}
    except yaml.YAMLError:
        return {}
    return content if isinstance(content, dict) else {}


def _bundled_licence(name: str) -> str | None:
    try:
        written = registry.find(name).licence.split(" (")[0].lower()
    except CounterpointError:
        return None
    return LICENCES.get(written)
