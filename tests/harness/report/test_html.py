"""HTML: escaped, without scripts, every link to a record that exists."""

from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

from harness.record import Record
from harness.report import html
from harness.report.overview import Overview, chapter
from harness.report.page import build
from harness.suite import Suite

Lab = Callable[..., Suite]
Make = Callable[..., Record]
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Outline(HTMLParser):
    """Tags, links, ids and whether all tags close in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.targets: set[str] = set()
        self.lists: dict[str, list[str]] = {}
        self.text = ""
        self._list = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        assert not any(name.startswith("on") for name in values)
        if "id" in values:
            self.ids.append(values["id"] or "")
        if "popover" in values:
            self._list = values["id"] or ""
            self.lists[self._list] = []
        if "popovertarget" in values:
            self.targets.add(values["popovertarget"] or "")
        if tag == "a":
            self.links.append(values["href"] or "")
            if self._list and "results/" in self.links[-1]:
                self.lists[self._list].append(self.links[-1])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "div":
            self._list = ""

    def handle_data(self, data: str) -> None:
        self.text += data


def test_page_is_whole_and_escaped(
    lab: Lab, records: list[Record], printed: dict[str, Any]
) -> None:
    page = build(lab(), "laptop", records, printed["lab"], stale={records[0].id})
    text = html.report(page)
    seen = Outline(text)
    assert seen.open == []
    assert '<span class="small">[78.2, 80.3] n=6</span>' in text
    assert '<span class="small">[70.7, 71.5] <span class="bad">n=4, 4/6 ok</span></span>' in text
    assert f'{records[0].short}</a><b class="mark">*</b>' in text
    failed = next(r for r in records if r.status == "diverged")
    assert f'{failed.short}</a> <b class="bad">diverged</b>' in text
    assert "script" not in seen.tags
    assert "<script>alert(1)</script>" in seen.text
    assert "a_b%&#" in seen.text
    assert "loss became inf at step 7 <oops>" in seen.text
    assert "Generated data <b>only</b>." in seen.text
    assert len(seen.ids) == len(set(seen.ids))
    assert "Not drawn: KeyError: 'no <such> method'" in seen.text
    for part in ("paper 81.25 ± 1.1 (n=10)", "split: test", "selection: best-val"):
        assert part in seen.text


def test_every_number_opens_the_records_behind_it(lab: Lab, records: list[Record]) -> None:
    page = build(lab(), "laptop", records, figures=False)
    seen = Outline(html.report(page))
    files = {f"../../../results/lab/laptop/{r.file_name}": r.short for r in records}
    linked = {link for link in seen.links if "results/" in link}
    assert linked == set(files)
    assert seen.targets == set(seen.lists)
    for table in page.tables:
        for cell in table.cells:
            behind = seen.lists.get(f"p-{cell.method}/{cell.task}", [])
            assert [files[link] for link in behind] == [t.id for t in cell.trials]
    for line in (line for group in page.groups for line in group.lines):
        assert len(seen.lists[f"v-{line.name}"]) == len(line.trials) > 0
    anchors = {link[1:] for link in seen.links if link.startswith("#")}
    assert anchors <= set(seen.ids)


def test_index_links_records_from_its_own_place(lab: Lab, records: list[Record]) -> None:
    suite, empty = lab(), lab(name="empty")
    pages = [build(suite, "laptop", records, figures=False)]
    made = html.index(Overview((chapter(suite, pages), chapter(empty, [])), ("ghost",)))
    seen = Outline(made)
    assert seen.open == []
    files = {f"../results/lab/laptop/{r.file_name}" for r in records}
    assert {link for link in seen.links if "results/" in link} == files
    assert "lab/laptop/report.html" in seen.links
    assert seen.targets == set(seen.lists)
    assert len(seen.ids) == len(set(seen.ids))
    assert "No current records yet" in seen.text
    assert "not installed: ghost" in " ".join(seen.text.split())
    assert "There are no suites" in html.index(Overview((), ()))


def test_fifteen_hundred_records_stay_small(lab: Lab, record: Make) -> None:
    """Eight tables of 15 methods on 10 tasks with 10 seeds each."""
    from harness.suite import Beats, Method, Table, Task

    base = lab()
    metrics = tuple(
        base.metrics[0].model_copy(update={"name": f"a-longer-metric-{k}"}) for k in range(8)
    )
    names = tuple(m.name for m in metrics)
    suite = lab(
        methods=tuple(Method(name=f"some-longer-method-{k}", run="x:run") for k in range(15)),
        tasks=tuple(Task(name=f"some-longer-task-{k}", metrics=names) for k in range(10)),
        metrics=metrics,
        scales=(base.scale("laptop").model_copy(update={"seeds": tuple(range(10))}),),
        tables=tuple(Table(name=n, title=n, metric=n) for n in names),
        claims=tuple(
            Beats(
                name=f"claim-{k}", text="It wins.", source="Table 1", metric=names[0],
                tasks=("*",), a="some-longer-method-0", b=f"some-longer-method-{k}", margin=0.5,
            )
            for k in range(1, 11)
        ),
        figures=(), datasets=(), headline=names[0],
    )  # fmt: skip
    records = [
        record(suite, m.name, t.name, s, metrics={n: float(s + i) for i, n in enumerate(names)})
        for m in suite.methods
        for t in suite.tasks
        for s in range(10)
    ]
    text = html.report(build(suite, "laptop", records, figures=False))
    assert len(text.encode()) < 2_000_000
