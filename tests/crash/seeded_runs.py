"""Proof that a change of structure changes no result: every kill test's run, without the kill, as digests.

    python tests/crash/seeded_runs.py write before.json      on the commit before the change
    python tests/crash/seeded_runs.py compare before.json    on the commit after it; exits 1 and names what differs

For each run: the losses of every step, the model's bytes, the stages and the metrics.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from crash_harness import Command

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]  # so that the tests can be imported by name


def runs() -> dict[str, Callable[[Path], Command]]:
    """Name -> what makes the run's command, given a folder for its data."""
    import test_kill
    import test_kill_audio
    import test_kill_baselines
    import test_kill_continual
    import test_kill_environment
    import test_kill_labelled
    import test_kill_pairs
    import test_kill_preference
    import test_kill_sentence_pairs
    import test_kill_text
    import test_kill_vega

    found: dict[str, Callable[[Path], Command]] = dict(test_kill.CASES)
    found |= {
        n: lambda folder, n=n: test_kill_audio.trained(n, folder / "clips") for n in test_kill_audio.RUNS
    }
    found["continual"] = lambda folder: test_kill_continual.trained()
    found |= {n: lambda folder, n=n: test_kill_environment.CASES[n]() for n in test_kill_environment.CASES}
    found |= {n: lambda folder, n=n: test_kill_labelled.trained(n) for n in test_kill_labelled.RUNS}
    found |= {n: lambda folder, n=n: test_kill_pairs.trained(n, folder) for n in test_kill_pairs.RUNS}
    found |= {n: lambda folder, n=n: test_kill_preference.trained(n) for n in test_kill_preference.CASES}
    found |= {
        n: lambda folder, n=n: test_kill_sentence_pairs.trained(n, folder)
        for n in test_kill_sentence_pairs.RUNS
    }
    found |= {f"text {n}": lambda folder, n=n: test_kill_text.trained(n, folder) for n in test_kill_text.RUNS}
    found["vega"] = test_kill_vega.vega
    found |= {n: lambda folder, n=n: test_kill_baselines.trained(n, folder) for n in test_kill_baselines.RUNS}
    return found


def digests(make: Callable[[Path], Command], folder: Path) -> dict[str, str]:
    """Sha256 of each thing that must not change, by name."""
    from crash_harness import final_bits

    make(folder)(folder / "out")
    return {
        name: hashlib.sha256(value if isinstance(value, bytes) else json.dumps(value).encode()).hexdigest()[
            :16
        ]
        for name, value in final_bits(folder / "out").items()
    }


def main() -> int:
    """Write the digests, or compare them with those of a file."""
    what, path = sys.argv[1], Path(sys.argv[2])
    torch.set_num_threads(1)
    found = {}
    expected = json.loads(path.read_text()) if what == "compare" else None
    for name, make in runs().items():
        if expected is not None and name not in expected:
            continue  # a run that was added since
        with tempfile.TemporaryDirectory() as folder:
            found[name] = digests(make, Path(folder))
        print(name, len(found[name]), flush=True)
    if expected is None:
        path.write_text(json.dumps(found, indent=1) + "\n")
        return 0
    differ = [
        f"{run}: {name}"
        for run in sorted(expected.keys() | found.keys())
        for name in sorted(expected.get(run, {}).keys() | found.get(run, {}).keys())
        if expected.get(run, {}).get(name) != found.get(run, {}).get(name)
    ]
    print("\n".join(differ) or f"{len(found)} runs are the same to the last bit")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
