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
def test_few_modules_are_loaded_at_the_start(arguments):
    """What the start costs, in a figure that hangs on no machine; benchmarks/p6_overhead.py has the seconds."""
    code = (
        "import runpy, sys\nsys.argv = ['counterpoint', *sys.argv[1:]]\n"
        "try:\n    runpy.run_module('counterpoint', run_name='__main__')\n"
        "finally:\n    print('OWN', sum(name.partition('.')[0] == 'counterpoint' for name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    assert int(done.stdout.splitlines()[-1].removeprefix("OWN ")) < 50


def test_importing_the_package_loads_no_torch():
    code = "import counterpoint, sys; counterpoint.run; counterpoint.report; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
