"""The bundled emoji: drawings of one hand (Twemoji) at 32 pixels, each with its name and tags as a caption.

Pictures come as SVG by name, names and tags by code point; a table of code points joins them. Skin tones, hair and single
letters of flags are left out, and of pictures that are alike pixel by pixel the first stays.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

SIDE = 32
LEFT_OUT = "component"


def emoji(archives: list[Path], folder: Path) -> None:
    """Draw every emoji once; archives: pictures, then captions. Writes images.parquet."""
    import pyarrow
    import pyarrow.parquet

    pictures, names = _members(archives[0], "icons", "chars")
    captions, groups = _members(archives[1], "en/data", "meta/groups")
    rows, seen = [], set()
    for row in captions:
        code = row["hexcode"].lower()
        name = names.get(code) or names.get(code.replace("-fe0f", ""))
        group = groups["groups"].get(str(row.get("group")))
        if name is None or group is None or group == LEFT_OUT:
            continue
        content = _draw(_svg(pictures, name))
        if content in seen:
            continue
        seen.add(content)
        rows.append({
            "image": {"bytes": content, "path": f"{name}.png"}, "caption": caption(row["label"], row.get("tags", [])),
            "label": group, "subgroup": groups["subgroups"][str(row["subgroup"])],
        })  # fmt: skip
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "images.parquet")


def caption(label: str, tags: list[str]) -> str:
    """A name, and the tags that say something else.

    >>> caption("giraffe", ["animal", "giraffe", "spots"])
    'giraffe (animal, spots)'
    """
    words = set(re.findall(r"\w+", label.lower()))
    more = [tag for tag in tags if not set(re.findall(r"\w+", tag.lower())) <= words]
    return f"{label} ({', '.join(more)})" if more else label


def _members(archive: Path, *stems: str) -> list[Any]:
    members = []
    with tarfile.open(archive) as package:
        for stem in stems:
            member = package.extractfile(f"package/{stem}.json")
            assert member is not None
            members.append(json.load(member))
    return members


def _svg(pictures: dict[str, Any], name: str) -> str:
    """A whole SVG of an icon's body; an alias is another's picture."""
    while name not in pictures["icons"]:
        name = pictures["aliases"][name]["parent"]
    icon = pictures["icons"][name]
    width, height = (float(icon.get(key, pictures.get(key, 16))) for key in ("width", "height"))
    side = max(width, height)
    left, top = icon.get("left", 0) - (side - width) / 2, icon.get("top", 0) - (side - height) / 2
    box = f"{left:g} {top:g} {side:g} {side:g}"
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg {spaces} viewBox="{box}">{icon["body"]}</svg>'


def _draw(svg: str) -> bytes:
    """PNG on white."""
    import resvg_py
    from PIL import Image

    drawn = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=SIDE, height=SIDE))
    layer = Image.open(io.BytesIO(drawn)).convert("RGBA")
    flat = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    buffer = io.BytesIO()
    flat.save(buffer, format="PNG")
    return buffer.getvalue()
