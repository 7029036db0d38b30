"""Reports are the same bytes whatever the last bit of any number on the way to them."""

import importlib
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import special

from harness import analysis, digits, effects, evidence, plan, registry, stats
from harness.record import Record
from harness.report import cost, site, table
from harness.stats import intervals, power, samples, spread, student
from harness.store import Store
from harness.suite import Competitive, Figure, Level, Mark, Suite, Table

Lab = Callable[..., Suite]
Make = Callable[..., Record]
Nudge = Callable[[float], float]
ROOT = Path(__file__).parents[3]

PARTS = (stats, intervals, power, samples, spread, student)
COMPUTED = [
    (part, name)
    for part in PARTS
    for name in (
        "mean_interval", "paired_interval", "welch_interval", "welch_p", "p_value", "paired_p",
        "resampled_interval", "resampled_p",
        "holm", "t_power", "minimum_detectable_effect", "_detectable_in_sd",
        "spread_interval", "combined_spread", "spread_error", "minimum_detectable_spread",
        "standard_deviation", "column_means", "raw_mean", "_power", "centre", "mean_of", "sd_of",
        "standard_error", "summary_of", "quantile", "t_interval", "t_p", "_welch", "_log_ratio",
        "_unexplained",
    )
    if hasattr(part, name)
] + [
    (effects, "sign_flip"), (effects, "widened"), (effects, "i_squared"), (effects, "mean"),
    (effects, "raw_mean"),
    (evidence, "_weighted"), (analysis.Cell, "interval"), (table, "interval_of"),
    (cost, "median"), (cost, "mean"), (cost, "total"), (cost, "_ratio"),
    (digits, "mean"), (digits, "total"), (math, "fsum"), (math, "sqrt"), (math, "log"),
    (math, "exp"), (math, "sinh"), (math, "asinh"), (np, "mean"), (np, "sum"), (np, "std"),
]  # fmt: skip
"""Everything that adds up, takes a root or a logarithm on the way from records to a report."""


def up(value: float) -> float:
    return math.nextafter(value, math.inf)


def down(value: float) -> float:
    return math.nextafter(value, -math.inf)


def either(seed: int) -> Nudge:
    """Up, down or neither, by chance."""
    generator = np.random.default_rng(seed)

    def nudge(value: float) -> float:
        return (up, down, float)[generator.integers(3)](value)

    return nudge


def nudged(value: Any, nudge: Nudge) -> Any:
    """Every float in a result moved; other things as they are."""
    if isinstance(value, float | np.floating):
        return nudge(float(value)) if math.isfinite(value) else value
    if isinstance(value, np.ndarray) and value.dtype == np.float64:
        return np.array([nudged(v, nudge) for v in value.ravel().tolist()]).reshape(value.shape)
    if isinstance(value, tuple):
        parts = [nudged(v, nudge) for v in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return [nudged(v, nudge) for v in value] if isinstance(value, list) else value


def wrapped(function: Callable[..., Any], nudge: Nudge) -> Callable[..., Any]:
    return lambda *a, **k: nudged(function(*a, **k), nudge)


class Special:
    """scipy.special with other last bits."""

    def __init__(self, nudge: Nudge) -> None:
        self._nudge, self._real = nudge, special

    def __getattr__(self, name: str) -> Any:
        return wrapped(getattr(self._real, name), self._nudge)


def disturb(patch: pytest.MonkeyPatch, nudge: Nudge, *more: tuple[Any, str]) -> None:
    """Every computed number from here on is a last bit off."""
    power._detectable_in_sd.cache_clear()
    for part in PARTS:
        if hasattr(part, "special"):
            patch.setattr(part, "special", Special(nudge))
    for owner, name in (*COMPUTED, *more):
        patch.setattr(owner, name, wrapped(getattr(owner, name), nudge))


def tree(out: Path) -> dict[str, bytes]:
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def differences(one: dict[str, bytes], two: dict[str, bytes]) -> list[str]:
    """Files that differ, with the first line that does."""
    found = [f"{name}: only in one" for name in one.keys() ^ two.keys()]
    for name in one.keys() & two.keys():
        for a, b in zip(one[name].splitlines(), two[name].splitlines(), strict=False):
            if a != b:
                found.append(f"{name}: {a[:300]!r} / {b[:300]!r}")
                break
    return found


@pytest.fixture
def awkward(lab: Lab, record: Make) -> tuple[Suite, list[Record]]:
    """Ties at the printed decimals, equal means, effects at a margin, no scatter, equal spreads."""
    claims = list(lab().claims)
    extra: dict[str, Any] = {"text": "T.", "source": "S", "metric": "acc", "tasks": ("*",)}
    claims += [
        Competitive(name="at-the-margin", a="gate", b="plain", margin=0.1, **extra),
        Level(name="at-the-bound", a="gate", bound=80.35, direction="above", margin=0.05, **extra),
    ]
    mark = Mark(metric="acc", below=80.35, text="At the bound.")
    suite = lab(
        claims=tuple(claims),
        tables=(
            Table(name="accuracy", title="A", metric="acc", mark=mark),
            Table(name="steps", title="S", metric="steps", rows="tasks"),
        ),
        figures=(Figure(name="scatter", title="S", draw="lab_figures:scatter"),),
    )
    # Means of 80.35 and 80.25: sums that are ties at one decimal, and whose floats miss them.
    base = [80.05, 80.45, 80.25, 80.65, 80.35, 80.35]
    numbers = {
        ("gate", "shallow"): base,
        ("gate", "deep"): base[::-1],
        ("plain", "shallow"): [x - 0.1 for x in base],
        ("plain", "deep"): [x - 0.1 for x in base],
        ("odd", "shallow"): [80.35] * 6,
        ("odd", "deep"): [*base[3:], *base[:3]],
        ("gate", "made"): [1 / 3, 2 / 3, 0.1, 0.2, 0.7, 0.3],
        ("plain", "made"): [1e-9, 2e-9, -1e-9, 0.0, 1e-9, -3e-9],
        ("odd", "deep-code"): [0.0] * 6,
    }
    records = [
        record(suite, method, task, seed, metrics={"acc": value, "steps": 1e15 / 3 + seed})
        for (method, task), values in numbers.items()
        for seed, value in enumerate(values)
    ]
    return suite, records


@pytest.mark.parametrize(
    "nudge", [up, down, either(0), either(1)], ids=["up", "down", "either", "or"]
)
def test_no_last_bit_shows(
    awkward: tuple[Suite, list[Record]], tmp_path: Path, nudge: Nudge
) -> None:
    suite, records = awkward
    site.generate([suite], records, tmp_path / "one")
    with pytest.MonkeyPatch.context() as patch:
        disturb(patch, nudge)
        site.generate([suite], records, tmp_path / "two")
    power._detectable_in_sd.cache_clear()
    one = tree(tmp_path / "one")
    assert differences(one, tree(tmp_path / "two")) == []
    assert b"at-the-margin" in one["lab/laptop/tables/claims.csv"]
    assert len(one) == 2 + 2 + 6 * 3 + 2
    assert any(name.endswith(".svg") for name in one)


def test_the_disturbance_reaches_the_numbers(lab: Lab) -> None:
    """What the test above relies on: without rounding, every step would be seen."""
    with pytest.MonkeyPatch.context() as patch:
        disturb(patch, up)
        assert stats.mean_interval([0.1, 0.1]).low == up(up(0.1))
        assert stats.standard_deviation([0.5, 0.25, 0.75]) > 0.25
        assert power.special.stdtrit(1, 0.75) > 1


@pytest.fixture
def committed() -> Callable[[str], tuple[Suite, list[Record], set[str]]]:
    """A suite, its committed laptop records, and the ids that are current."""

    def load(name: str) -> tuple[Suite, list[Record], set[str]]:
        suite = registry.load(name)
        records = Store(ROOT / "results", ROOT / ".harness").load(name, "laptop").records
        current, _ = plan.standing([suite], records)
        return suite, records, set(current[name])

    return load


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bam", "gate", "merging", "mixup"])
def test_no_last_bit_shows_in_the_committed_results(
    committed: Callable[[str], tuple[Suite, list[Record], set[str]]], tmp_path: Path, name: str
) -> None:
    suite, records, current = committed(name)
    figures = importlib.import_module(f"suites.{name}.figures")
    own = [(figures, n) for n in ("mean_interval", "column_means", "total") if hasattr(figures, n)]

    def made(folder: str) -> dict[str, bytes]:
        site.generate([suite], records, tmp_path / folder, current={name: current})
        return tree(tmp_path / folder)

    one = made("one")
    for nudge in (up, down, either(2)):
        with pytest.MonkeyPatch.context() as patch:
            disturb(patch, nudge, *own)
            two = made("two")
        power._detectable_in_sd.cache_clear()
        assert differences(one, two) == []


PROCESSORS = {
    "without vectors": ("", "Nehalem", "-AVX,-AVX2,-FMA,-FMA4,-AVX512F"),
    "with short ones": ("AVX512", "Haswell", "-AVX512F"),
    "as it is": (None, "", ""),
}
"""numpy's features that are left out ("" all), the BLAS kernels, the mathematical library's."""


def without(features: str | None) -> str:
    """The features that numpy found here and that are to be left out, as it wants them named."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    found = [name for name in __cpu_dispatch__ if __cpu_features__.get(name)]
    large = [name for name in found if "512" in name or name == "X86_V4"]
    return " ".join([] if features is None else large if features else found)


@pytest.fixture(scope="module")
def small_results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few committed records of two suites, and the reports of them."""
    root = tmp_path_factory.mktemp("small")
    for pattern in ("gate/laptop/*--self-er2-*", "mixup/laptop/*--sst2-300--*"):
        for path in sorted((ROOT / "results").glob(pattern)):
            copy = root / "results" / path.relative_to(ROOT / "results")
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    return root


def harness(root: Path, *words: str, **env: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", "from harness.cli import main; main()", *words]
    env = {**os.environ, "HARNESS_CACHE": str(root / "cache"), "PYTHONPATH": str(ROOT), **env}
    return subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)


def test_every_processor_makes_the_same_reports(small_results: Path) -> None:
    """Other instruction sets for numpy, BLAS and libm, as far as this processor has them."""
    made = harness(small_results, "report")
    assert made.returncode == 0, made.stderr
    assert len(list(small_results.glob("reports/*/laptop/tables/*.csv"))) > 10
    for features, kernels, library in PROCESSORS.values():
        env = {"NPY_DISABLE_CPU_FEATURES": without(features)}
        if kernels:
            env |= {"OPENBLAS_CORETYPE": kernels}
            env |= {"GLIBC_TUNABLES": f"glibc.cpu.hwcaps={library}"}
        checked = harness(small_results, "report", "--check", **env)
        assert checked.returncode == 0, f"{json.dumps(env)}\n{checked.stderr}"
