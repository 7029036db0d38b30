"""Copies tables and verdicts from `reports/` into the headline blocks of README.md.

`python docs/headlines.py`, after `harness report`. A block names its rows and claims; their numbers
and labels are taken from the laptop report of the suite that the block names.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(
    r"(<!-- headline: copied from reports/(\w+)/laptop.*?-->\n)(.*?)(<!-- /headline -->)", re.DOTALL
)
CLAIM = re.compile(r"- \*\*.*?\*\*: (.*?\.) \(")


def refresh(text: str, root: Path = ROOT) -> str:
    """The README's text with every line of its headline blocks as the reports have it now.

    Raises:
        LookupError: a row or claim that the reports no longer have; edit the block by hand.
    """

    def block(match: re.Match[str]) -> str:
        start, suite, lines, end = match.groups()
        report = (root / f"reports/{suite}/laptop/report.md").read_text(encoding="utf-8")
        return start + _block(lines, report, suite) + end

    return BLOCK.sub(block, text)


def _block(block: str, report: str, suite: str) -> str:
    verdicts = {m[1]: line for line in report.splitlines() if (m := CLAIM.match(line))}
    lines: list[str] = []
    table: dict[str, str] = {}
    for line in block.splitlines():
        if line.startswith("| ---"):
            continue
        if line.startswith("|") and not (lines and lines[-1].startswith("|")):
            head, rule, table = _table(line, report, suite)
            lines += [head, rule]
        elif line.startswith("|"):
            lines.append(_known(table, _label(line), f"row of {suite}"))
        elif claim := CLAIM.match(line):
            lines.append(_known(verdicts, claim[1], f"claim of {suite}"))
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


def _table(head: str, report: str, suite: str) -> tuple[str, str, dict[str, str]]:
    """The report's first table with that head: its head, its rule, and its rows by label."""
    lines = report.splitlines()
    if head not in lines:
        raise LookupError(f"no table of {suite} is headed {head!r}; edit the block in README.md")
    first = lines.index(head)
    rows: dict[str, str] = {}
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        rows[_label(line)] = line
    return head, lines[first + 1], rows


def _label(line: str) -> str:
    return line.partition(" |")[0]


def _known(lines: dict[str, str], key: str, what: str) -> str:
    if key not in lines:
        raise LookupError(f"no {what} reads {key!r}; edit the block in README.md")
    return lines[key]


if __name__ == "__main__":
    path = ROOT / "README.md"
    try:
        path.write_text(refresh(path.read_text(encoding="utf-8")), encoding="utf-8")
    except LookupError as error:
        sys.exit(f"headlines: {error.args[0]}")
