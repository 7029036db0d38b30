"""Runs benchmarks and keeps what they say, as JSON and as Markdown.

    python -m benchmarks [NAME ...] [--out FOLDER] [-- OPTIONS]

Without a name all of them, one after the other; options go to each one named. Every benchmark is a
module of this folder that prints a table, and can be run by itself (`python -m benchmarks.mixup`).
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ALONE = ("mixup_tune",)
"""What needs arguments, or tunes rather than measures: run where it is named."""


def there() -> list[str]:
    """Names of all benchmarks."""
    return sorted(path.stem for path in HERE.glob("*.py") if path.stem != "__main__")


def run(name: str, options: Sequence[str]) -> dict[str, Any]:
    """Runs one benchmark, whose lines are passed on as they come."""
    started = time.perf_counter()
    command = [sys.executable, "-m", f"benchmarks.{name}", *options]
    lines = []
    with subprocess.Popen(command, cwd=HERE.parent, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            lines.append(line.rstrip())
    return {
        "name": name,
        "options": list(options),
        "exit_code": process.returncode,
        "seconds": round(time.perf_counter() - started, 1),
        "rows": [row for line in lines if (row := cells(line))],
    }


def cells(line: str) -> list[str]:
    """The cells of a printed row: between bars, or two or more spaces apart; none of a rule."""
    if re.fullmatch(r"[\s|:-]*", line):
        return []
    if line.startswith("|"):
        return [cell.strip() for cell in line.strip().strip("|").split("|")]
    return re.split(r"\s{2,}", line.strip())


def markdown(done: Sequence[dict[str, Any]], machine: dict[str, Any]) -> str:
    """One table of all rows; the first column names the benchmark."""
    width = max((len(row) for result in done for row in result["rows"]), default=1)
    head = ["benchmark", *[""] * width]
    out = [f"{', '.join(f'{k} {v}' for k, v in machine.items())}", "", _row(head)]
    out.append(_row(["---"] * len(head)))
    for result in done:
        for row in result["rows"]:
            out.append(_row([result["name"], *row, *[""] * (width - len(row))]))
    return "\n".join(out) + "\n"


def _row(texts: Sequence[str]) -> str:
    return f"| {' | '.join(text.replace('|', chr(92) + '|') for text in texts)} |"


def main() -> int:
    """Runs those that are named; 1 where one of them failed."""
    own, _, rest = " ".join(["", *sys.argv[1:]]).partition(" -- ")
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(there()))
    parser.add_argument("--out", type=Path, default=Path("benchmarks-out"), metavar="FOLDER")
    args = parser.parse_args(own.split())
    if unknown := [name for name in args.names if name not in there()]:
        parser.error(f"no benchmark {unknown[0]!r}; there are: {', '.join(there())}")
    machine = {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
    }
    names = args.names or [name for name in there() if name not in ALONE]
    done = [run(name, rest.split()) for name in names]
    args.out.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine, "benchmarks": done}
    (args.out / "benchmarks.json").write_text(json.dumps(content, indent=1) + "\n")
    (args.out / "benchmarks.md").write_text(markdown(done, machine))
    return int(any(result["exit_code"] for result in done))


if __name__ == "__main__":
    sys.exit(main())
