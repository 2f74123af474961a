"""What runs inside the sandbox, as a script of its own: it locks itself in, then runs a program that nobody trusts.

Started as ``python -I -S sandbox_child.py`` by ``sandbox``, with a JSON job on its standard input. Before the program's first line
every module that it may use is imported, limits are set, and a seccomp filter allows only the system calls that computing
needs: nothing can be opened, written beyond the inherited pipes, connected to, forked or signalled. It imports nothing of this
package. Where the lock cannot be had it leaves with ``REFUSED`` and has run nothing.
"""

import contextlib
import ctypes
import io
import json
import os
import platform
import resource
import struct
import sys

REFUSED = 97
PRELOADED = """
abc array ast base64 binascii bisect calendar cmath codecs collections collections.abc contextlib copy copyreg csv dataclasses
datetime decimal difflib enum errno fractions functools gc graphlib hashlib heapq html hmac inspect io itertools json keyword
linecache locale logging math numbers operator pprint queue random re reprlib secrets statistics string stringprep struct sys
textwrap threading time timeit token tokenize traceback types typing unicodedata unittest warnings weakref zlib _strptime
_decimal encodings.ascii encodings.latin_1 encodings.utf_8 encodings.utf_16
"""

# Name: (x86-64, arm64); None where an architecture has no such call.
CALLS = {
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "fstat": (5, 80), "lseek": (8, 62), "mmap": (9, 222),
    "mprotect": (10, 226), "munmap": (11, 215), "brk": (12, 214), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139), "readv": (19, 65), "writev": (20, 66), "sched_yield": (24, 124), "mremap": (25, 216),
    "madvise": (28, 233), "nanosleep": (35, 101), "getpid": (39, 172), "exit": (60, 93), "uname": (63, 160),
    "getcwd": (79, 17), "gettimeofday": (96, 169), "getrusage": (98, 165), "times": (100, 153), "getuid": (102, 174),
    "getgid": (104, 176), "geteuid": (107, 175), "getegid": (108, 177), "getppid": (110, 173), "sigaltstack": (131, 132),
    "gettid": (186, 178), "futex": (202, 98), "sched_getaffinity": (204, 123), "set_tid_address": (218, 96),
    "restart_syscall": (219, 128), "clock_gettime": (228, 113), "clock_getres": (229, 114), "clock_nanosleep": (230, 115),
    "exit_group": (231, 94), "set_robust_list": (273, 99), "getrandom": (318, 278), "membarrier": (324, 283),
    "rseq": (334, 293),
}  # fmt: skip
CLONE, CLONE3 = (56, 220), 435
ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
ALLOW, DENY, MISSING = (
    0x7FFF0000,
    0x00050000 | 1,
    0x00050000 | 38,
)  # errno 1 is "not permitted", 38 "no such call"
THREAD = 0x00010000
"""The flag that a new thread has and a new process has not."""


def refuse(why: str) -> None:
    """Say why the lock cannot be had, and leave."""
    os.write(2, f"no isolation: {why}".encode())
    os._exit(REFUSED)


def instruction(code: int, k: int, yes: int = 0, no: int = 0) -> bytes:
    """One instruction of the packet filter's machine."""
    return struct.pack("<HBBI", code, yes, no, k)


def filter_program(column: int, architecture: int, calls: dict = CALLS, of_itself: tuple = ()) -> bytes:
    """The filter: another architecture is denied, threads are allowed, and the calls of the table.

    ``of_itself`` are calls allowed only with 0, the caller, as their first argument.
    """
    load, equal, anyone, give = 0x20, 0x15, 0x45, 0x06
    allowed = sorted(numbers[column] for numbers in calls.values() if numbers[column] is not None)
    program = [
        instruction(load, 4),  # the architecture
        instruction(equal, architecture, 1, 0),
        instruction(give, DENY),
        instruction(load, 0),  # the call's number
        instruction(equal, CLONE3, 0, 1),
        instruction(give, MISSING),  # the C library then uses clone, whose flags can be read here
        instruction(equal, CLONE[column], 0, 4),
        instruction(load, 16),  # its flags
        instruction(anyone, THREAD, 1, 0),
        instruction(give, DENY),
        instruction(give, ALLOW),
    ]
    for number in allowed:
        program += [instruction(equal, number, 0, 1), instruction(give, ALLOW)]
    for numbers in of_itself:
        program += [
            instruction(equal, numbers[column], 0, 4),
            instruction(load, 16),
            instruction(equal, 0, 0, 1),
            instruction(give, ALLOW),
            instruction(give, DENY),
        ]
    return b"".join([*program, instruction(give, DENY)])


def architecture_column() -> tuple:
    """(column of the tables, the filter's number of this architecture); leaves where there is none."""
    machine = platform.machine()
    if not sys.platform.startswith("linux") or machine not in ARCHITECTURES or sys.byteorder != "little":
        refuse(f"it needs Linux on x86-64 or arm64, and this is {sys.platform} on {machine}")
    return ARCHITECTURES[machine]


def limit(seconds: int, memory: int, files: int) -> None:
    """Set the limits of the process: processor time, memory, open files; it writes no file and dumps no core."""
    limits = {
        "AS": memory,
        "DATA": memory,
        "CPU": seconds,
        "CORE": 0,
        "FSIZE": 0,
        "NOFILE": files,
        "MEMLOCK": 0,
    }
    for name, value in limits.items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))


def install_filter(program: bytes) -> None:
    """Give the process the filter; leave where that cannot be done."""
    library = ctypes.CDLL(None, use_errno=True)
    held = ctypes.create_string_buffer(program, len(program))
    described = ctypes.create_string_buffer(
        struct.pack("@HxxxxxxP", len(program) // 8, ctypes.addressof(held)), 16
    )
    death, no_new, seccomp = 1, 38, 22
    if library.prctl(death, 9, 0, 0, 0) or library.prctl(no_new, 1, 0, 0, 0):
        refuse("prctl failed")
    if library.prctl(seccomp, 2, ctypes.c_void_p(ctypes.addressof(described)), 0, 0):
        refuse(f"the kernel takes no seccomp filter (error {ctypes.get_errno()})")


def lock(seconds: int, memory: int) -> None:
    """Set limits and the filter; leave where that cannot be done."""
    column, architecture = architecture_column()
    limit(seconds, memory, 16)
    install_filter(filter_program(column, architecture))
    for attempt in (lambda: os.open("/", os.O_RDONLY), os.fork, os.pipe):
        try:
            attempt()
        except PermissionError:
            continue
        refuse("the seccomp filter does not act")


def run_tests(code: str, tests: str, nonce: str) -> None:
    """Run the solution, then every statement of its tests; the verdict's line begins with the nonce."""
    import ast
    import traceback

    write, wrap = os.write, json.dumps
    scope = {"__name__": "solution"}
    exec(compile(code, "solution.py", "exec"), scope)
    passed = total = 0
    problem = ""
    for statement in ast.parse(tests).body:
        counted = isinstance(statement, ast.Assert) or (
            isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
        )
        total += counted
        try:
            exec(compile(ast.Module([statement], []), "tests.py", "exec"), scope)
            passed += counted
        except BaseException as error:
            if isinstance(error, (SystemExit, KeyboardInterrupt)):
                raise
            text = " ".join(ast.unparse(statement).split())[:200]
            last = "".join(traceback.format_exception_only(type(error), error)).strip()[-200:]
            problem = problem or f"{text} -> {last}"
            if not counted:
                break
    write(1, f"\n{nonce} {wrap([passed, total, problem])}\n".encode())


def main() -> None:
    """Read the job, lock, run."""
    job = json.loads(sys.stdin.buffer.read())
    for name in PRELOADED.split():
        with contextlib.suppress(ImportError):
            __import__(name)
    os.closerange(3, 64)
    lock(job["seconds"], job["memory"])
    sys.stdin = io.StringIO(job.get("input", ""))
    sys.setrecursionlimit(10_000)
    if "tests" in job:
        run_tests(job["code"], job["tests"], job["nonce"])
    else:
        exec(compile(job["code"], "solution.py", "exec"), {"__name__": "__main__"})
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    try:
        main()
    except SystemExit as left:
        sys.stdout.flush()
        os._exit(left.code if isinstance(left.code, int) else int(left.code is not None))
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
