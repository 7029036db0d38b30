"""The suite's pictures: drawn from whatever records there are, the same bytes each time."""

import pytest
from matplotlib.figure import Figure as Drawing

from harness.record import Cost, Provenance, Record, Series
from harness.report.figure import draw
from harness.suite import Figure, Method, Metric, Paper, Scale, Suite, Task
from suites.bam import figures

NAMES = ("perplexity", "load", "gate", "entropy", "loss")
DOMAINS = ("general", "law")


@pytest.fixture(scope="module")
def suite() -> Suite:
    return Suite(
        name="bam",
        paper=Paper(title="T", authors="A", arxiv="0000.00000", venue="V", year=2024),
        summary="",
        methods=tuple(
            Method(name=name, run="a.b:c") for name in ("seed", "btx", "bam", "sparse-upcycling")
        ),
        tasks=tuple(Task(name=name, metrics=("perplexity",)) for name in (*DOMAINS, "mean")),
        metrics=(
            Metric(
                name="perplexity", label="p", unit="", better="lower", split="s", select="last"
            ),
        ),
        scales=(Scale(name="laptop", seeds=(0, 1), expected_seconds=1),),
        figures=tuple(
            Figure(name=n, title=n, draw=f"suites.bam.figures:{n}") for n in NAMES
        ),
    )  # fmt: skip


def record(method: str, task: str, seed: int, series: dict[str, Series]) -> Record:
    provenance = Provenance(
        started="2025-01-01T00:00:00+00:00", finished="2025-01-01T00:00:01+00:00", commit=None,
        dirty=None, source_digest="0" * 64, python="3.11", packages={}, platform="Linux",
        processor="toy", cores=1, memory_bytes=1, accelerator=None, threads=1, flags={},
        command=("harness",),
    )  # fmt: skip
    return Record(
        id=f"{hash((method, task, seed)) % 16**8:08x}" * 8,
        suite="bam",
        method=method,
        task=task,
        seed=seed,
        scale="laptop",
        protocol="standard",
        spec={},
        status="ok",
        metrics={"perplexity": 20.0 + seed + len(method)},
        series=series if task == "mean" else {},
        cost=Cost(wall_seconds=1, cpu_seconds=1, peak_memory_bytes=1),
        provenance=provenance,
    )


@pytest.fixture(scope="module")
def records(suite: Suite) -> list[Record]:
    curve = {
        "loss": Series(x=(0, 10), y=(5.0, 4.0), x_label="tokens"),
        "loss-flops": Series(x=(0, 1e9), y=(5.0, 4.0), x_label="flops"),
    }
    made = []
    for seed in (0, 1):
        routed = dict(curve)
        for domain in DOMAINS:
            routed[f"gate-entropy-{domain}"] = Series(x=(1, 2), y=(1.3, 1.0 + seed / 10))
            for layer in (1, 2):
                share = (0.1 * layer, 0.2, 0.3, 0.5 - 0.1 * layer)
                routed[f"load-{domain}-layer{layer}"] = Series(x=range(4), y=share)
                routed[f"gate-{domain}-layer{layer}"] = Series(x=range(4), y=share)
        only_load = {k: v for k, v in routed.items() if not k.startswith("gate")}
        for task in suite.tasks:
            made += [
                record("seed", task.name, seed, curve),
                record("btx", task.name, seed, only_load),
                record("bam", task.name, seed, routed),
                record("sparse-upcycling", task.name, seed, only_load),
            ]
    return made


def labels(drawing: Drawing) -> set[str]:
    return {text.get_text() for axis in drawing.axes for text in axis.texts}


@pytest.mark.parametrize("name", NAMES)
def test_figures_are_drawn_and_repeat(suite: Suite, records: list[Record], name: str) -> None:
    figure = next(f for f in suite.figures if f.name == name)
    picture = draw(figure, suite, records)
    assert picture.problem == ""
    assert picture.svg == draw(figure, suite, records).svg


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_with_nothing_to_show_says_so(suite: Suite, name: str) -> None:
    figure = next(f for f in suite.figures if f.name == name)
    bare = [record("seed", "mean", 0, {}).model_copy(update={"metrics": {}, "status": "failed"})]
    assert draw(figure, suite, bare).problem == "no records to draw"


def test_one_seed_is_enough(suite: Suite, records: list[Record]) -> None:
    first = [r for r in records if r.seed == 0]
    for figure in suite.figures:
        assert draw(figure, suite, first).problem == ""


def test_perplexities_stand_where_they_were_measured(suite: Suite, records: list[Record]) -> None:
    drawing = figures.perplexity(records, suite, suite.figures[0])
    assert drawing is not None
    panels = drawing.axes
    assert [a.get_title() for a in panels] == ["general", "law", "mean"]
    points = [line.get_xydata()[0].tolist() for line in panels[0].lines if len(line.get_xdata())]
    expected = [[20.5 + len(m.name), row] for row, m in enumerate(suite.methods)]
    assert points == expected


def test_routing_shows_the_mean_over_seeds_by_layer_and_expert(
    suite: Suite, records: list[Record]
) -> None:
    drawing = figures.load(records, suite, suite.figures[1])
    assert drawing is not None
    assert labels(drawing) == {"0.10", "0.20", "0.30", "0.40"}
    heads = [t.get_text() for t in drawing.axes[0].get_xticklabels()]
    assert heads == ["code", "law", "math", "seed"]
    copies = [t.get_text() for t in drawing.axes[4].get_xticklabels()]
    assert copies == ["1", "2", "3", "4"]
    gates = figures.gate(records, suite, suite.figures[2])
    assert gates is not None
    assert len(gates.axes) == 2 + 1  # one method, two domains, the scale of colours


def test_losses_are_means_of_the_shared_steps(suite: Suite, records: list[Record]) -> None:
    longer = Series(x=(0, 10, 20), y=(6.0, 5.0, 3.0), x_label="tokens")
    changed = [
        r.model_copy(update={"series": {**r.series, "loss": longer}})
        if (r.method, r.task, r.seed) == ("bam", "mean", 1)
        else r
        for r in records
    ]
    drawing = figures.loss(changed, suite, suite.figures[4])
    assert drawing is not None
    line = next(line for line in drawing.axes[0].lines if line.get_label() == "bam")
    assert line.get_xydata().tolist() == [[0, 5.5], [10, 4.5]]
    assert [a.get_xlabel() for a in drawing.axes] == ["tokens", "FLOPs"]


def test_leads_stand_over_the_tokens_that_were_read(suite: Suite) -> None:
    made = []
    for task, tokens, ahead in (("mean-half", 1000, 0.01), ("mean", 2000, 0.03)):
        for seed in (0, 1):
            for method, nats in (("btx", 5.0), ("bam", 5.0 - ahead - seed / 100)):
                one = record(method, task, seed, {})
                change = {"metrics": {"nats": nats}, "counts": {"tokens": tokens}}
                made.append(one.model_copy(update=change))
    figure = Figure(name="tokens", title="t", draw="suites.bam.figures:tokens")
    drawing = figures.tokens(made, suite, figure)
    assert drawing is not None
    (axis,) = drawing.axes
    line = axis.containers[0].lines[0]
    assert line.get_xdata().tolist() == [1000, 2000]
    assert line.get_ydata().tolist() == pytest.approx([0.015, 0.035])
    assert "26 doublings" in axis.get_xlabel()
    assert figures.tokens(made[:1], suite, figure) is None
