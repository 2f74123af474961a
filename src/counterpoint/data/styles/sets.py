"""Pictures of two domains once they are loaded: three splits, each with plain and styled ones, and which belong together.

Pixels stay uint8 until a batch is used; they may be mapped from a file. Shapes: N plain and M styled pictures, C channels, H by W pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

NONE = -1


@dataclass(frozen=True)
class StyleSet:
    """One split.

    Attributes:
        plain: [N, C, H, W]. styled: [M, C, H, W].
        partners: [M] which plain picture each styled one shows, -1 where nobody knows.
        plain_labels, styled_labels: [N] and [M] classes of what is shown, -1 for none.
    """

    plain: Tensor
    styled: Tensor
    partners: Tensor
    plain_labels: Tensor
    styled_labels: Tensor

    def __len__(self) -> int:
        return len(self.plain) + len(self.styled)

    def pairs(self, at_most: int | None = None) -> tuple[Tensor, Tensor]:
        """The plain and the styled picture of every pair, or of the first ones, [K, C, H, W] each."""
        rows = torch.nonzero(self.partners != NONE)[:at_most, 0]
        return self.plain[self.partners[rows]], self.styled[rows]


@dataclass(frozen=True)
class Styles:
    """Three splits of pictures of two domains.

    Attributes:
        prompts: domain -> its prompts, "plain" and "styled"; those that nobody gave are the loader's.
        classes: of what is shown, where that is known.
        notes: what was understood.
    """

    train: StyleSet
    validation: StyleSet
    test: StyleSet
    prompts: Mapping[str, tuple[str, ...]]
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every picture."""
        channels, height, width = self.train.plain.shape[1:]
        return int(channels), int(height), int(width)

    def splits(self) -> dict[str, StyleSet]:
        """The three splits by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def fingerprint(self) -> str:
        """Sha256 of all pixels, partners, labels and prompts in their splits."""
        digest = hashlib.sha256(repr((sorted(self.prompts.items()), self.classes)).encode())
        for name, part in self.splits().items():
            for value in vars(part).values():
                digest.update(f"{name}{tuple(value.shape)}".encode())
                digest.update(value.contiguous().numpy().data)
        return digest.hexdigest()

    def describe(self) -> list[str]:
        """What was understood, one finding per line."""
        channels, height, width = self.shape
        counts = ", ".join(
            f"{name} {len(part.plain)} plain and {len(part.styled)} styled"
            for name, part in self.splits().items()
        )
        lines = [f"{counts}; {height}x{width} pixels, {channels} channels"]
        paired = {name: int((part.partners != NONE).sum()) for name, part in self.splits().items()}
        if any(paired.values()):
            lines.append("pairs: " + ", ".join(f"{name} {count}" for name, count in paired.items()))
        elif len(self.train.styled):
            lines.append("no pairs: nothing says which styled picture shows what a plain one does")
        else:
            lines.append(
                "plain pictures only: a prior must make the styled ones, such as --prior.editor FOLDER"
            )
        lines += [f"{domain} prompts: {', '.join(texts)}" for domain, texts in self.prompts.items()]
        return [*lines, *self.notes]


def with_styled(part: StyleSet, made: Tensor) -> StyleSet:
    """The same split with styled copies [N, C, H, W] of its plain pictures beside the styled ones that it has."""
    rows: dict[str, Any] = {
        "styled": torch.cat([part.styled, made]),
        "partners": torch.cat([part.partners, torch.arange(len(made))]),
        "styled_labels": torch.cat([part.styled_labels, part.plain_labels]),
    }
    return replace(part, **rows)
