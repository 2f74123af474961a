"""Names on a model hub, ``org/name``: what looks like one, and its files, through huggingface_hub's own cache and token.

Offline mode (``HF_HUB_OFFLINE=1``) is huggingface_hub's: what is in the cache opens, anything else is an error.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from counterpoint.errors import CounterpointError

WRITTEN = re.compile(
    r"(?P<name>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(:(?P<config>[\w.-]+))?(@(?P<revision>[\w./-]+))?"
)
FILES = (
    ".jsonl",
    ".json",
    ".csv",
    ".tsv",
    ".parquet",
    ".txt",
    ".safetensors",
    ".gguf",
    ".npz",
    ".npy",
    ".zip",
)
"""Endings of paths: what has one is a file that is not there, and no name."""
MODEL_FILES = ("*.safetensors", "*.json", "*.model", "*.txt", "*.jinja", "*.tiktoken", "README.md")


@dataclass(frozen=True)
class HubName:
    """A name on the hub.

    Attributes:
        name: ``org/name``. config: of a data set. revision: branch, tag or commit.

    >>> HubName.of("org/sums:small@v1")
    HubName(name='org/sums', config='small', revision='v1')
    >>> HubName.of("pairs.jsonl"), HubName.of("missing/pairs.jsonl")
    (None, None)
    """

    name: str
    config: str | None = None
    revision: str | None = None

    @classmethod
    def of(cls, spec: str) -> Self | None:
        """The name that a spec is; None for what may be a path: something is there, or its folder is."""
        match = WRITTEN.fullmatch(spec)
        if match is None or Path(spec).exists() or Path(spec.partition("/")[0]).is_dir():
            return None
        if Path(match["name"]).suffix.lower() in FILES:
            return None
        return cls(match["name"], match["config"], match["revision"])


def model(spec: str) -> Path | None:
    """The folder of a model on the hub, fetched where it is not in the cache; None where the spec is no such name.

    Raises:
        CounterpointError: no such model or revision, none that this token may read, no network.
    """
    name = HubName.of(spec)
    if name is None:
        return None
    if name.config is not None:
        raise CounterpointError(f"a model has no configuration: {spec}; write --model {name.name}")
    return fetch(name, "model", MODEL_FILES)


def fetch(name: HubName, kind: Literal["model", "dataset"], patterns: Sequence[str]) -> Path:
    """The files of a name that fit patterns, as a folder of huggingface_hub's cache."""
    import huggingface_hub
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    shown = f"{name.name}@{name.revision}" if name.revision else name.name
    try:
        return Path(
            huggingface_hub.snapshot_download(
                name.name, repo_type=kind, revision=name.revision, allow_patterns=list(patterns)
            )
        )
    except GatedRepoError:
        raise CounterpointError(
            f"the {kind} {shown} is gated: accept its terms on its page, then log in with: hf auth login"
        ) from None
    except RevisionNotFoundError:
        raise CounterpointError(f"the {kind} {name.name} has no revision '{name.revision}'") from None
    except RepositoryNotFoundError:
        raise CounterpointError(
            f"the hub has no {kind} '{name.name}' that may be read here; see the name, log in with: hf auth login, or give a "
            "folder"
        ) from None
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise CounterpointError(
            f"the {kind} {shown} is neither a path nor in the hub's cache, and cannot be fetched ({reason}); give a folder, or "
            "fetch it where there is a network"
        ) from None
