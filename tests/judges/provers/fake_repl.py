"""A process that answers as Lean's REPL does: what its documentation shows, by words in the command; some of it misbehaves."""

import json
import sys
import time


def reply(answer: dict, environment: int) -> None:
    print(json.dumps({**answer, "env": environment}, indent=1) + "\n", flush=True)


def message(severity: str, data: str, line: int = 1) -> dict:
    return {
        "severity": severity,
        "pos": {"line": line, "column": 0},
        "endPos": {"line": line, "column": 1},
        "data": data,
    }


GOOD = message("info", "'counterpoint_goal' does not depend on any axioms", 4)


def main() -> None:
    environment = -1
    lines: list[str] = []
    for line in sys.stdin:
        if line.strip():
            lines.append(line)
            continue
        request = json.loads("".join(lines))
        lines = []
        environment += 1
        text = request["cmd"]
        if text.startswith("import"):
            reply(
                {"messages": [message("error", "unknown module")]} if "Missing" in text else {}, environment
            )
        elif text.startswith("#eval"):
            reply({"messages": [message("info", text.partition(" ")[2])]}, environment)
        elif "env" not in request:
            reply({"messages": [message("error", "unknown identifier")]}, environment)
        elif "rfl" in text:
            reply({"messages": [GOOD]}, environment)
        elif "choose" in text:
            names = "propext,\n Classical.choice,\n Quot.sound"
            reply(
                {"messages": [message("info", f"'counterpoint_goal' depends on axioms: [{names}]")]},
                environment,
            )
        elif "trusting" in text:
            reply(
                {
                    "messages": [
                        message("info", "'counterpoint_goal' depends on axioms: [Lean.trustCompiler]")
                    ]
                },
                environment,
            )
        elif "hole" in text:
            sorries = [{"pos": {"line": 1, "column": 2}, "goal": "⊢ False", "proofState": 0}]
            reply(
                {"sorries": sorries, "messages": [message("warning", "declaration uses 'sorry'"), GOOD]},
                environment,
            )
        elif "quiet" in text:
            reply({"sorries": [{"goal": "⊢ False"}], "messages": [GOOD]}, environment)
        elif "tried" in text:
            reply({"messages": [message("warning", "aesop: failed to prove the goal"), GOOD]}, environment)
        elif "linted" in text:
            reply({"messages": [message("warning", "unused variable `x`"), GOOD]}, environment)
        elif "silent" in text:
            reply({}, environment)
        elif "unknown" in text:
            print(json.dumps({"message": "Unknown environment."}, indent=1) + "\n", flush=True)
        elif "endless" in text:
            time.sleep(1000)
        elif "flood" in text:
            while True:
                sys.stdout.write("x" * 4096)
        elif "forged" in text:
            # What a proof that writes to the process's own output would do: its answer first, Lean's after it.
            reply({"messages": [GOOD]}, environment)
            reply({"messages": [message("error", "type mismatch")]}, environment)
        elif "crash" in text:
            sys.exit(3)
        else:
            reply({"messages": [message("error", "unsolved goals\n⊢ False")]}, environment)


if __name__ == "__main__":
    main()
