"""The suite's pictures, from records alone.

Series that they read, in the records of any perplexity task: `loss` (over steps or tokens),
`loss-flops`; and by domain `load-<domain>-layer<l>` (share of tokens by FFN expert),
`gate-<domain>-layer<l>` (mean gate by attention expert) and `gate-entropy-<domain>` (by layer).
"""

import math
import re
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator
from numpy.typing import NDArray

from harness.analysis import cells, frame
from harness.drawing import (
    bounds,
    cell_points,
    interval_line,
    legend,
    panels,
    points,
    shown,
    styles,
    threads,
)
from harness.record import Record, Series
from harness.stats import column_means, mean_interval
from harness.suite import Figure, Method, Suite

EXPERTS = ("code", "law", "math", "seed")
"""The order in which dense models become experts; further ones are copies of the seed."""

PAPER_TOKENS = 100e9
"""Of the mixture phase of the paper's small models (section 4.1)."""

_ROUTING = re.compile(r"(?P<kind>load|gate)-(?P<domain>[a-z]+)-layer(?P<layer>\d+)")
_ENTROPY = re.compile(r"gate-entropy-(?P<domain>[a-z]+)")


def perplexity(records: Sequence[Record], suite: Suite, figure: Figure) -> Drawing | None:
    """Perplexity of every method, a panel for each task, four in a row, on logarithmic axes."""
    tasks = [t for t in suite.tasks if "perplexity" in t.metrics]
    tasks = [t for t in tasks if any(r.task == t.name for r in records)]
    methods = [m for m in suite.methods if any(r.method == m.name for r in records)]
    grouped, look = cells(frame(records, suite)), styles(m.name for m in suite.methods)
    found = {
        (m.name, t.name): cell
        for m in methods
        for t in tasks
        if len((cell := grouped[m.name, t.name, "perplexity"]).values)
    }
    if not found:
        return None
    methods = [m for m in methods if any(name == m.name for name, _ in found)]
    columns = 4
    drawing, axes = panels(len(tasks), columns, (2.1, 0.24 * len(methods) + 0.8), (1.4, 0.2))
    for place, (axis, task) in enumerate(zip(axes, tasks, strict=True)):
        for row, method in enumerate(methods):
            if (method.name, task.name) in found:
                cell, style = found[method.name, task.name], look[method.name]
                mean, low, high = bounds(cell.interval())
                points(axis, cell.values.tolist(), [row] * len(cell.values), style)
                axis.errorbar(
                    mean, row, xerr=[[mean - low], [high - mean]], color=style.color,
                    marker=style.marker, markersize=4, elinewidth=1.2,
                )  # fmt: skip
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        axis.xaxis.set_major_formatter("{x:.4g}")
        axis.xaxis.set_minor_locator(NullLocator())
        axis.tick_params(axis="x", labelsize=7, labelrotation=45)
        axis.set_title(textwrap.fill(task.label or task.name, 24))
        titles = [m.title if place % columns == 0 else "" for m in methods]
        axis.set_yticks(range(len(methods)), titles)
        axis.set_ylim(len(methods) - 0.5, -0.5)
    drawing.supxlabel("perplexity, held-out documents", fontsize=9)
    return drawing


def load(records: Sequence[Record], suite: Suite, figure: Figure) -> Drawing | None:
    """Share of the tokens that each FFN expert gets: methods down, domains across."""
    return _routing(records, "load", shown(suite, figure))


def gate(records: Sequence[Record], suite: Suite, figure: Figure) -> Drawing | None:
    """Mean gate of each attention expert: methods down, domains across."""
    return _routing(records, "gate", shown(suite, figure))


def entropy(records: Sequence[Record], suite: Suite, figure: Figure) -> Drawing | None:
    """Entropy of the attention gates by layer: one panel per method; means by domain, all seeds."""
    found: dict[str, dict[str, list[Series]]] = {}
    for record in records:
        for name, series in record.series.items():
            if match := _ENTROPY.fullmatch(name):
                found.setdefault(record.method, {}).setdefault(match["domain"], []).append(series)
    methods = [m.name for m in shown(suite, figure) if m.name in found]
    if not methods:
        return None
    drawing = Drawing(figsize=(2.5 * len(methods) + 0.4, 2.6))
    axes = drawing.subplots(1, len(methods), sharey=True, squeeze=False)[0]
    for axis, method in zip(axes, methods, strict=True):
        look = styles(found[method])
        for domain, lines in found[method].items():
            values = [line.y for line in lines]
            axis.plot(lines[0].x, column_means(values), label=domain, **look[domain]._asdict())
            threads(axis, lines[0].x, values, look[domain])
        experts = _experts(records, method)
        if experts:
            axis.axhline(math.log(experts), color="#111827", linestyle="--", linewidth=0.8)
        axis.set_title(textwrap.fill(suite.method(method).title, 26), fontsize=8)
        axis.set_xticks(lines[0].x)
        axis.set_xlabel("layer")
        axis.set_ylim(bottom=0)
    axes[0].set_ylabel("entropy, nats")
    legend(drawing, axes, 4, fontsize=8)
    return drawing


def loss(records: Sequence[Record], suite: Suite, figure: Figure) -> Drawing | None:
    """Training loss of the mixtures against tokens and FLOPs; mean over seeds, and each seed."""
    records = [r for r in records if r.method != "seed" and not r.method.startswith("expert-")]
    panels = [n for n in ("loss", "loss-flops") if any(n in r.series for r in records)]
    if not panels:
        return None
    look = styles(m.name for m in suite.methods)
    drawing = Drawing(figsize=(3.4 * len(panels) + 1.8, 3.4))
    axes = drawing.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, name in zip(axes, panels, strict=True):
        for method in suite.methods:
            lines = [
                r.series[name] for r in records if r.method == method.name and name in r.series
            ]
            if lines:
                shortest = min(len(line.x) for line in lines)
                mean = column_means([line.y[:shortest] for line in lines])
                axis.plot(
                    lines[0].x[:shortest], mean, linewidth=1.1, label=method.title,
                    markersize=3, markevery=5, **look[method.name]._asdict(),
                )  # fmt: skip
                threads(axis, lines[0].x, [line.y for line in lines], look[method.name])
                axis.xaxis.set_major_formatter(EngFormatter(sep=""))
                axis.locator_params(axis="x", nbins=4)
                axis.set_xlabel({"flops": "FLOPs"}.get(lines[0].x_label, lines[0].x_label))
    axes[0].set_ylabel("training loss, nats per token")
    legend(drawing, axes, 1, loc="outside right upper", fontsize=8)
    return drawing


def tokens(records: Sequence[Record], suite: Suite, figure: Figure) -> Drawing | None:
    """Lead over BTX in nats against the tokens of the mixture phase, by seed and in the mean."""
    found: dict[tuple[str, str], dict[int, float]] = {}
    read: dict[str, float] = {}
    for record in records:
        if record.task.startswith("mean") and "nats" in record.metrics:
            found.setdefault((record.method, record.task), {})[record.seed] = record.metrics["nats"]
            if record.method == "btx":
                read[record.task] = record.counts.get("tokens", 1)
    leads = {
        method.name: lead
        for method in suite.methods
        if method.name != "btx" and (lead := _leads(found, read, method.name))
    }
    longest = max(map(len, leads.values()), default=0)
    drawing = Drawing(figsize=(5.2, 3.4))
    axis = drawing.subplots()
    look = styles(m.name for m in suite.methods)
    for name, by_length in leads.items():
        if len(by_length) == longest:  # the others were measured after the whole phase alone
            intervals = [mean_interval(np.array(lead)) for lead in by_length.values()]
            label, values = suite.method(name).title, list(by_length.values())
            interval_line(axis, list(by_length), intervals, look[name], label, values)
    if not longest:
        return None
    axis.axhline(0, color="#6b7280", linewidth=0.8)
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    doublings = math.log2(PAPER_TOKENS / max(read.values()))
    axis.set_xlabel(
        f"BTX's tokens of the mixture phase; the paper's {PAPER_TOKENS / 1e9:.0f} billion lie "
        f"{doublings:.0f} doublings to the right"
    )
    axis.set_ylabel("lead over BTX, nats per token")
    legend(drawing, [axis], 2, fontsize=8)
    return drawing


def _leads(
    found: Mapping[tuple[str, str], Mapping[int, float]], read: Mapping[str, float], method: str
) -> dict[float, list[float]]:
    """Tokens that BTX has read -> its loss less that of a method, seed by seed."""
    leads = {}
    for task in sorted(read, key=lambda name: read[name]):
        btx, own = found["btx", task], found.get((method, task), {})
        if both := sorted(btx.keys() & own.keys()):
            leads[read[task]] = [btx[seed] - own[seed] for seed in both]
    return leads


def _routing(records: Sequence[Record], kind: str, among: Sequence[Method]) -> Drawing | None:
    """Layers against experts: one picture per method and domain, means and a mark per seed."""
    found: dict[str, dict[str, dict[int, list[tuple[float, ...]]]]] = {}
    for record in records:
        for name, series in record.series.items():
            if (match := _ROUTING.fullmatch(name)) and match["kind"] == kind:
                layers = found.setdefault(record.method, {}).setdefault(match["domain"], {})
                layers.setdefault(int(match["layer"]), []).append(series.y)
    titles = {m.name: m.title for m in among if m.name in found}
    methods = list(titles)
    if not methods:
        return None
    domains = list(dict.fromkeys(d for method in methods for d in found[method]))
    tables = {
        (method, domain): np.array(
            [column_means(layers[layer]) for layer in sorted(layers)]
        )
        for method in methods
        for domain, layers in found[method].items()
    }  # fmt: skip
    most = max(float(table.max()) for table in tables.values())
    deepest = max(len(table) for table in tables.values())
    height = max(1.35, 0.12 * deepest + 0.4)
    drawing = Drawing(figsize=(1.7 * len(domains) + 1.6, height * len(methods) + 0.7))
    axes = drawing.subplots(len(methods), len(domains), squeeze=False)
    image = None
    for row, method in zip(axes, methods, strict=True):
        for axis, domain in zip(row, domains, strict=True):
            axis.grid(visible=False)
            if (method, domain) not in tables:
                axis.set_axis_off()
                continue
            table = tables[method, domain]
            image = axis.imshow(table, vmin=0, vmax=most, cmap="Blues", aspect="auto")
            axis.set_xticks(range(table.shape[1]), _expert_names(method, table), rotation=45)
            axis.set_yticks(range(len(table)), range(1, 1 + len(table)))
            axis.tick_params(labelsize=7 if deepest <= 8 else 5, length=0)
            by_layer = found[method][domain]
            for (layer, expert), value in np.ndenumerate(table):
                color = "white" if value > 0.6 * most else "#1f2937"
                axis.text(
                    expert, layer - 0.12, f"{value:.2f}", ha="center", va="center",
                    fontsize=6 if deepest <= 8 else 4, color=color,
                )  # fmt: skip
                seeds = [y[expert] for y in by_layer[sorted(by_layer)[layer]]]
                name = _expert_names(method, table)[expert]
                label = f"{titles[method]}, layer {layer + 1}, {name}"
                cell_points(axis, layer, expert, seeds, (0, most), color, label)
        row[0].set_ylabel(f"{textwrap.fill(titles[method], 18)}\nlayer", fontsize=7)
    for axis, domain in zip(axes[0], domains, strict=True):
        axis.set_title(f"text: {domain}")
    if image is not None:
        words = {"load": "share of the tokens", "gate": "mean gate"}
        drawing.colorbar(image, ax=axes, label=words[kind], fraction=0.03)
    return drawing


def _expert_names(method: str, table: NDArray[np.float64]) -> list[str]:
    """Names of the experts; those of sparse upcycling are copies of one model and have numbers."""
    count = table.shape[1]
    if method == "sparse-upcycling":
        return [str(e + 1) for e in range(count)]
    return [EXPERTS[e] if e < len(EXPERTS) else f"seed {e - 2}" for e in range(count)]


def _experts(records: Sequence[Record], method: str) -> int:
    """How many attention experts a method has; 0 where no series says."""
    sizes = [
        len(series.x)
        for record in records
        if record.method == method
        for name, series in record.series.items()
        if (match := _ROUTING.fullmatch(name)) and match["kind"] == "gate"
    ]
    return max(sizes, default=0)
