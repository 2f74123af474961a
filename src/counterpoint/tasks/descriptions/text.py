"""Text: tables of texts with or without labels, and folders of text files by label."""

from __future__ import annotations

from counterpoint.tasks.descriptions.description import Description
from counterpoint.tasks.sample import FileSample, FolderSample


def folder(look: FolderSample) -> bool:
    """Whether there are text files in folders, and nothing else."""
    below = any(file.suffix == ".txt" and len(file.name.parts) > 1 for file in look.files)
    return below and look.endings <= {".txt", ".md", ""}


def file(look: FileSample) -> bool:
    """Whether a table has a column of texts."""
    from counterpoint.data.text.rows import LABEL_COLUMNS, TEXT_COLUMNS

    texts = look.has_any(("text", "sentence"))
    return texts or (look.has_any(TEXT_COLUMNS) and look.has_any(LABEL_COLUMNS))


DESCRIPTION = Description(
    kind="text",
    looks="folders of text files; a table with `text` or `sentence`, or with `content`, `document` or `body` and a label",
    loaders={"": "counterpoint.data.text.load:load_texts", "wiki-vital": "counterpoint.data.text.sets:load"},
    bundled={
        "fortunes": "9,198 short quotations and jokes in 26 topics, from 1,243 texts down to 30",
        "bbc-news": "2,225 BBC articles of 2004-2005 in five topics",
        "wiki-vital": "leads of Wikipedia's vital articles by subject, in English, French or Spanish",
    },
    file=file,
    folder=folder,
    inputs=("text",),
)
