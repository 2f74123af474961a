"""Pictures to learn to make: any images, by name of the kind or by a method that makes them."""

from __future__ import annotations

from counterpoint.tasks.descriptions.description import Description

DESCRIPTION = Description(
    kind="pictures",
    looks="nothing of their own: whatever holds images, with `--kind pictures`, or given to a method that makes pictures",
    loaders={"": "counterpoint.data.pictures.load:load_pictures"},
)
