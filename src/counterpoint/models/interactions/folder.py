"""Recommenders as folders, with the ids of users and items in ``ids.json``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from counterpoint.models.folders import Folders
from counterpoint.models.interactions.recommender import load_recommender


def _unstated(folder: Path, content: Mapping[str, Any]) -> str:
    return "Recommender" if {"num_users", "num_items"} <= set(content) else ""


FOLDERS = Folders(kind="interactions", openers={"Recommender": load_recommender}, unstated=_unstated)
