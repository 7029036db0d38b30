"""Command lines that nobody means: whatever the words and variables, one clear line and a code."""

import io
import json
import os
import random
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer

from harness import cli, registry
from harness.data import Sources
from harness.executors.local import Local

CODES = {0, 1, 2, 3, 4, 5, 130}
SECONDS = 5.0
"""Of one command line, processor time; pytest's own limit ends what hangs."""
LONG = "x" * 100_000
HOSTILE = (
    "", " ", "-", "--", "---", "=", ",", ",,", "*", "**", "[", "[!", "[z-a]", "?", "a\0b", "\udcff",
    "\ud800", "\n", "a\nb", "\r", "\t", "\x1b[31m", "\x7f", "²", "١", "１", "½", "٣h", "-1", "-0",
    "0", "1", "1,", "1-", "-1-2", "0-1", "1-0", "0-99999999999", "0-9999", "5-5-5", "1e3", "0x1",
    "1_0", "9" * 30, "9" * 5000, "1" * 10_000 + "-" + "2" * 10_000, "0," * 5000, "*a" * 500, LONG,
    "nan", "inf", "-inf", "1e400h", "90m", ".5h", ".", "..", "90", "0m", "-5m", "h", "1" * 13 + "h",
    "None", "null", "true", "[bold]x[/]", "{0}", "%s", "$HOME", "~", "café", "🦜", "\u202e",
    "--help", "../../x", "gpu", "toy", "toy/walk", "toy/", "/", "//", "/walk", "toy//walk", "gate",
    "smoke", "--version", "-h", "-qv", "--json", "-v=1",
)  # fmt: skip
PATHS = ("results", "missing", "file", "loop", "dangling", "loop/a", "file/a", "a\0b", "", "~", "é",
         "\udcff", "a\nb", "x" * 300, "deep/" * 2000, "locked", "odd",
         "./results/..//results")  # fmt: skip
"""All below the project, since some commands write and remove."""
SANE = {
    "--scale": ("smoke", "laptop", "gpu", "paper"), "--methods": ("walk", "w*,drift", "*"),
    "--tasks": ("short", "*", "l?ng"), "--seeds": ("0", "0-1"), "--device": ("cpu", "auto"),
    "--rerun": ("none", "failed", "stale", "all"), "--jobs": ("0", "2"), "--time": ("90m", "2h"),
    "--track": ("tensorboard", "wandb"),
    "--metric": ("height", "*"), "--at": ("HEAD", "main"),
    "--fail-on": ("regression", "difference"), "--format": ("csv", "parquet", "every-eval-ever"),
    "--card": ("toy/walk", "toy"),
}  # fmt: skip
SUITES = ("toy", "toy-chain", "toy-data", "toy-false", "toy-faults")
NAMES = {
    "compare": ("toy/walk", "toy/drift", "drift", "results", "odd"),
    "data": ("online", "offline", "garbled"),
}
VARIABLES = {
    "HARNESS_DATA": ("missing", "file", "loop", "~", "a\nb", "\udcff", "", "x" * 300, "results"),
    "HARNESS_CACHE": ("missing", "file", "loop", "~", "a\nb", "\udcff", "x" * 300, "locked"),
    "COLUMNS": ("abc", "²", "0", "-1", "1", "9" * 30, ""),
    "TERM": ("", "dumb", "\n", "xterm"),
    "HOME": ("", "/missing", "file"),
    "TMPDIR": ("/missing", "file"),
    "FORCE_COLOR": ("1", "²"),
    "NO_COLOR": ("1",),
}  # fmt: skip


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command by its words."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = list(commands(typer.main.get_command(cli.app)))
HELP = ("--help", "-h")
FOLDERS = ("--results", "--reports", "--data", "--to")


def value(rng: random.Random, option: str) -> str:
    """Something for an option, as often odd as not."""
    if option in FOLDERS:
        return rng.choice(PATHS)
    return rng.choice(SANE[option] if rng.random() < 0.6 else HOSTILE)


def names(rng: random.Random, command: str, parameters: list[Any]) -> list[str]:
    """About as many arguments as a command takes, most of them of the right kind."""
    most = sum(99 if p.nargs < 0 else 1 for p in parameters)
    number = min(most, rng.choice((0, 0, 1, 2)) if most > 2 else most)
    number += rng.choice((-1, 1)) if rng.random() < 0.05 else 0
    known = NAMES.get(command, SUITES)
    return [rng.choice(known if rng.random() < 0.85 else HOSTILE) for _ in range(number)]


def line(rng: random.Random) -> list[str]:
    """A command line: a command, names, options with values; now and then some of it is wrong."""
    words, command = rng.choice(COMMANDS)
    found = [*words] if rng.random() < 0.97 else [rng.choice(HOSTILE)]
    found += names(rng, words[0], [p for p in command.params if p.param_type_name == "argument"])
    options = [o for p in command.params for o in p.opts if o[0] == "-" and o not in HELP]
    for _ in range(rng.choice((0, 1, 1, 2, 2, 3, 5))):
        option = rng.choice(options) if options and rng.random() < 0.97 else rng.choice(HELP)
        kind = rng.random()
        if option in SANE or option in FOLDERS:
            given = value(rng, option)
            found += [f"{option}={given}"] if kind < 0.3 else [option, given][: 1 + (kind < 0.97)]
        else:
            found.append(option if kind < 0.97 else f"{option}={rng.choice(HOSTILE)}")
    if rng.random() < 0.05 and not any(word.startswith(FOLDERS) for word in found):
        rng.shuffle(found)
    return found


@pytest.fixture
def fuzz(project: Any, toys: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """`fuzz(seed, number)`: runs that many command lines over the toy suites, in this process.

    They start no trials, and fetch nothing.
    """
    origins = {name: o for name, o in registry.origins().items() if name.startswith("toy")}
    (project.root / "file").write_text("text")
    (project.root / "loop").symlink_to("loop")
    (project.root / "dangling").symlink_to("nowhere")
    (project.root / "locked").mkdir(mode=0o000)
    odd = project.root / "odd" / "toy" / "smoke"
    odd.mkdir(parents=True)
    (odd / "a.json").write_bytes(b"[" * 1000)
    (odd / "b.json").mkdir()
    (odd / "c\n\udcff.json").write_text("{}")
    monkeypatch.chdir(project.root)
    with monkeypatch.context() as patch:
        patch.setattr(registry, "origins", lambda: origins)
        patch.setattr(Local, "run", lambda *_: True)
        patch.setattr(Sources, "fetch", lambda *_: None)

        def run(seed: int, number: int) -> None:
            wrong = []
            rng = random.Random(seed)  # noqa: S311
            for _ in range(number):
                words = line(rng)
                variables = {
                    name: rng.choice(VARIABLES[name]) for name in VARIABLES if rng.random() < 0.06
                }
                try:
                    check(project, words, variables)
                except AssertionError as error:
                    wrong.append(str(error).partition("\n")[0])
            assert not wrong, "\n".join([f"{len(wrong)} of {number}:", *wrong[:30]])

        yield run


def check(project: Any, words: list[str], variables: dict[str, str]) -> None:
    """One command line and what must hold of its end."""
    out, err = io.StringIO(), io.StringIO()
    shown = f"{[w if len(w) < 200 else f'{w[:20]}... ({len(w)})' for w in words]} {variables}"
    before = dict(os.environ)
    start = time.process_time()
    os.environ.pop("HARNESS_DATA", None)
    os.environ["HARNESS_CACHE"] = str(project.cache)
    os.environ.update(variables)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["harness", *words])
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
        except BaseException as error:
            raise AssertionError(f"{shown}: {error!r}") from error
        else:
            code = None
    os.environ.clear()
    os.environ.update(before)
    text = err.getvalue()
    if "--json" in words and out.getvalue().startswith("{"):
        json.loads(out.getvalue(), parse_constant=pytest.fail)
    assert code in CODES, f"{shown}: code {code}"
    assert time.process_time() - start < SECONDS, shown
    assert "Traceback" not in text + out.getvalue(), f"{shown}: {text}"
    assert "please report it" not in text, f"{shown}: {text}"
    if not text.startswith("Usage: "):
        assert len(text.splitlines()) <= 12, f"{shown}: {text}"
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text), f"{shown}: {text!r}"
        assert max(map(len, text.splitlines()), default=0) < 5000, shown
    assert code == 0 or text or words[:1] == [], f"{shown}: nothing said, code {code}"


def test_no_command_line_ends_in_a_traceback(
    fuzz: Callable[[int, int], None], commands: tuple[int, int], tally: Any
) -> None:
    first, number = commands
    with tally("fuzzed command lines", "every command") as row:
        try:
            fuzz(first, number)
        except AssertionError as wrong:
            failed = int(str(wrong).partition(" of ")[0])
            row.add(False, cases=failed)
            row.add(cases=number - failed)
            raise
        row.add(cases=number)
