"""What becomes a confined program: a script of its own that locks itself in, then turns into the program.

Started as ``python -I -S confined_child.py JOB`` by ``confined``. It sets limits, a Landlock ruleset that lets it read the named
folders and execute the named program only, and a seccomp filter without network, new processes, signals to others and changes
of files; all three are inherited by the program. Where the lock cannot be had it leaves with ``REFUSED`` and has run nothing.
"""

import ctypes
import errno
import importlib.util
import json
import os
import struct
import sys
import types
from pathlib import Path


def neighbour(path: Path) -> types.ModuleType:
    """The script of the sandbox for Python programs, whose filter and limits are used here, too."""
    description = importlib.util.spec_from_file_location("sandbox_child", path)
    assert description is not None
    assert description.loader is not None
    module = importlib.util.module_from_spec(description)
    description.loader.exec_module(module)
    return module


sandbox_child = neighbour(Path(__file__).parents[1] / "sandbox_child.py")

# Name: (x86-64, arm64); what a program needs besides computing, to be loaded and to read its files.
READING = {
    "open": (2, None), "stat": (4, None), "lstat": (6, None), "poll": (7, None), "ioctl": (16, 29), "pread64": (17, 67),
    "access": (21, None), "pipe": (22, None), "select": (23, None), "dup": (32, 23), "dup2": (33, None), "execve": (59, 221),
    "fcntl": (72, 25), "getdents": (78, None), "chdir": (80, 49), "readlink": (89, None), "sysinfo": (99, 179),
    "arch_prctl": (158, None), "getdents64": (217, 61), "fadvise64": (221, 223), "epoll_wait": (232, None),
    "epoll_ctl": (233, 21), "openat": (257, 56), "newfstatat": (262, 79), "readlinkat": (267, 78), "faccessat": (269, 48),
    "pselect6": (270, 72), "ppoll": (271, 73), "epoll_pwait": (281, 22), "eventfd2": (290, 19), "epoll_create1": (291, 20),
    "dup3": (292, 24), "pipe2": (293, 59), "statx": (332, 291), "faccessat2": (439, 439),
}  # fmt: skip
PRLIMIT = (302, 261)
CREATE_RULESET, ADD_RULE, RESTRICT = 444, 445, 446
EXECUTE, READ_FILE, READ_DIR = 1, 4, 8
RIGHTS = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
"""Which rights over files each version of Landlock brought; all that the kernel knows are taken away."""


def restrict(program: str, reads: list) -> None:
    """Take away every right over files but to read below ``reads`` and to execute the program and its loader."""
    library = ctypes.CDLL(None, use_errno=True)
    version = library.syscall(CREATE_RULESET, None, 0, 1)
    if version < 1:
        sandbox_child.refuse(f"the kernel has no Landlock (error {ctypes.get_errno()})")
    handled = 0
    for since, bits in RIGHTS.items():
        handled |= bits if version >= since else 0
    attributes = ctypes.create_string_buffer(struct.pack("=Q", handled), 8)
    ruleset = library.syscall(CREATE_RULESET, attributes, 8, 0)
    if ruleset < 0:
        sandbox_child.refuse(f"Landlock makes no ruleset (error {ctypes.get_errno()})")
    for path in dict.fromkeys([program, *loaders(), *reads]):
        executed = path == program or path in loaders()
        try:
            handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        rights = READ_FILE | (EXECUTE if executed else 0) | (READ_DIR if os.path.isdir(path) else 0)
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, handle), 12)
        if library.syscall(ADD_RULE, ruleset, 1, rule, 0):
            sandbox_child.refuse(f"Landlock takes no rule for {path} (error {ctypes.get_errno()})")
        os.close(handle)
    no_new = 38
    if library.prctl(no_new, 1, 0, 0, 0) or library.syscall(RESTRICT, ruleset, 0):
        sandbox_child.refuse(f"Landlock does not act (error {ctypes.get_errno()})")
    os.close(ruleset)


def loaders() -> list:
    """The programs that load dynamic programs, one of which the kernel executes beside the program."""
    names = ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1", "/lib/ld-musl-x86_64.so.1")
    return [os.path.realpath(name) for name in names if os.path.exists(name)]


def main() -> None:
    """Read the job, lock, become the program."""
    job = json.loads(sys.argv[1])
    column, architecture = sandbox_child.architecture_column()
    os.closerange(3, 256)
    program = os.path.realpath(job["command"][0])
    sandbox_child.limit(job["seconds"], job["memory"], 256)
    restrict(program, job["reads"])
    calls = {**sandbox_child.CALLS, **READING}
    sandbox_child.install_filter(sandbox_child.filter_program(column, architecture, calls, (PRLIMIT,)))
    for attempt in (lambda: os.open("/proc/self/environ", os.O_RDONLY), os.fork, lambda: os.mkdir("x")):
        try:
            attempt()
        except PermissionError:
            continue
        sandbox_child.refuse("the lock does not act")
    try:
        os.execve(program, job["command"], job["environment"])
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, "")
        sandbox_child.refuse(f"{job['command'][0]} cannot be executed ({name})")


if __name__ == "__main__":
    main()
