"""Audio: folders of sounds, and tables that name them."""

from __future__ import annotations

from counterpoint.data.endings import SOUNDS
from counterpoint.tasks.descriptions.description import Description
from counterpoint.tasks.sample import FileSample, FolderSample


def folder(look: FolderSample) -> bool:
    """Whether sounds are what the folder holds."""
    return look.is_of(SOUNDS, "audio")


def file(look: FileSample) -> bool:
    """Whether a table names sounds in the column for them; an address that ends in .au elsewhere is none."""
    from counterpoint.data.audio.files import FILE_COLUMNS

    return look.names_files(FILE_COLUMNS, SOUNDS)


DESCRIPTION = Description(
    kind="audio",
    looks="a folder of sounds; a table that names sounds in a column `file`, `path` or `audio`",
    loaders={"": "counterpoint.data.audio.load:load_audio"},
    bundled={
        "voices": "telephone prompts in eight voices, seven varieties, five languages",
        "voices-it": "telephone prompts in two Italian voices",
        "voices-en": "telephone prompts in one English voice, by family of prompts",
    },
    file=file,
    folder=folder,
)
