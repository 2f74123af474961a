"""A model folder on a model hub: prepared aside, looked through, then uploaded as one commit by huggingface_hub."""

from __future__ import annotations

import json
import logging
import re
import shlex
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from counterpoint.bundled.hub import HubName
from counterpoint.errors import CounterpointError
from counterpoint.prediction.predict import folder_of

logger = logging.getLogger("counterpoint")

ENDINGS = (".safetensors", ".json", ".txt", ".model", ".jinja", ".tiktoken", ".md", ".csv", ".jsonl", ".toml")
QUOTED = re.compile(r"`(?:/|[A-Za-z]:\\)[^`\n]*[/\\]([^`/\\\n]+)`")
ABSOLUTE = re.compile(r"(?<![\w./:])(?:/|[A-Za-z]:\\)(?:[^\s`\"'|,)\]]+[/\\])+([^\s`\"'|,)\]]+)")
"""Paths from the root of a file system, in quotes (where they may hold spaces) or bare, with its last part: the folders before it are nobody else's business."""


@dataclass(frozen=True)
class Published:
    """What was, or would be, uploaded.

    Attributes:
        name: on the hub. url: of the commit, or the prepared folder where nothing was uploaded. files: size by name. notes: what to look at.
    """

    name: str
    url: str
    files: dict[str, int]
    notes: tuple[str, ...]


def checked_name(name: str) -> str:
    """A name on the hub, ``org/name``.

    Raises:
        CounterpointError: no such name.

    >>> checked_name("me/parcel-encoder")
    'me/parcel-encoder'
    """
    parts = HubName.of(name)
    if parts is None or parts.config or parts.revision:
        raise CounterpointError(
            f"'{name}' is no name on a hub; expected OWNER/NAME, for example me/parcel-encoder"
        )
    return parts.name


def prepare(model: str | Path, name: str, to: Path) -> Published:
    """Write the folder that would be uploaded.

    The card calls the model by its name, and absolute paths of data and models become their last part.

    Args:
        model: a model's folder or a run's. name: OWNER/NAME. to: a folder that is not there yet.

    Raises:
        CounterpointError: no model, no card, a file that is no part of an ordinary model folder, or something in the way.
    """
    source, name = folder_of(model), checked_name(name)
    if to.exists():
        raise CounterpointError(
            f"{to} exists; give a folder that does not, where the files are to be looked at"
        )
    files = sorted(file for file in source.rglob("*") if file.is_file() and not file.name.startswith("."))
    for file in files:
        if file.suffix not in ENDINGS:
            raise CounterpointError(
                f"{file} is no part of an ordinary model folder ({', '.join(ENDINGS)}); move it elsewhere, nothing was uploaded"
            )
    if source / "README.md" not in files:
        raise CounterpointError(
            f"{source} has no model card (README.md); write one, or give the folder of a run that has ended"
        )
    aside = Path(tempfile.mkdtemp(dir=to.absolute().parent, prefix=f".{to.name}-"))
    try:
        for file in files:
            target = aside / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        _rewrite_card(aside / "README.md", source, name)
        aside.chmod(0o755)
        aside.rename(to)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    sizes = {
        file.relative_to(source).as_posix(): (to / file.relative_to(source)).stat().st_size for file in files
    }
    return Published(name, str(to), sizes, _notes(to))


def _rewrite_card(card: Path, source: Path, name: str) -> None:
    text = card.read_text(encoding="utf-8")
    for path in (str(source.absolute()), str(source)):
        text = text.replace(shlex.quote(path), name).replace(path, name)
    card.write_text(ABSOLUTE.sub(r"\1", QUOTED.sub(r"`\1`", text)), encoding="utf-8")


def _notes(folder: Path) -> tuple[str, ...]:
    adapter = folder / "adapter_config.json"
    if not adapter.is_file():
        return ()
    base = str(json.loads(adapter.read_text(encoding="utf-8")).get("base_model_name_or_path") or "")
    if HubName.of(base) is not None:
        return ()
    return (
        f"this is an adapter of '{base}', which is no name on a hub: others cannot open it; train with --model OWNER/NAME, or merge it first",
    )


def publish(model: str | Path, name: str, *, private: bool = False, folder: Path | None = None) -> Published:
    """Upload a model's folder.

    Args:
        model, name: as of ``prepare``. private: create it so, where it does not exist yet.
        folder: prepare the files there, and upload nothing.

    Raises:
        CounterpointError: as ``prepare``, or what the hub says.
    """
    if folder is not None:
        return prepare(model, name, folder)
    with tempfile.TemporaryDirectory() as scratch:
        made = prepare(model, name, Path(scratch) / "model")
        url = _uploaded(Path(made.url), made.name, private)
    return Published(made.name, url, made.files, made.notes)


def after_run(folder: Path, name: str) -> None:
    """Upload the model of a run that has ended, from its first process; the log says where it is.

    Raises:
        CounterpointError: as ``publish``; the run itself is whole, which the message says.
    """
    from counterpoint.training import distributed

    if distributed.world()[0]:
        return
    try:
        done = publish(folder, name)
    except CounterpointError as error:
        raise CounterpointError(
            f"the run has ended and is whole in {folder}, but {error}; again: counterpoint push {folder} {name}"
        ) from None
    for note in (*done.notes, f"uploaded: {done.url}"):
        logger.warning(note)


def owner() -> str:
    """Who is logged in, asked of the hub.

    Raises:
        CounterpointError: nobody, or no hub to ask.
    """
    from huggingface_hub import HfApi

    return str(_answered(lambda: HfApi().whoami(), "a login")["name"])


def _uploaded(folder: Path, name: str, private: bool) -> str:
    from huggingface_hub import HfApi

    hub = HfApi()
    _answered(lambda: hub.create_repo(name, private=private, exist_ok=True), name)
    message = "Model, configuration and card"
    return str(
        _answered(
            lambda: hub.upload_folder(repo_id=name, folder_path=folder, commit_message=message), name
        ).commit_url
    )


def _answered(ask: Callable[[], Any], what: str) -> Any:
    """What the hub answers; its refusals in a line."""
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

    look = "to look at the files first: counterpoint push MODEL OWNER/NAME --folder FOLDER"
    try:
        return ask()
    except LocalTokenNotFoundError:
        raise CounterpointError(
            f"nobody is logged in at the hub; log in with: hf auth login; {look}"
        ) from None
    except (OfflineModeIsEnabled, HfHubHTTPError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CounterpointError(
            f"the hub did not take {what} ({type(error).__name__}: {reason}); log in with: hf auth login, and see that you may write there; "
            f"{look}"
        ) from None
