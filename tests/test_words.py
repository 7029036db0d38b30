"""The project writes in the field's words: what must not come back, and the few exceptions.

Read are comments, docstrings, strings and prose; names of things in code are left alone.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
UNITS = (
    "trial|task|method|seed|suite|scale|benchmark|model|group|claim|cell|kind|layer|job|step|"
    "element|thread|graph|environment|policy|head|expert|domain|row|column|batch|token|byte|second|"
    "core|worker|process|file|page|folder|line|update|epoch|episode|record|metric|dataset|tensor|"
    "panel|paper|group"
)
WORDS = {
    "per, not `a X a Y`": rf"\b(?:[Oo]ne|[Aa]n?) [\w-]+ an? (?:{UNITS})\b",
    "per, not `by`": r"\bby (?:token|byte|core-second|character)s?\b",
    "GPU": r"(?<![Mm]odel )(?<!-)\b[Cc]ards?\b|\bgraphics card\b",
    "inconclusive": r"\b[Uu]nderpowered\b",
    "the whole 95 % CI exceeds the margin": r"\b[Mm]aterially\b",
    "not significant after Holm-Bonferroni correction": r"\bnot after Holm\b",
    "additional control, not in the paper": r"\bno paper prints? it\b",
    "corrupt": r"\b[Dd]amaged?\b|\b[Dd]amaging\b",
    "fix": r"\b[Mm]end(?:s|ed|ing)?\b",
    "rebuild, again": r"\banew\b|\bmade (?:again|of other code)\b",
    "resume": r"\b[Gg]o(?:es)? on (?:with|from|where)\b",
    "synthetic fallback": r"\b[Ss]tand-ins?\b|\b[Ss]tands? in for\b",
    "external datasets": r"\b[Oo]utside data(?:sets?)?\b",
    "published numbers": r"\b[Pp]rinted (?:number|value|table|column|setting)s?\b",
    "backbone, initialisation": r"\b(?:[Bb]odies|(?:random|frozen|merged|one|policies') body)\b",
    "MDE": r"\b(?:can|could) show\b|\bseeds for the margin\b",
    "dataset not found": r"\bfor want of\b",
    "video": r"\b[Ff]ilms?\b|\b[Ff]ilmed\b",
    "chance accuracy": r"\b[Ll]evels? of chance\b",
    "command": r"\b[Vv]erbs?\b",
    "not available": r"\bnot at hand\b",
}
"""What to write -> what not to."""

ALLOWED = {
    "CHANGELOG.md": {"inconclusive"},  # says what the outcome was called
}

MARKS = ("<<<<<<< ", ">>>>>>> ", "=======", "||||||| ")
"""What git begins the lines with between which it asks somebody to choose."""

PLACES = (
    "*.md", "*.toml", "*.ini", "*.cff", "Makefile", "docs/*", "harness/**/*.py",
    "harness/report/templates/*", "suites/**/*.py", "suites/**/*.md", "suites/**/*.yaml",
    "benchmarks/*.py",
)  # fmt: skip
FILES = sorted({p for place in PLACES for p in ROOT.glob(place) if p.is_file()})


def lines(text: str, python: bool) -> Iterator[tuple[int, str]]:
    """The lines to read, with their numbers; of Python only comments and strings."""
    if not python:
        yield from enumerate(text.splitlines(), 1)
        return
    fragments = {
        (n.lineno, n.col_offset): n.value
        for n in ast.walk(ast.parse(text))
        if isinstance(n, ast.Constant) and isinstance(n.value, str)
    }
    for (first, _), value in fragments.items():
        yield from enumerate(value.splitlines(), first)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def found(text: str, python: bool) -> list[tuple[int, str, str]]:
    """Line, what to write instead, and what stands there."""
    return [
        (number, better, match[0])
        for number, line in lines(text, python)
        for better, pattern in WORDS.items()
        if (match := re.search(pattern, line))
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_words_that_must_not_come_back(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    here = found(path.read_text(encoding="utf-8"), path.suffix == ".py")
    assert [x for x in here if x[1] not in ALLOWED.get(name, ())] == []


def test_every_exception_is_needed() -> None:
    for name, better in ALLOWED.items():
        here = found((ROOT / name).read_text(encoding="utf-8"), name.endswith(".py"))
        assert better <= {x[1] for x in here}, name


@pytest.mark.parametrize(
    ("text", "better"),
    [
        ("one file a trial, checked", "per, not `a X a Y`"),
        ("bits by byte", "per, not `by`"),
        ("needs a card", "GPU"),
        ("the file is damaged", "corrupt"),
        ("for the user to mend", "fix"),
        ("the same command goes on where it was", "resume"),
        ("a generated stand-in", "synthetic fallback"),
        ("one random body", "backbone, initialisation"),
    ],
)
def test_the_search_finds_them(text: str, better: str) -> None:
    for source, python in ((text, False), (f'"""{text}."""', True), (f"x = 1  # {text}", True)):
        assert [x[1] for x in found(source, python)] == [better]
    assert [x[1] for x in found(f'y = f"{{x}}: {text}"', True)] == [better]
    name = text.replace(" ", "_").replace("-", "_").replace(",", "")
    assert found(f"{name} = 1", True) == []


def test_a_path_or_a_list_is_not_a_rate() -> None:
    assert found("a trial that reads a file, and a task", False) == []
    assert found("sorted by name, one after the other", False) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_holds_the_marks_of_an_unfinished_merge(path: Path) -> None:
    marks = [line for line in path.read_text().splitlines() if line[:8] in MARKS]
    assert marks == []
