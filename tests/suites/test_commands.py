"""The command beside every number of a report plans the trials of that number, and no others."""

import shlex
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import arguments, options, plan, registry, variants
from harness.record import Record
from harness.report.page import Page, build
from harness.report.sheet import Entry
from harness.store import Store
from harness.suite import SEPARATOR, Suite

ROOT = Path(__file__).parents[2]
SUITES = ["bam", "gate", "merging", "mixup"]

PLUGIN = """
from harness.plugins import Plugin
from harness.suite import Method

def plugin():
    return Plugin(suite="gate", methods=(Method(name="mine", run=__name__ + ":run"),))

def run(ctx):
    return {}
"""


def entries(page: Page) -> list[Entry]:
    """What the pages of records show, those along axes too."""
    along = [part for sheet in page.axis_sheets for part in sheet.parts]
    return [entry for one in (*page.sheets, *along) for entry in one.entries]


def planned(command: str) -> Iterator[str]:
    """Identities of the trials that the lines of a command plan, as `harness run` does."""
    for line in command.splitlines():
        words = shlex.split(line)
        assert words[:2] == ["harness", "run"]
        given: dict[str, list[str]] = {}
        for option, value in zip(words[3::2], words[4::2], strict=True):
            given.setdefault(option, []).append(value)
        registry.use(given.pop("--plugin", None))
        (scale,), filters = (
            given.pop("--scale"),
            options.filters(*(given.pop(f"--{x}") for x in ("methods", "tasks", "seeds")), None),
        )
        (device,) = given.pop("--device", ["cpu"])
        assert given.pop("--results") == ["again"]
        asked = given.pop("--set", None)
        assert not given
        for suite, size in arguments.sizes([registry.load(words[2])], scale, asked, filters):
            yield from (trial.id for trial in plan.trials(suite, size, device, filters)[0])


def check(page: Page) -> int:
    """Holds every command of a report against the records beside it; says how many there are."""
    found = entries(page)
    for entry in found:
        ids = sorted(identity[:12] for identity in planned(entry.command))
        assert ids == sorted(seed.id for seed in entry.seeds), entry.command
    return sum(len(entry.seeds) for entry in found)


def parted(scale: str, records: list[Record]) -> tuple[list[Record], list[Record]]:
    """The records of a scale, and those of its variants."""
    variant = f"{scale}{SEPARATOR}"
    return (
        [r for r in records if r.scale == scale],
        [r for r in records if r.scale.startswith(variant)],
    )


@pytest.mark.parametrize("name", SUITES)
def test_every_committed_record_can_be_made_again(name: str, tmp_path: Path) -> None:
    suite = registry.load(name)
    records = Store(ROOT / "results", tmp_path).load(name).records
    current, stale = plan.standing([suite], records)
    kept = {r.id for r in records} & current[name]
    shown = 0
    for scale in sorted({r.scale for r in records if SEPARATOR not in r.scale}):
        here, beyond = parted(scale, records)
        shown += check(
            build(
                suite, scale, here, current=current[name], stale=stale[name], beyond=beyond,
                figures=False,
            )
        )  # fmt: skip
    assert shown == len(kept)


def of_all_kinds(suite: Suite, scale: str, device: str) -> list[plan.Trial]:
    """Of each method at a scale and along its axes: one of its seeds, and one that it lacks."""
    found = []
    size = suite.scale(scale)
    seeds = (size.seeds[0], max(size.seeds) + 3)
    for one, point in variants.around(suite, size):
        tasks: dict[str, str] = {}
        for method, task in one.pairs(point):
            tasks.setdefault(method.name, task.name)
        for method_name, task_name in tasks.items():
            pick = plan.Filters((method_name,), (task_name,), seeds)
            found += plan.trials(one, point, device, pick)[0]
    return found


@pytest.mark.parametrize(
    ("scale", "device"), [("laptop", "cpu"), ("laptop", "cuda"), ("gpu", "cuda"), ("gpu", "cpu")]
)
@pytest.mark.parametrize("name", SUITES)
def test_seeds_that_a_scale_lacks_and_points_of_axes_can_be_made_again(
    name: str, scale: str, device: str, record_of: Callable[..., Record]
) -> None:
    suite = registry.load(name)
    trials = of_all_kinds(suite, scale, device)
    records = [
        record_of(trial, metrics=dict.fromkeys(trial.task.reports, 1.0 + trial.seed / 100))
        for trial in trials
    ]
    assert {t.seed for t in trials} > {min(t.seed for t in trials)}
    here, beyond = parted(scale, records)
    assert check(build(suite, scale, here, beyond=beyond, figures=False)) == len(records)


def test_a_cell_of_two_devices_has_a_command_for_each(record_of: Callable[..., Record]) -> None:
    suite = registry.load("gate")
    scale = suite.scale("laptop")
    pick = [plan.Filters(("gat",), ("self-er2-l1",), seeds) for seeds in ((0, 1), (12,))]
    trials = [
        trial
        for device, filters in zip(("cpu", "cuda"), pick, strict=True)
        for trial in plan.trials(suite, scale, device, filters)[0]
    ]
    page = build(suite, "laptop", [record_of(t, status="oom") for t in trials], figures=False)
    (entry,) = entries(page)
    first, second = entry.command.splitlines()
    assert "--seeds 0-1 --results" in first
    assert "--seeds 12 --device cuda" in second
    assert check(page) == 3


def test_what_a_plugin_added_can_be_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_of: Callable[..., Record]
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(textwrap.dedent(PLUGIN))
    monkeypatch.chdir(tmp_path)  # pages name the file and not its folder
    try:
        registry.use([str(file)])
        suite = registry.load("gate")
        pick = plan.Filters(("mine",), ("self-er2-l1",), (0, 30))
        trials = plan.trials(suite, suite.scale("laptop"), "cpu", pick)[0]
        page = build(suite, "laptop", [record_of(t, status="oom") for t in trials], figures=False)
        registry.use(())
        assert check(page) == 2
    finally:
        registry.use(())
