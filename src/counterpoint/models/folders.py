"""What opens a model folder: one statement in its config.json, ``"counterpoint": "KIND/CLASS"``, read here and nowhere else.

A folder is an ordinary one: safetensors, config.json, for a model of several parts a folder for each of the others inside. The
statement names the class of the whole, which writes it (``model_folders``); ``models/KIND/folder.py`` says how it is opened. A
folder that is whole for transformers
or PEFT states so in its own way (``architectures``, ``adapter_config.json``) and gets no other statement. Folders from before
there were statements are known by their content (``Folders.unstated``).
"""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from counterpoint.errors import CounterpointError
from counterpoint.models.file_modes import give_ordinary_modes
from counterpoint.models.model_folders import STATEMENT, configuration, reading, state

CAUSAL = ("ForCausalLM", "ForConditionalGeneration", "ForImageTextToText", "LMHeadModel")
SCORER = "ForSequenceClassification"


@dataclass(frozen=True)
class Folders:
    """How models of one kind of data are written as folders and opened again.

    Attributes:
        kind: the word before the stroke in statements.
        openers: class -> what opens a folder of a model of this class, with the options of ``open``.
        unstated: the class that a folder without a statement of this kind holds, by its content and configuration; "" where
            it holds none.
        foreign: classes whose folders are whole for another library, and get no statement.
    """

    kind: str
    openers: Mapping[str, Callable[..., nn.Module]]
    unstated: Callable[[Path, Mapping[str, Any]], str]
    foreign: tuple[str, ...] = ()

    def save(self, model: nn.Module, folder: Path) -> None:
        """Write a model's folder.

        Raises:
            CounterpointError: a model, or its encoder, that has no ``save_pretrained``.
        """
        for part in (model, getattr(model, "encoder", None)):
            if isinstance(part, nn.Module) and not hasattr(part, "save_pretrained"):
                raise CounterpointError(
                    f"{type(part).__name__} has no save_pretrained; derive it from huggingface_hub.PyTorchModelHubMixin"
                )
        model.save_pretrained(folder)  # type: ignore[operator]
        give_ordinary_modes(Path(folder))
        if type(model).__name__ in self.foreign:
            state(folder, None)  # a transformers model remembers what it was opened from

    def holds(self, folder: Path) -> str:
        """The class that a folder holds: what it states, or its content says; "" for none of this kind."""
        content = configuration(folder)
        kind, _, name = str(content.get(STATEMENT, "")).partition("/")
        return name if kind == self.kind else self.unstated(folder, content)

    def open(self, folder: Path, **options: Any) -> nn.Module:
        """Open a folder as what it states, or as what its content says.

        Raises:
            CounterpointError: it holds no model of this kind.
        """
        name = self.holds(folder)
        if name not in self.openers:
            stated = f"states '{name}'" if name else "holds no model of this kind"
            raise CounterpointError(
                f"{folder}: config.json {stated}; expected a folder of one of {', '.join(self.openers)}, as save_pretrained writes it"
            )
        with contextlib.redirect_stdout(io.StringIO()):  # the hub's mixin prints that it loads
            return self.openers[name](folder, **options)


def of_kind(kind: str) -> Folders:
    """How the models of one of ``kinds()`` are opened."""
    folders: Folders = importlib.import_module(f"counterpoint.models.{kind.replace('-', '_')}.folder").FOLDERS
    return folders


def kinds() -> list[str]:
    """Folders of ``models`` that hold a ``folder.py``; causal language models are whole for transformers."""
    return sorted(path.parent.name.replace("_", "-") for path in Path(__file__).parent.glob("*/folder.py"))


def load(folder: str | Path) -> nn.Module:
    """Open a model folder, whatever kind of model it holds.

    Args:
        folder: one that a run wrote, ``runs/NAME/model``, or a causal language or reward model's of transformers or PEFT.

    Raises:
        CounterpointError: no such folder, one that does not say what opens it, or a damaged one, with what its library says.
    """
    path = Path(folder)
    if not path.is_dir():
        raise CounterpointError(
            f"there is no folder {folder}; give a model's folder, such as runs/NAME/model"
        )
    try:
        return _open(path)
    except CounterpointError:
        raise
    except Exception as error:  # whatever a damaged file makes a library raise becomes one line
        reason = " ".join(str(error).split())[:300] or "it ends too early"
        raise CounterpointError(
            f"{folder} cannot be opened as a model: {type(error).__name__}: {reason}; see that the folder is whole, or save it again"
        ) from error


def _open(path: Path) -> nn.Module:
    content = configuration(path)
    kind = str(content.get(STATEMENT, "")).partition("/")[0]
    if kind:
        if kind not in kinds():
            raise CounterpointError(
                f"{path}: config.json states '{content[STATEMENT]}', a kind this version does not know; known are {', '.join(kinds())}"
            )
        return of_kind(kind).open(path)
    if reading(path).get("kind") in kinds():
        return of_kind(str(reading(path)["kind"])).open(path)
    architectures = [str(name) for name in content.get("architectures") or ()]
    if (path / "adapter_config.json").exists() or any(name.endswith(CAUSAL) for name in architectures):
        from counterpoint.models.language import language

        return language.load(path)
    if any(name.endswith(SCORER) for name in architectures) and len(content.get("id2label") or ()) == 1:
        from counterpoint.models.language import reward

        return reward.RewardModel.load(path)
    openers = [folders for folders in map(of_kind, kinds()) if folders.holds(path) in folders.openers]
    if openers and "model_type" not in content:
        # An encoder that is a part of the whole is named by its architecture, and several kinds may hold it.
        return max(openers, key=lambda one: one.holds(path) != content.get("architecture")).open(path)
    opens = f"from transformers import {architectures[0]}" if architectures else "the class that wrote it"
    raise CounterpointError(
        f"{path}: config.json does not say which model of counterpoint this is; open it with {opens}, give it as --model, or "
        'say what it reads: --kind text (images, audio, ...); in Python, counterpoint.load(FOLDER, kind="text")'
    )
