"""Everything: installs the pinned peers into benchmarks/.venv, runs every file, writes results.json and the table."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from harness import judge

FOLDER = Path(__file__).resolve().parent
TORCH = "torch==2.13.0"
START, END = "<!-- table -->\n", "<!-- end of table -->\n"


def environment() -> str:
    """Return the peers' interpreter, installing them first where they are missing."""
    python = FOLDER / ".venv/bin/python"
    ready = FOLDER / ".venv/ready"
    if not ready.exists():
        subprocess.run([sys.executable, "-m", "venv", str(FOLDER / ".venv")], check=True)
        for what in ([TORCH], ["-r", str(FOLDER / "requirements.txt")]):
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", *what], check=True)
        ready.touch()
    return str(python)


def table(rows: list[dict]) -> str:
    """Lay the stored rows out: every peer's time over ours."""
    lines = [
        "| workload | shape | ours | against | times ours (CPU) | times ours (wall) | peak, ours / peer | target | reached |",
        "|" + "---|" * 9,
    ]
    for row in rows:
        ours = row["arms"].get("ours")
        if ours is None:
            continue
        shape = ", ".join(f"{k}={v:,}" for k, v in row["shape"].items())
        peers = {a: r for a, r in row["arms"].items() if a != "ours"} or {"": None}
        verdict = _verdict(row)
        for arm, run in peers.items():
            own = _own(ours)
            if run is None:
                lines.append(
                    f"| {row['workload']} | {shape} | {own} | | | | {ours['peak_bytes'] / 1e6:,.0f} MB | {row['target']} | {verdict} |"
                )
                continue
            counted = (
                "" if row["agreement"].get(arm, 0) <= row["tolerance"] else " (not counted: results differ)"
            )
            extra = next((k for k in ("milliseconds_per_step", "seconds") if k in ours), None)
            ratios = [run[k] / ours[k] for k in (extra or "cpu", extra or "wall")]
            lines.append(
                f"| {row['workload']} | {shape} | {own} | {arm}{counted} | {ratios[0]:.2f} | {ratios[1]:.2f} | "
                f"{ours['peak_bytes'] / 1e6:,.0f} / {run['peak_bytes'] / 1e6:,.0f} MB | {row['target']} | {verdict} |"
            )
    return "\n".join(lines) + "\n"


def _verdict(row: dict) -> str:
    """Say of every goal of a row what was reached."""
    found = judge(row).items()
    return "; ".join(f"{name} {value:.3g}: {'met' if met else '**missed**'}" for name, (value, met) in found)


def _own(ours: dict) -> str:
    if "milliseconds_per_step" in ours:
        return f"{ours['milliseconds_per_step']:.2f} ms per step"
    if "seconds" in ours:
        return f"{ours['seconds']:.2f} s"
    return f"{ours['cpu']:.2f} s CPU, {ours['wall']:.2f} s wall"


def main() -> None:
    if "--table" not in sys.argv:
        python = environment()
        for script in sorted(FOLDER.glob("p[0-9]*.py")):
            subprocess.run([python, str(script), *sys.argv[1:]], check=True)
    results = FOLDER / "results.json"
    if results.exists() and "--small" not in sys.argv:
        readme = FOLDER / "README.md"
        text = readme.read_text()
        before, rest = text.split(START)
        readme.write_text(before + START + table(json.loads(results.read_text())) + END + rest.split(END)[1])


if __name__ == "__main__":
    main()
