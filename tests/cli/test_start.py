"""Help and list appear at once: no torch, little time."""

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "numpy", "scipy", "transformers", "accelerate", "sklearn", "pydantic", "optuna")
PROBE = """
import json, sys
sys.argv = ["counterpoint", *json.loads(sys.argv[1])]
from counterpoint.cli.main import main
try:
    main()
except SystemExit:
    pass
print("LOADED", json.dumps(sorted(set(sys.modules) & set({heavy!r}))))
"""


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["--version"]])
def test_nothing_heavy_is_loaded(arguments):
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(heavy=HEAVY), json.dumps(arguments)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "LOADED []"


@pytest.mark.parametrize("arguments", [["list", "--ready"], ["run", "--help"], ["run", "dlc"]])
def test_torch_is_not_loaded_before_it_is_needed(arguments):
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(heavy=("torch",)), json.dumps(arguments)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "LOADED []"


@pytest.mark.parametrize("arguments", [["--help"], ["list"]])
def test_the_processor_time_of_the_start_is_below_a_quarter_of_a_second(arguments):
    import resource

    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "counterpoint", *arguments], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 0.25


def test_importing_the_package_loads_no_torch():
    code = "import counterpoint, sys; counterpoint.run; counterpoint.report; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
