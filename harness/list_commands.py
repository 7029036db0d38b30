"""The commands that say what there is: `harness list` and `show`."""

from typing import Annotated, Any

import typer

from harness import console, inventory, number, registry, variants
from harness.arguments import Assignments, Json, Plugins, varied
from harness.cache import location
from harness.data import Sources
from harness.settings import rows as setting_rows
from harness.terminal import document, out


def list_suites(plugin: Plugins = None, json: Json = False) -> None:
    """Suites, papers, scales, number of trials, estimated cost; plugins."""
    registry.use(plugin)
    listed: list[dict[str, Any]] = []
    ways: list[str] = []
    sources = Sources.of(None, location())
    for suite in registry.every():
        for scale in suite.scales:
            found = inventory.runnable(suite, scale, sources)
            twin = suite.rebuilt_of(scale)
            ways += _way(suite.name, scale.name, found, twin.name if twin else "")
            listed.append(
                {
                    "suite": suite.name,
                    "title": suite.paper.title,
                    "arxiv": suite.paper.arxiv,
                    "scale": scale.name,
                    "trials": found.trials,
                    "data_here": found.here,
                    "seeds": len(scale.seeds),
                    "artifacts": len(suite.artifacts),
                    "core_seconds": scale.expected_seconds * found.trials,
                }
            )
    if json:
        document({"scales": listed, "plugins": [*registry.plugin_lines()]})
        return
    rows = [
        (
            one["suite"],
            f"{one['title']} ({one['arxiv']})",
            one["scale"],
            one["trials"],
            one["data_here"],
            one["artifacts"],
            f"{number.seconds(one['core_seconds'])} of one core",
        )
        for one in listed
    ]
    heads = ("suite", "paper", "scale", "trials", "data here", "artifacts", "estimate")
    console.table(heads, rows, out)
    for line in ways:
        out.print(line, markup=False)
    for line in registry.plugin_lines():
        out.print(line, markup=False)


def _way(suite: str, scale: str, found: inventory.Runnable, twin: str) -> list[str]:
    """Where trials lack data: the command that gets them, and how many then still lack some.

    `twin`: the scale that runs them on rebuilt data, if there is one.
    """

    def trials(count: int, more: str = "") -> str:
        return f"{count:,} {more}trial{'' if count == 1 else 's'}"

    rest = found.trials - found.here - found.fetchable
    where, lines = f"{suite} at {scale} scale", []
    prepare = f"`harness data prepare {suite} --scale"
    if found.fetchable:
        lines.append(
            f"{where}: {prepare} {scale}` gets the data of {trials(found.fetchable, 'more ')}"
        )
    if rest and twin:
        lines.append(
            f"{where}: nothing fetches the very files of {trials(rest)}; {prepare} "
            f"{twin}` builds equivalents, on which `harness run {suite} --scale {twin}` runs all"
        )
    elif rest:
        lines.append(
            f"{where}: nothing fetches the data of {trials(rest)}; `harness data list` says which"
        )
    return lines


def show(
    name: Annotated[str, typer.Argument(help="A suite.")],
    scale: Annotated[str, typer.Option(help="Show the settings of this scale instead.")] = "",
    assignments: Assignments = None,
    plugin: Plugins = None,
) -> None:
    """Methods, tasks, claims, published numbers, and what differs from the paper."""
    registry.use(plugin)
    suite = registry.load(name)
    if scale or assignments:
        chosen = varied(suite, scale or "smoke", assignments)[1]
        settings = [
            (row.name, variants.text(row.value), row.meaning)
            for row in setting_rows(chosen.settings)
        ]
        out.print(f"{suite.name} at {chosen.name} scale; replace a setting with --set NAME=VALUE")
        console.table(("setting", "value", "meaning"), settings, out)
        return
    paper = suite.paper
    out.print(
        f"{paper.title}. {paper.authors}. {paper.venue} {paper.year}. arXiv {paper.arxiv}\n"
        f"{suite.summary}\n",
        markup=False,
    )
    rows: list[tuple[object, ...]] = [
        (m.name, m.kind, m.label, " ".join((*m.deviations, m.note))) for m in suite.methods
    ]
    console.table(("method", "kind", "label", "differs from the paper"), rows, out)
    out.print()
    rows = [
        (t.name, t.protocol, ", ".join(t.metrics), ", ".join(t.datasets) or "generated", t.note)
        for t in suite.tasks
    ]
    console.table(("task", "protocol", "metrics", "data", "note"), rows, out)
    out.print()
    rows = [(c.name, c.role, c.kind, c.source, c.text) for c in suite.claims]
    console.table(("claim", "role", "kind", "source", "what it says"), rows, out)
    out.print()
    rows = [
        (s.name, suite.trial_count(s), len(s.seeds), " ".join(s.deviations)) for s in suite.scales
    ]
    console.table(("scale", "trials", "seeds", "differs from the paper"), rows, out)
    for line in dict.fromkeys(added.told for added in suite.plugins):
        out.print(line, markup=False)
    for title, lines in (("Differs everywhere", suite.deviations), ("Defects", suite.defects)):
        for line in lines:
            out.print(f"{title}: {line}", markup=False)
    printed = registry.references(suite)
    if printed:
        out.print(f"\n{len(printed)} published numbers in {suite.references}:")
        rows = [
            (r.table, r.task, r.method, r.metric, number.spread(r.value, r.spread), r.source)
            for r in printed
        ]
        console.table(("table", "task", "method", "metric", "value", "source"), rows, out)
