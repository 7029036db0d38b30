"""The downstream benchmarks as data: groups, chance accuracy, files, licences. No heavy imports.

How each is asked is in `tasks/<name>.yaml`; `downstream.py` runs them.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

from harness.contents import shipped
from harness.suite import Dataset, Metric, Task
from suites.bam.settings import Measured

TASKS = Path(__file__).parent / "tasks"
"""Folder of the benchmarks' YAML files, and of `SHA256SUMS` with the digests of their data."""


class Benchmark(NamedTuple):
    """One set of benchmark items."""

    name: str
    group: str
    chance: float
    """Best score in % without reading the question: one of k choices, or, where all questions have
    the same choices, the commonest answer."""
    questions: int
    paper: bool
    """Whether the paper uses it; the others replace sets that are not available offline."""
    folder: str
    """Folder of its files inside the data folder; empty where the questions are generated."""
    licence: str = ""
    source: str = ""
    executes: bool = False
    """Whether scoring runs code that the model wrote."""
    note: str = ""


_LEGALBENCH = "HazyResearch/legalbench, revision a46c2e67 (questions), ce482446 (prompts)"
_ADAPTERS = "AGI-Edgerunners/LLM-Adapters, revision 81665720"

BENCHMARKS = (
    Benchmark(
        "gsm8k", "math", 0.0, 1319, True, "lm/task_gsm8k", "MIT",
        "openai/grade-school-math, revision 3101c7d5",
    ),
    Benchmark(
        "mathqa", "math", 20.0, 2936, False, "lm/task_mathqa", "Apache-2.0", _ADAPTERS,
        note="Replaces MATH; 49 questions with unreadable options are left out.",
    ),
    Benchmark(
        "humaneval", "code", 0.0, 164, True, "lm/task_humaneval", "MIT",
        "openai/human-eval, revision 6d43fb98", executes=True,
    ),
    Benchmark(
        "mbpp", "code", 0.0, 500, True, "lm/task_mbpp", "CC BY 4.0",
        "google-research mbpp.jsonl, tasks 11 to 510", executes=True,
    ),
    Benchmark(
        "mbpp-choice", "code-choice", 25.0, 500, False, "lm/task_mbpp", "CC BY 4.0",
        "google-research mbpp.jsonl, tasks 11 to 510",
        note="Which of four solutions belongs to the text? Scores code without running it.",
    ),
    Benchmark(
        "overruling", "law", 50.0, 1495, False, "lm/task_legalbench/overruling", "CC BY 4.0",
        _LEGALBENCH,
    ),
    Benchmark(
        "governing-law", "law", 50.1, 561, False, "lm/task_legalbench/cuad_governing_law",
        "CC BY 4.0", _LEGALBENCH,
    ),
    Benchmark(
        "hearsay", "law", 54.7, 95, False, "lm/task_legalbench/hearsay", "CC BY 4.0", _LEGALBENCH,
    ),
    Benchmark("proa", "law", 50.5, 95, False, "lm/task_legalbench/proa", "CC BY 4.0", _LEGALBENCH),
    Benchmark(
        "personal-jurisdiction", "law", 58.0, 50, False, "lm/task_legalbench/personal_jurisdiction",
        "CC BY 4.0", _LEGALBENCH,
    ),
    Benchmark(
        "nq-open", "knowledge", 0.0, 3610, True, "lm/task_nq_open", "CC BY-SA 3.0",
        "google-research-datasets/natural-questions, revision fb26a307",
    ),
    Benchmark(
        "openbookqa", "knowledge", 25.0, 500, False, "lm/task_openbookqa", "Apache-2.0", _ADAPTERS,
        note="Replaces TriviaQA.",
    ),
    Benchmark(
        "arc-easy", "reasoning", 25.0, 2376, True, "lm/task_arc_easy", "CC BY-SA 4.0", _ADAPTERS
    ),
    Benchmark(
        "arc-challenge", "reasoning", 25.0, 1172, True, "lm/task_arc_challenge", "CC BY-SA 4.0",
        _ADAPTERS,
    ),
    Benchmark("siqa", "reasoning", 33.3, 1954, True, "lm/task_siqa", "CC BY 4.0", _ADAPTERS),
    Benchmark(
        "piqa", "reasoning", 50.0, 1838, True, "lm/task_piqa", "AFL-3.0",
        "ybisk/ybisk.github.io, revision 21edab43",
    ),
    Benchmark(
        "winogrande", "reasoning", 50.0, 1267, True, "lm/task_winogrande", "CC BY", _ADAPTERS
    ),
    Benchmark(
        "mmlu", "mmlu", 26.9, 14079, True, "lm/task_mmlu", "MIT",
        "hendrycks/test, revision 785eba57, the first public upload",
    ),
    Benchmark(
        "generated", "generated", 25.0, 60, False, "",
        note="Made by the program, for machines without the data: which word was there twice?",
    ),
)  # fmt: skip
"""All benchmarks, in the order of the paper's columns."""

_LABELS = {
    "math": "Math",
    "code": "Code",
    "code-choice": "Code, by choice",
    "law": "Law",
    "knowledge": "Knowledge",
    "reasoning": "Reasoning",
    "mmlu": "MMLU",
    "generated": "Generated questions",
}
GROUPS = {group: tuple(b.name for b in BENCHMARKS if b.group == group) for group in _LABELS}
"""The paper's columns and two of ours; the score of a column is the mean of its sets."""

VERSIONS = {"reasoning": 2, "code-choice": 2}
"""Groups whose numbers changed. 2: the score of a choice that is longer than half of the context is
divided by the length of what is read of it; solutions end after 150 characters."""

CHANCE = {b.name: b.chance for b in BENCHMARKS}
"""Chance accuracy of each set, in %."""

DEVIATIONS = (
    "Downstream sets that cannot be had offline are left out: MATH, TriviaQA, QuAC and the "
    "citizenship questions of LegalBench. MathQA, OpenBookQA and five other LegalBench tasks stand "
    "in, so that Math, Law, Knowledge and Reasoning do not compare with the published columns.",
    "The paper names no metric for multiple choice. Of choices that are texts the one with the "
    "highest log-likelihood per character counts; letters, Yes and No, and WinoGrande's sentence "
    "ends are not normalised.",
    "Where accuracy is at chance, bits per byte of the right answers are a graded measure; of "
    "answers that are a letter, Yes or No they measure the form and count for no claim.",
)
"""How the downstream tables differ from the paper's."""


def named(name: str) -> Benchmark:
    """The benchmark of that name; KeyError where there is none."""
    return {b.name: b for b in BENCHMARKS}[name]


def chance(group: str) -> float:
    """Score of guessing in %, averaged over the sets of a group as its scores are."""
    return sum(CHANCE[name] for name in GROUPS[group]) / len(GROUPS[group])


def tasks() -> tuple[Task, ...]:
    """One task per group, `downstream-<group>`; its label carries chance accuracy."""
    made = []
    for group, names in GROUPS.items():
        of = [named(name) for name in names]
        made.append(
            Task(
                name=f"downstream-{group}",
                label=f"{_LABELS[group]} (chance {chance(group):.1f})",
                version=VERSIONS.get(group, 1),
                params=Measured(group=group).plain(),
                metrics=("accuracy", "above-chance", "answer-bits"),
                optional=tuple(f"accuracy-{name}" for name in names),
                datasets=tuple(dict.fromkeys(_dataset_name(b) for b in of if b.folder)),
                fallback=group == "generated",
                note=" ".join(b.note for b in of if b.note),
            )
        )
    return tuple(made)


def metrics() -> tuple[Metric, ...]:
    """`accuracy` and `above-chance` of a group, and `accuracy-<name>` of each of its sets."""

    def metric(name: str, label: str, unit: str = "%") -> Metric:
        return Metric(
            name=name, label=label, unit=unit, better="higher", split="test", select="last",
            lowest=0.0 if unit else None, highest=100.0 if unit else None,
        )  # fmt: skip

    return (
        metric("accuracy", "accuracy"),
        metric("above-chance", "standard errors above chance", ""),
        Metric(
            name="answer-bits",
            label="bits per byte of the right answers",
            unit="bits",
            better="lower",
            split="test",
            select="last",
            digits=3,
            lowest=0.0,
        ),
        *(metric(f"accuracy-{name}", f"{name} (chance {at:.1f})") for name, at in CHANCE.items()),
    )


def datasets() -> tuple[Dataset, ...]:
    """The entries of the benchmarks' files, with digests."""
    made = {}
    for b in BENCHMARKS:
        if b.folder:
            made[_dataset_name(b)] = Dataset(
                name=_dataset_name(b),
                files=digests(b),
                urls=_urls(b),
                licence=b.licence,
                source=b.source,
                sizes=f"{b.questions:,} questions",
                splits="evaluation only",
                note=b.note,
            )
    return tuple(made.values())


_ADDRESSES = {
    "lm/task_humaneval/": "openai/human-eval/raw/6d43fb980f9fee3c892a914eda09951f772ad10d/data/",
    "lm/task_mbpp/": "OckBench/OckBench/raw/b72752a0ba5989d3c212675ec60d3eedcd838628/data/",
    "lm/task_nq_open/": "google-research-datasets/natural-questions/raw/"
    "fb26a3073b1fe636c97302890a27b491d6530130/nq_open/",
    "lm/task_mmlu/": "hendrycks/test/raw/785eba57b455b9f9be12a0d3c1106d67274fea0e/data/",
}
"""Folder -> where on github.com its files are published byte for byte."""


def _urls(benchmark: Benchmark) -> dict[str, str]:
    base = _ADDRESSES.get(f"{benchmark.folder}/")
    beginning = len(benchmark.folder) + 1
    return {p: f"https://github.com/{base}{p[beginning:]}" for p in digests(benchmark) if base}


def _dataset_name(benchmark: Benchmark) -> str:
    return benchmark.folder.rpartition("/")[2].replace("_", "-").removeprefix("task-")


def digests(benchmark: Benchmark) -> dict[str, str | None]:
    """Data file -> sha256, of all files of a benchmark."""
    inside = f"{benchmark.folder}/"
    return {p: d for p, d in _digests().items() if benchmark.folder and p.startswith(inside)}


@cache
def _digests() -> dict[str, str]:
    lines = shipped(TASKS / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    return {path: digest for digest, path in (line.split("  ") for line in lines)}


FILES = {
    group: tuple(dict.fromkeys(path for name in names for path in digests(named(name))))
    for group, names in GROUPS.items()
}
"""Data files of each group, relative to the data folder."""
