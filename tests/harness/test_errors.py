"""Messages: exceptions of any origin in one line, names that do not exist, one place for both."""

import re
from pathlib import Path

import pytest

import harness
import suites
from harness.errors import brief, described, one_line, quoted, unknown

SOURCES = sorted(
    path
    for package in (harness, suites)
    for path in Path(package.__file__ or "").parent.rglob("*.py")
)


class Mute(Exception):
    """Has no text to be had."""

    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError(), "ValueError"),
        (ValueError("\n\n"), "ValueError"),
        (ValueError("\n two \nlines"), "two"),
        (OSError(28, "No space left on device", "/x"), "No space left on device"),
        (Mute(), "Mute"),
        (ValueError("\x1b[31mred\x07"), r"\x1b[31mred\x07"),
        (KeyError("a"), "'a'"),
        (RuntimeError("in Net:\n\tMissing key(s): b\n\tmore"), "in Net: Missing key(s): b"),
    ],
)
def test_an_exception_is_one_line_that_is_never_empty(error: BaseException, line: str) -> None:
    assert brief(error) == line
    assert described(error).startswith(f"{type(error).__name__}: ")
    assert "\n" not in described(error)


def test_a_long_message_keeps_its_ends() -> None:
    assert one_line("a" * 500 + "b" * 500, 90) == "a" * 60 + "..." + "b" * 30
    assert len(brief(ValueError("x" * 10_000))) < 500


@pytest.mark.parametrize(
    ("name", "allowed", "message"),
    [
        ("x", [], "unknown task 'x': there are none"),
        ("gaet", ["gate", "gat"], "unknown task 'gaet': did you mean 'gat'? there are gat, gate"),
        (None, ["gate"], "unknown task None: there are gate"),
        ("a\nb", ["gate"], r"unknown task 'a\nb': there are gate"),
    ],
)  # fmt: skip
def test_unknown_names_are_explained(name: object, allowed: list[str], message: str) -> None:
    assert unknown("task", name, iter(allowed)) == message
    assert unknown("task", name, allowed, "harness show toy") == (
        f"{message}; see `harness show toy`"
    )


def test_a_long_word_is_quoted_with_its_ends() -> None:
    assert quoted("a" * 100 + "b") == repr("a" * 50 + "..." + "a" * 19 + "b")
    assert quoted(3) == "3"


HAND_MADE = {
    "a first line": re.compile(r"str\(\w+\)(\.strip\(\))?\.splitlines\(\)"),
    "all lines in one": re.compile(r'" "\.join\(str\((error|e|problem)\)\.split\(\)\)'),
    "a type and a text": re.compile(r"\{type\((error|e)\)\.__name__\}: \{"),
    "the first fault": re.compile(r"\.errors\(\)\[0\]\["),
    "printable text": re.compile(r"ascii\(c\)\[1:-1\]"),
    "an unknown name": re.compile(r"f\"[^\"]*(is unknown; use|; choose from|there are:? \{', ')"),
}
HOME = {"the first fault": "harness/settings.py"}
"""Where each is done; the others in `harness/errors.py`."""
ELSEWHERE = {
    "harness/suite.py": {"the first fault"},  # until 2026-12-31: being cut into two
    "suites/bam/distributed.py": {"the first fault"},  # whether there is a place
}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: "/".join(path.parts[-3:]))
def test_no_module_makes_such_lines_by_hand(path: Path) -> None:
    name = path.relative_to(Path(harness.__file__ or "").parents[1]).as_posix()
    text = path.read_text()
    found = {kind for kind, pattern in HAND_MADE.items() if pattern.search(text)}
    found -= {kind for kind in found if HOME.get(kind, "harness/errors.py") == name}
    assert found - ELSEWHERE.get(name, set()) == set(), "harness/errors.py has a function for it"
