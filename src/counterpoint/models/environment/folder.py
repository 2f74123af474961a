"""Models of worlds as folders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from counterpoint.models.environment.categorical_q import CategoricalQ
from counterpoint.models.environment.counts import CountedModel
from counterpoint.models.environment.low_rank import LowRankModel
from counterpoint.models.folders import Folders


def _unstated(folder: Path, content: Mapping[str, Any]) -> str:
    if "actions" not in content:
        return ""
    return (
        "CategoricalQ" if "atoms" in content else "LowRankModel" if "dimension" in content else "CountedModel"
    )


FOLDERS = Folders(
    kind="environment",
    openers={kind.__name__: kind.from_pretrained for kind in (CategoricalQ, LowRankModel, CountedModel)},
    unstated=_unstated,
)
