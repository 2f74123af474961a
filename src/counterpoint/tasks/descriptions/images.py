"""Images: folders of pictures, arrays, tables with pictures or their names."""

from __future__ import annotations

from counterpoint.data.endings import PICTURES
from counterpoint.tasks.descriptions.description import Description
from counterpoint.tasks.sample import FileSample, FolderSample


def folder(look: FolderSample) -> bool:
    """Whether pictures are what the folder holds."""
    return look.is_of(PICTURES, "images")


def file(look: FileSample) -> bool:
    """Whether a table holds pictures or names them, or a .tar file has them as members."""
    from counterpoint.data.images.files import PATH_COLUMNS

    if look.members:
        return any(name.lower().endswith(PICTURES) for name in look.members)
    return look.has_any(("pixels", "images", "image")) or look.names_files(PATH_COLUMNS, PICTURES)


DESCRIPTION = Description(
    kind="images",
    looks="a folder of pictures; a table with `image` or `pixels`, or that names pictures in a column `file` or `path`; webdataset shards (`.tar`) with pictures; an array called `images`, or a bare one (`.npy`) of three or four axes",
    loaders={"": "counterpoint.data.images.load:load_images"},
    bundled={
        "digits": "1,797 scanned digits of 8x8 pixels, 10 classes",
        "mnist5k": "5,000 handwritten digits of 28x28 pixels, 10 classes",
        "mnist10k": "10,000 handwritten digits of 28x28 pixels, 10 classes",
        "fashion-mnist": "70,000 gray photographs of garments, 28x28 pixels, 10 classes",
        "emoji": "1,881 emoji of 32x32 pixels with their names and tags as captions, 9 groups",
    },
    file=file,
    folder=folder,
    inputs=("image",),
)
