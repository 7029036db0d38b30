"""HTML: escaped, closed, no link that leads out of the folder, nothing that its policy forbids."""

import base64
import hashlib
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

from harness.record import Record
from harness.report import html, markdown
from harness.report.overview import Overview, chapter
from harness.report.page import build
from harness.report.site import generate
from harness.suite import Answer, Citation, Suite
from harness.wording import LEGEND, RULES, anchor, forms, slug

Lab = Callable[..., Suite]
Make = Callable[..., Record]
VOID = {"meta", "img", "br", "link", "input", "hr", "rect", "circle", "path"}


class Outline(HTMLParser):
    """One page, read."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.regions: list[str] = []
        """Names of what can be scrolled; whoever hears a page tells places apart by them."""
        self.policy = ""
        self.inline: dict[str, str] = {}
        """Contents of style and script elements."""
        self.text = ""
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        assert not any(name.startswith("on") or name == "style" for name in values)
        if "id" in values:
            self.ids.append(values["id"] or "")
        if values.get("role") == "region":
            self.regions.append(values["aria-label"] or "")
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"] or ""
        self.links += [values[name] or "" for name in ("href", "src") if name in values]
        self._inside = tag if tag in ("style", "script") else ""

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.inline[self._inside] = self.inline.get(self._inside, "") + data
        else:
            self.text += data


def dead_links(folder: Path) -> list[str]:
    """Links of all pages below a folder that lead nowhere: no file, or no such id in it."""
    pages = {path: Outline(path.read_text()) for path in sorted(folder.rglob("*.html"))}
    dead = []
    for path, page in pages.items():
        for link in page.links:
            if link.startswith("https://"):
                continue
            address, fragment = urldefrag(link)
            target = (path.parent / unquote(address)).resolve() if address else path
            inside = target.is_relative_to(folder.resolve()) and target.is_file()
            if not inside or (fragment and fragment not in pages[target].ids):
                dead.append(f"{path.relative_to(folder)}: {link}")
    return dead


def test_page_is_whole_and_escaped(
    lab: Lab, records: list[Record], printed: dict[str, Any]
) -> None:
    page = build(lab(), "laptop", records, printed["lab"], stale={records[0].id})
    text = html.report(page)
    seen = Outline(text)
    assert seen.open == []
    assert '<span class="small">[78.2, 80.3]</span>' in text
    assert '<span class="small bad">n=4, 4/6 ok</span>' in text
    assert "n = 6 where a cell says no other" in seen.text
    assert "<script>alert(1)</script>" in seen.text
    assert "a_b%&#" in seen.text
    assert "loss became inf at step 7 <oops>" in seen.text
    assert "Generated data <b>only</b>." in seen.text
    assert len(seen.ids) == len(set(seen.ids))
    assert len(seen.regions) == len(set(seen.regions)) > 0
    assert "Not drawn: KeyError: 'no <such> method'" in seen.text
    for part in ("paper 81.25 ± 1.1 (n=10)", "split: test", "selection: best-val"):
        assert part in seen.text


def test_a_page_says_once_why_the_papers_numbers_are_missing(
    lab: Lab, records: list[Record]
) -> None:
    claims = tuple(c.model_copy(update={"role": "primary"}) for c in lab().claims[:2])
    plain = lab(claims=claims)
    text = html.report(build(plain, "laptop", records, figures=False))
    assert text.count("<dd>no number known</dd>") == 2
    why = "The paper's full text was not at hand."
    paper = plain.paper.model_copy(update={"numbers": why})
    page = build(lab(claims=claims, paper=paper), "laptop", records, figures=False)
    seen = Outline(html.report(page))
    assert "no number known" not in seen.text
    assert seen.text.count(why) == markdown.report(page).count(why) == 1


def test_every_number_leads_to_its_seeds(lab: Lab, records: list[Record]) -> None:
    page = build(lab(), "laptop", records, stale={records[0].id}, figures=False)
    seen = Outline(html.report(page))
    sheets = {f"records/{s.name}.html": Outline(html.records(page, s)) for s in page.sheets}
    assert set(sheets) == {f"records/{t.name}.html" for t in lab().tasks}
    told = {seed.id for s in page.sheets for e in s.entries for seed in e.seeds}
    assert told == {r.short for r in records}
    for cell in (cell for table in page.tables for cell in table.cells if cell.trials):
        address, _, fragment = f"records/{cell.task}.html#{cell.method}".partition("#")
        assert f"{address}#{fragment}" in seen.links
        assert fragment in sheets[address].ids
        for trial in cell.trials:
            assert trial.id in sheets[address].text
    whole = " ".join(" ".join(s.text.split()) for s in sheets.values())
    assert f"{records[0].short}*" in whole
    failed = next(r for r in records if r.status == "diverged")
    assert f"{failed.short} diverged loss became inf at step 7 <oops>" in whole
    assert all(s.open == [] and len(s.ids) == len(set(s.ids)) for s in sheets.values())


def test_no_link_is_dead_and_none_leads_out(
    lab: Lab, records: list[Record], tmp_path: Path
) -> None:
    generate([lab(), lab(name="empty")], records, tmp_path)
    assert dead_links(tmp_path) == []
    (tmp_path / "lab/laptop/records/deep.html").unlink()
    (tmp_path / "how-we-decide.html").write_text("<p id='other'></p>")
    found = dead_links(tmp_path)
    assert "lab/laptop/report.html: records/deep.html#gate" in found
    assert any(line.startswith("index.html: how-we-decide.html#") for line in found)


def test_the_policy_of_a_page_allows_its_own_style_and_script_alone(
    lab: Lab, records: list[Record], tmp_path: Path
) -> None:
    generate([lab()], records, tmp_path, figures=False)
    for path in tmp_path.rglob("*.html"):
        seen = Outline(path.read_text())
        assert "default-src 'none'" in seen.policy
        assert "unsafe" not in seen.policy
        for kind in ("style", "script"):
            digest = hashlib.sha256(seen.inline.get(kind, "").encode()).digest()
            own = f"{kind}-src 'sha256-{base64.b64encode(digest).decode()}'"
            allowed = own if kind in seen.inline else f"{kind}-src 'none'"
            assert allowed in seen.policy, path


def test_a_digest_among_what_made_a_record_is_broken_where_the_screen_ends(
    lab: Lab, record: Make
) -> None:
    one = record(lab(), "gate", "deep", 0)
    packages = {"texts": f"1.0 sha256:{'ab' * 32}"}
    one = one.model_copy(
        update={"provenance": one.provenance.model_copy(update={"packages": packages})}
    )
    page = build(lab(), "laptop", [one], figures=False)
    text = html.records(page, next(page.sheets))
    assert f"sha256:{'ab' * 32}</dd>" in text
    assert re.search(r"dl\.both dd *\{[^}]*overflow-wrap: *anywhere", Outline(text).inline["style"])


def test_the_front_page_shows_every_suite_with_its_answer(lab: Lab, records: list[Record]) -> None:
    suite, empty = lab(), lab(name="empty")
    pages = [build(suite, "laptop", records, figures=False)]
    made = html.index(Overview((chapter(suite, pages), chapter(empty, [])), ("ghost",)))
    seen = Outline(made)
    assert seen.open == []
    assert "lab/laptop/report.html" in seen.links
    assert "lab/laptop/report.html#c-gate-wins" in seen.links
    assert len(seen.ids) == len(set(seen.ids))
    assert pages[0].reply.text in seen.text
    for line in pages[0].groups[0].lines:
        assert line.text in seen.text
        assert line.short in seen.text
    assert "No current records yet" in seen.text
    assert "not installed: ghost" in " ".join(seen.text.split())
    assert "There are no suites" in html.index(Overview((), ()))


def test_a_suites_sentence_stands_only_while_its_verdicts_do(lab: Lab, record: Make) -> None:
    records = [
        record(lab(), m, t, s) for m in ("gate", "plain") for t in ("shallow", "deep")
        for s in range(6)
    ]  # fmt: skip
    primary = tuple(c.model_copy(update={"role": "primary"}) for c in lab().claims[:1])
    claims = (*primary, *lab().claims[1:])
    said = Answer(scale="laptop", text="Gates help.", rests_on={"gate-wins": "holds"})

    def reply(answer: Answer) -> Any:
        suite = lab(claims=claims, answers=(answer,))
        return build(suite, "laptop", records, figures=False).reply

    assert reply(said) == ("Gates help.", "")
    other = reply(said.model_copy(update={"rests_on": {"gate-wins": "opposite"}}))
    assert other.text == "Of 1 primary claim 1 holds."
    assert "gate-wins was opposite, is holds" in other.remark


def test_the_papers_number_stands_beside_ours(lab: Lab, records: list[Record]) -> None:
    cited = Citation(version="arXiv v1", place="Table 2", effect=3.25)
    first = lab().claims[0].model_copy(update={"citation": cited, "role": "primary"})
    page = build(lab(claims=(first, *lab().claims[1:])), "laptop", records, figures=False)
    line = page.groups[0].lines[0]
    assert line.paper == "+3.2 %"
    assert 'class="paper"' in line.forest
    assert "+3.2 %" in Outline(html.report(page)).text
    assert 'class="paper"' not in page.groups[1].lines[0].forest


def test_every_label_leads_to_its_rule() -> None:
    seen = Outline(html.deciding())
    assert f"version {RULES}" in seen.text
    for word, _ in LEGEND:
        for name in forms(word):
            assert slug(name) in seen.ids
            assert anchor(name) == slug(name)
    assert anchor("holds at laptop scale (the whole 95 % CI exceeds the margin)") == "holds"
    assert anchor("not testable here: loss of gat") == "not-testable-here"
    assert anchor("not judged: primary claims are open") == "not-judged"
    assert anchor("") == "verdicts"


def test_a_changed_rule_raises_the_version_of_the_rules() -> None:
    text = re.sub(r"<style>.*?</style>", "", html.deciding(), flags=re.DOTALL)
    text = " ".join(re.sub(r"<[^>]*>", " ", text).split())
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    assert (RULES, digest) == (1, "667531b0a2a9"), (
        "the rules changed: raise wording.RULES, say what changed under Versions, pin the digest"
    )


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
