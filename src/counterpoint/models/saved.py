"""Reference models save an ordinary folder that says which architecture it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import PyTorchModelHubMixin
from torch import nn


class Saved(nn.Module, PyTorchModelHubMixin):
    """A module whose ordinary folder also says which architecture it is, so that a folder alone can be opened."""

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:  # type: ignore[override]
        """Write model.safetensors, config.json and a model card."""
        described = {"architecture": type(self).__name__, **(self._hub_mixin_config or {})}  # type: ignore[dict-item]
        return super().save_pretrained(save_directory, **{"config": described, **options})
