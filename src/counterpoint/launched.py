"""Which of several processes this one is, by the variables of its launcher. Loads no torch.

Variables that some earlier launcher left in the environment say nothing about a plain command: a rank without a count of
processes, or a count without a place to meet, would make it silent or wait for partners that nobody started.
"""

from __future__ import annotations

import os

from counterpoint.errors import CounterpointError

OURS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "ROLE_RANK", "ROLE_WORLD_SIZE")
ADDRESS = ("MASTER_ADDR", "MASTER_PORT")
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


def one_of_several() -> bool:
    """Whether a launcher started this process with others; not where its variables contradict each other."""
    try:
        return world()[1] > 1
    except CounterpointError:
        return False


def require_alone(line: str) -> None:
    """Refuse a command that runs in one process where a launcher started several: each would do, and write, all of it.

    Args:
        line: the command as it is to be given.

    Raises:
        CounterpointError: this is one of several processes.
    """
    rank, size = world()
    if size > 1:
        raise CounterpointError(
            f"{' '.join(line.split()[:2])} runs in one process, and this is process {rank} of {size}: start it without torchrun, "
            f"mpirun or accelerate launch, as {line}"
        )


def clear_leftovers() -> str | None:
    """Remove variables of a launcher that did not start this process; return a line about them or about ``by_itself``, or None.

    They are removed so that no library takes this process for one of several.
    """
    started = by_itself()
    if world()[1] > 1:
        return started
    misleading = [
        name for name in OURS if os.environ.get(name) not in (None, "", "1" if name.endswith("SIZE") else "0")
    ]
    for name in (*OURS, *ADDRESS, *(name for pair in MPI for name in pair)):
        os.environ.pop(name, None)
    if not misleading:
        return started
    return (
        f"{', '.join(misleading)} in the environment {'is' if len(misleading) == 1 else 'are'} ignored: no launcher "
        "(torchrun, accelerate launch) started this process, so it runs alone"
    )


def by_itself() -> str | None:
    """A line where a launcher started this process as one of several, or was meant to, and it knows of no other; None else.

    Such processes share nothing: each trains the whole run, and two must not write one folder.
    """
    groups, tasks = _number("GROUP_WORLD_SIZE"), _tasks()
    if world()[1] > 1:
        if groups != 1 or tasks is None or world()[0] > 0:
            return None
        return (
            f"{tasks[0]}={tasks[1]}, and torchrun knows of one machine: where srun started a torchrun in each task, every one trains "
            f"a run of its own; for one run over all: srun torchrun --nnodes {tasks[1]} --rdzv-backend c10d --rdzv-endpoint HOST:29500 ..."
        )
    if tasks is not None:
        return (
            f"{tasks[0]}={tasks[1]}, and nothing says where to meet the others: this process trains alone. For one run over all of them: "
            f"torchrun --nproc-per-node {tasks[1]} -m counterpoint ... in one task a machine; runs by themselves need an --out each"
        )
    if os.environ.get("MASTER_ADDR") and not any(os.environ.get(name) for name in ("RANK", "WORLD_SIZE")):
        return (
            "MASTER_ADDR is set and RANK is not: this process trains alone. accelerate launch starts one process on a CPU, whatever "
            "--num_processes says; for two: torchrun --nproc-per-node 2 -m counterpoint ..."
        )
    return None


def _tasks() -> tuple[str, int] | None:
    """The variable by which mpirun or srun says that it started several tasks, and how many; None of one."""
    if _number("SLURM_STEP_NUM_TASKS") == 1:  # one task of a job that may have more
        return None
    for name in (*(size for _, size in MPI), "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"):
        number = _number(name)
        if number is not None and number > 1:
            return name, number
    return None


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
