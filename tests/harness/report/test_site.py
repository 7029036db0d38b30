"""The whole of `reports/`: pure, checked, and clean of what is no longer made."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.cache import Cache
from harness.errors import SpecError, StoreError
from harness.record import Record
from harness.report import figure
from harness.report.site import Difference, generate
from harness.suite import Beats, Method, Suite, Table, Task
from harness.verified import Verified

Lab = Callable[..., Suite]
Make = Callable[..., Record]


def tree(out: Path) -> dict[str, bytes]:
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def test_everything_is_made_and_made_again_alike(
    lab: Lab, records: list[Record], printed: dict[str, Any], tmp_path: Path
) -> None:
    """Order, folder, and a second run leave no trace in the bytes."""
    one, two = tmp_path / "one", tmp_path / "elsewhere" / "two"
    made = generate([lab()], records, one, references=printed)
    shuffled = [*records[::-3], *records[::3], *records[1::3]]
    generate([lab()], shuffled, two, references=printed)
    files = tree(one)
    assert files == tree(two)
    assert made == [Difference(name, "missing") for name in sorted(files)]
    expected = {"index.md", "index.html", "how-we-decide.html"}
    folder = "lab/laptop"
    expected |= {f"{folder}/report.md", f"{folder}/report.html"}
    expected |= {
        f"{folder}/tables/{name}.{ending}"
        for name in ("accuracy", "steps", "claims", "exact", "cost", "budget")
        for ending in ("md", "tex", "csv")
    }
    expected |= {f"{folder}/figures/scatter.{ending}" for ending in ("svg", "png", "csv")}
    expected |= {f"{folder}/records/{task.name}.html" for task in lab().tasks}
    assert set(files) == expected
    for name, data in files.items():
        assert str(tmp_path).encode() not in data, name
    assert generate([lab()], records, one, references=printed) == []


def test_check_finds_an_edited_byte_and_writes_nothing(
    lab: Lab, records: list[Record], tmp_path: Path
) -> None:
    generate([lab()], records, tmp_path, figures=False)
    path = tmp_path / "lab/laptop/tables/accuracy.csv"
    path.write_bytes(path.read_bytes().replace(b"79", b"80", 1))
    (tmp_path / "lab/laptop/report.md").unlink()
    left = tmp_path / "lab/laptop/tables/dropped.tex"
    left.write_text("old")
    before = tree(tmp_path)
    found = generate([lab()], records, tmp_path, figures=False, check=True)
    assert found == [
        Difference("lab/laptop/report.md", "missing"),
        Difference("lab/laptop/tables/accuracy.csv", "differs"),
        Difference("lab/laptop/tables/dropped.tex", "left over"),
    ]
    assert tree(tmp_path) == before
    assert generate([lab()], records, tmp_path, figures=False) == found
    assert generate([lab()], records, tmp_path, figures=False, check=True) == []


def test_only_own_files_are_removed(lab: Lab, records: list[Record], tmp_path: Path) -> None:
    kept = ["notes.md", "lab/README.md", "lab/laptop/notes.txt", "lab/laptop/tables/own.xlsx",
            "other/laptop/tables/accuracy.csv", "lab/laptop/figures/old.svg"]  # fmt: skip
    gone = ["lab/gpu/report.md", "lab/gpu/tables/accuracy.tex", "lab/laptop/tables/old.csv"]
    for name in (*kept, *gone):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("mine")
    generate([lab()], records, tmp_path, figures=False)
    files = tree(tmp_path)
    assert all(name in files for name in kept)
    assert not any(name in files for name in gone)
    assert not (tmp_path / "lab/gpu").exists()
    generate([lab()], records, tmp_path)
    assert "lab/laptop/figures/old.svg" not in tree(tmp_path)


def test_deleting_one_record_changes_only_what_rests_on_it(
    lab: Lab, records: list[Record], tmp_path: Path
) -> None:
    generate([lab()], records, tmp_path, figures=False)
    path = tmp_path / "lab/laptop/tables/steps.csv"
    before = path.read_text().splitlines()
    gone = next(r for r in records if (r.method, r.task, r.seed) == ("odd", "deep", 3))
    generate([lab()], [r for r in records if r is not gone], tmp_path, figures=False)
    after = path.read_text().splitlines()
    changed = [old for old, new in zip(before, after, strict=True) if old != new]
    assert len(changed) == 1
    assert gone.short in changed[0]
    for file in tree(tmp_path).values():
        assert gone.short.encode() not in file


def test_suites_without_records_and_records_without_suites(
    lab: Lab, record: Make, tmp_path: Path
) -> None:
    ghost = record(lab(name="ghost"), "gate", "deep", 0)
    generate([lab(), lab(name="empty")], [ghost], tmp_path)
    assert set(tree(tmp_path)) == {"index.md", "index.html", "how-we-decide.html"}
    text = (tmp_path / "index.md").read_text()
    assert text.count("No current records yet") == 2
    assert "`ghost`" in text
    generate([], [], tmp_path)
    assert "There are no suites." in (tmp_path / "index.md").read_text()


def test_pages_of_named_suites_alone_are_written(lab: Lab, record: Make, tmp_path: Path) -> None:
    """The front page shows all that have a page, without a dead link."""
    suites = [lab(), lab(name="other")]
    first = [record(s, "gate", "deep", n) for s in suites for n in range(2)]
    generate(suites, first, tmp_path, figures=False, only={"lab"})
    assert (tmp_path / "lab/laptop/report.html").is_file()
    assert not (tmp_path / "other").exists()
    assert "other/laptop" not in (tmp_path / "index.html").read_text()
    assert generate(suites, first, tmp_path, figures=False, only={"lab"}, check=True) == []

    generate(suites, first, tmp_path, figures=False)
    before = tree(tmp_path)
    more = [*first, *(record(s, "plain", "shallow", 0) for s in suites)]
    changed = generate(suites, more, tmp_path, figures=False, only={"other"}, check=True)
    names = {one.path for one in changed}
    assert {"index.html", "other/laptop/report.html"} < names
    assert not any(name.startswith("lab/") for name in names)
    assert generate(suites, more, tmp_path, figures=False, only={"other"}) == changed
    after = tree(tmp_path)
    assert {name for name in after if after[name] != before.get(name)} == names
    generate(suites, more, tmp_path, figures=False)
    whole = tree(tmp_path)
    assert {n for n in whole if whole[n] != after.get(n)} <= {n for n in whole if n[:4] == "lab/"}


def test_the_index_shows_the_largest_scale(lab: Lab, record: Make, tmp_path: Path) -> None:
    suite = lab()
    records = [
        record(suite, m, t, s, scale=scale)
        for m in ("gate", "plain")
        for t in ("shallow", "deep")
        for scale, seeds in (("smoke", 1), ("laptop", 6))
        for s in range(seeds)
    ]
    lost = record(suite, "gate", "deep", 0, scale="paper")
    generate([suite], [*records, lost], tmp_path, figures=False)
    text = (tmp_path / "index.md").read_text()
    assert "At laptop scale:" in text
    assert "| [laptop](lab/laptop/report.md) | 24 | 0 | " in text
    assert "smoke" not in text  # it measures nothing
    assert (tmp_path / "lab/smoke/report.html").exists()
    assert "| [paper](lab/paper/report.md) | 0 | 0 | 0 |" in text
    assert "holds at laptop scale" in text
    assert (tmp_path / "lab/paper/report.html").exists()


def test_current_and_stale_are_by_suite(lab: Lab, record: Make, tmp_path: Path) -> None:
    suite = lab()
    records = [record(suite, "gate", "deep", s) for s in range(2)]
    generate(
        [suite], records, tmp_path, figures=False,
        current={"lab": {records[0].id}}, stale={"lab": {records[0].id}},
    )  # fmt: skip
    line = (tmp_path / "lab/laptop/tables/accuracy.csv").read_text().splitlines()[2]
    assert records[0].short in line
    assert records[1].short not in line
    assert "Marked \\*: 1 record" in (tmp_path / "lab/laptop/report.md").read_text()


def test_trouble_with_the_folder_is_one_line(
    lab: Lab, records: list[Record], tmp_path: Path
) -> None:
    (tmp_path / "index.md").mkdir()
    with pytest.raises(StoreError, match="cannot read"):
        generate([lab()], records[:1], tmp_path, figures=False)
    (tmp_path / "index.md").rmdir()
    (tmp_path / "lab/laptop/tables/odd.csv").mkdir(parents=True)
    with pytest.raises(StoreError, match="cannot remove"):
        generate([lab()], records[:1], tmp_path, figures=False)


@pytest.mark.slow
def test_ten_thousand_records_in_seconds(lab: Lab, record: Make, tmp_path: Path) -> None:
    """A hundred pairs of method and task, a hundred seeds, eight metrics, ten claims."""
    base = lab()
    metrics = tuple(base.metrics[0].model_copy(update={"name": f"m{k}"}) for k in range(8))
    names = tuple(m.name for m in metrics)
    suite = lab(
        methods=tuple(Method(name=f"method-{k}", run="x:run") for k in range(10)),
        tasks=tuple(Task(name=f"task-{k}", metrics=names) for k in range(10)),
        metrics=metrics,
        scales=(base.scale("laptop").model_copy(update={"seeds": tuple(range(100))}),),
        tables=tuple(Table(name=n, title=n, metric=n) for n in names),
        claims=tuple(
            Beats(
                name=f"claim-{k}", text="It wins.", source="Table 1", metric=names[0],
                tasks=("*",), a="method-0", b=f"method-{k % 9 + 1}", margin=0.5,
            )
            for k in range(10)
        ),
        figures=(), datasets=(), headline="m0",
    )  # fmt: skip
    records = [
        record(suite, m.name, t.name, s, metrics={n: float(s % 7 + i) for i, n in enumerate(names)})
        for m in suite.methods
        for t in suite.tasks
        for s in range(100)
    ]
    start = time.process_time()
    generate([suite], records, tmp_path, figures=False)
    assert time.process_time() - start < 10


def test_a_picture_is_drawn_again_where_what_it_is_drawn_from_changed(
    lab: Lab, records: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, out = Cache(tmp_path / "cache"), tmp_path / "reports"
    times: list[str] = []
    drawn = figure.drawn_by

    def counted(picture: figure.Picture, *rest: Any) -> figure.Picture:
        made = drawn(picture, *rest)
        times.extend([picture.name] if made.svg else [])
        return made

    def again(made: list[Record], suite: Suite | None = None) -> tuple[list[Difference], int]:
        times.clear()
        found = generate([suite or lab()], made, out, drawn=Verified(cache, "pictures"))
        return found, len(times)

    monkeypatch.setattr(figure, "drawn_by", counted)
    monkeypatch.setattr(figure, "source_digest", lambda path: "one")
    assert again(records)[1] == 1
    plain = tree(out)
    assert again(records) == ([], 0)

    svg = out / "lab/laptop/figures/scatter.svg"
    svg.write_bytes(svg.read_bytes()[:-1] + b" ")
    assert again(records) == ([Difference("lab/laptop/figures/scatter.svg", "differs")], 1)
    (out / "lab/laptop/figures/scatter.png").unlink()
    assert again(records) == ([Difference("lab/laptop/figures/scatter.png", "missing")], 1)
    assert tree(out) == plain

    fewer = [r for r in records if r.seed]
    assert again(fewer)[1] == 1
    assert {d.what for d in again(records)[0]} == {"differs"}
    assert tree(out) == plain
    assert again(records, lab(summary="Another question."))[1] == 1
    monkeypatch.setattr(figure, "source_digest", lambda path: "two")
    assert again(records)[1] == 1
    monkeypatch.setattr(figure, "rules", lambda: b"another engine")
    assert again(records)[1] == 1
    data = tmp_path / "cache" / "verified" / "pictures"
    data.write_bytes(b"\x01" + data.read_bytes()[1:-1])
    again(records)
    assert tree(out) == plain

    def unknown(path: str) -> str:
        raise SpecError("no source file")

    monkeypatch.setattr(figure, "source_digest", unknown)
    assert [again(records)[1] for _ in range(2)] == [1, 1]
