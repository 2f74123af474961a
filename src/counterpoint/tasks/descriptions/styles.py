"""Pictures of two domains: a folder with a folder of each."""

from __future__ import annotations

from counterpoint.data.styles.layout import domains_in
from counterpoint.tasks.descriptions.description import Description
from counterpoint.tasks.sample import FolderSample


def folder(look: FolderSample) -> bool:
    """Whether a folder has folders of both domains."""
    return look.path.is_dir() and bool(domains_in(look.path))


DESCRIPTION = Description(
    kind="styles",
    looks="a folder with the folders `plain` and `styled`, or `trainA` and `trainB`, of pictures",
    loaders={
        "": "counterpoint.data.styles.load:load_styles",
        "restyled-digits": "counterpoint.data.styles.digits:load_restyled_digits",
    },
    bundled={
        "restyled-digits": "1,797 scanned digits of 16x16 pixels, plain and in a style that a fixed operator makes"
    },
    folder=folder,
)
