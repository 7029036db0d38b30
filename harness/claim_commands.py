"""`harness claims`: the verdicts by role, one line each, and the sentences on request."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness import console, margins, plan, registry
from harness.arguments import (
    Assignments,
    Json,
    Names,
    Plugins,
    Results,
    named_suites,
    open_store,
    records_of,
    varied,
)
from harness.claim import Role
from harness.errors import ClaimError, UsageError, unknown
from harness.looks import taken
from harness.suite import SEPARATOR, Scale, Suite
from harness.summary import verdict_lines
from harness.terminal import document, err, out
from harness.wording import LEGEND, TITLES

if TYPE_CHECKING:
    from harness.claims import Verdict


def claims(
    names: Names = None,
    scale: Annotated[str, typer.Option(help="One scale; all with records by default.")] = "",
    results: Results = Path("results"),
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit code 3 where the opposite of a claim was found.")
    ] = False,
    assignments: Assignments = None,
    role: Annotated[
        str, typer.Option(help="primary, secondary, additional or exact; all by default.")
    ] = "",
    text: Annotated[
        bool,
        typer.Option("--text", "-v", help="Sentences, reasons and what the words mean."),
    ] = False,
    plugin: Plugins = None,
    json: Json = False,
) -> None:
    """The verdict on every claim."""
    registry.use(plugin)
    from harness import number
    from harness.analysis import frame
    from harness.claims import judge

    if assignments and not scale:
        raise UsageError("--set varies one scale: name it with --scale")
    if role and role not in TITLES:
        raise UsageError(unknown("role", role, [*TITLES], "harness claims --help"))
    suites, store = named_suites(names, scale or None), open_store(results, read=True)
    against, seen = 0, set()
    found: list[dict[str, object]] = []

    for named in suites:
        suite, only = varied(named, scale, assignments) if scale else (named, None)
        records = records_of(store, suite)
        margins.check(suite, margins.read(store.results, suite.name), records)
        current, _ = plan.standing([suite], records)
        for size in (only,) if only else suite.scales:
            now = [r for r in records if r.id in current[suite.name]]
            here = [r for r in now if r.scale == size.name]
            if not here:
                continue
            along = [r for r in now if r.scale.startswith(size.name + SEPARATOR)]  # its axes
            runs, printed = frame([*here, *along], suite), registry.references(suite)
            looked = taken(store.results, suite.name, size.name)
            verdicts = judge(suite, size.name, runs, here, printed, looked)
            seen.add(suite.name)
            against += sum(v.outcome in ("opposite", "not equal") for v in verdicts)
            if json:
                own = [v for v in verdicts if role in ("", v.role)]
                found += [{"suite": suite.name, **v.model_dump(mode="json")} for v in own]
            else:
                _show(suite, size, verdicts, role, text)
    if json:
        document({"verdicts": found})
    elif seen and text:
        for word, meaning in LEGEND:
            out.print(f"{word}: {meaning}", markup=False)
    elif seen:
        out.print("--text: the sentences, the reasons, and what the words mean")
    if strict and against:
        raise ClaimError(f"the records say the opposite of {number.plural(against, 'claim')}")
    console.nothing(err if json else out, results, suites, seen, names, scale)


def _show(suite: Suite, scale: Scale, verdicts: "Sequence[Verdict]", role: str, text: bool) -> None:
    from harness.report.verdict import remark

    by_name = {claim.name: claim for claim in suite.claims}
    out.print(_head(suite, scale), markup=False)
    for each, title in TITLES.items():
        own = [v for v in verdicts if v.role == each and role in ("", each)]
        if own:
            out.print(f" {title}{_equal(each, own)}", markup=False)
        own = [v for v in own if role or each != "exact" or v.word != "equal"]
        for v, line in zip(own, verdict_lines(suite, own), strict=True):
            out.print(line, markup=False)
            if text:
                words = (by_name[v.claim].text, f"{v.label}.", remark(suite, v))
                out.print(f"    {' '.join(filter(None, words))}", markup=False)
    out.print()


def _head(suite: Suite, scale: Scale) -> str:
    from harness import tiers

    far = tiers.distance(suite, scale)
    return f"{suite.name} at {scale.name} scale" + (f" ({', '.join(far)})" if far else "")


def _equal(role: Role, verdicts: Sequence[object]) -> str:
    if role != "exact":
        return ""
    equal = sum(getattr(v, "outcome", "") == "equal" for v in verdicts)
    return f": {equal} of {len(verdicts)} equal"
