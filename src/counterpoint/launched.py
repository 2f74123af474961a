"""Which of several processes this one is, by the variables of its launcher. Loads no torch.

Variables that some earlier launcher left in the environment say nothing about a plain command: a rank without a count of
processes, or a count without a place to meet, would make it silent or wait for partners that nobody started.
"""

from __future__ import annotations

import os

from counterpoint.errors import CounterpointError

OURS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "ROLE_RANK", "ROLE_WORLD_SIZE")
MPI = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),
)


def world() -> tuple[int, int]:
    """(rank, number of processes) as the launcher says; (0, 1) for a plain command.

    Raises:
        CounterpointError: a launcher's variables that contradict each other or are no numbers.
    """
    for rank_name, size_name in (("RANK", "WORLD_SIZE"), *MPI):
        size = _number(size_name)
        if size is None or size == 1:
            continue
        rank = _number(rank_name)
        if rank is None:
            continue
        if not os.environ.get("MASTER_ADDR") or (size_name == "WORLD_SIZE" and not _number("MASTER_PORT")):
            continue  # nowhere to meet the others
        if not 0 <= rank < size:
            raise CounterpointError(
                f"the environment says {rank_name}={rank} of {size_name}={size} processes; ranks count from 0 to "
                f"{size - 1}: start with torchrun or accelerate launch, or unset these variables"
            )
        return rank, size
    return 0, 1


def first() -> bool:
    """Whether this process is the only one, or the first of several: the one that writes and prints."""
    return world()[0] == 0


def clear_leftovers() -> str | None:
    """Remove variables of a launcher that did not start this process; return a line about them, or None.

    They are removed so that no library takes this process for one of several.
    """
    if world()[1] > 1:
        return None
    misleading = [
        name for name in OURS if os.environ.get(name) not in (None, "", "1" if name.endswith("SIZE") else "0")
    ]
    for name in (*OURS, *(name for pair in MPI for name in pair)):
        os.environ.pop(name, None)
    if not misleading:
        return None
    return (
        f"{', '.join(misleading)} in the environment {'is' if len(misleading) == 1 else 'are'} ignored: no launcher "
        "(torchrun, accelerate launch) started this process, so it runs alone"
    )


def _number(name: str) -> int | None:
    text = os.environ.get(name, "").strip()
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise CounterpointError(
            f"the environment says {name}={text!r}, which is no whole number; unset it, or start with torchrun"
        ) from None
