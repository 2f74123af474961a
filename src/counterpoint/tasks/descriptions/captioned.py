"""Captioned images, by wrong captions beside the right ones, by name of the kind, or by a method that learns from captions."""

from __future__ import annotations

from counterpoint.data.endings import PICTURES
from counterpoint.tasks.descriptions.description import Description
from counterpoint.tasks.sample import FileSample


def file(look: FileSample) -> bool:
    """Whether a table names images with captions and wrong captions."""
    from counterpoint.data.images.files import PATH_COLUMNS

    wrong = ("negatives", "negative", "false_caption", "false_captions", "hard_negatives", "negative_caption")
    return look.has_any(wrong) and (look.has_any(("image",)) or look.names_files(PATH_COLUMNS, PICTURES))


DESCRIPTION = Description(
    kind="captioned",
    looks="a table with an image (`image`, `image_path`), a `caption` and captions that are nearly right (`negatives`, `false_caption`); "
    "without those with `--kind captioned`",
    loaders={
        "": "counterpoint.data.captioned.load:load_captioned",
        "digit-pairs": "counterpoint.data.captioned.digit_pairs:digit_pairs",
    },
    bundled={
        "digit-pairs": "two scanned digits side by side, 16x16 pixels, with captions such as 'three left of seven'"
    },
    file=file,
    inputs=("image",),
)
