"""Which records count."""

from collections.abc import Callable

from harness.record import Record
from harness.report.selection import sort_out
from harness.suite import Suite

Lab = Callable[..., Suite]
Make = Callable[..., Record]


def test_everything_counts_once_in_the_order_of_the_suite(lab: Lab, records: list[Record]) -> None:
    shuffled = [*records[::-3], *records[::3], *records[1::3]]
    chosen = sort_out(lab(), shuffled)
    assert [r.id for r in chosen.used] == [r.id for r in sort_out(lab(), records).used]
    assert len(chosen.used) == len(records)
    assert next(iter(chosen.pairs)) == ("gate", "shallow")
    assert [r.seed for r in chosen.pairs["gate", "deep"]] == list(range(6))
    assert chosen.superseded == chosen.retired == ()


def test_the_newest_counts_where_nobody_says_what_is_current(lab: Lab, record: Make) -> None:
    suite = lab()
    old, new = (record(suite, "gate", "deep", 0, version=v) for v in (1, 2))
    chosen = sort_out(suite, [new, old])
    assert chosen.used == (new,)
    assert [t.id for t in chosen.superseded] == [old.short]


def test_only_current_ids_count_where_they_are_known(lab: Lab, record: Make) -> None:
    suite = lab()
    old, new = (record(suite, "gate", "deep", 0, version=v) for v in (1, 2))
    other = record(suite, "gate", "deep", 1)
    chosen = sort_out(suite, [old, new, other], current={old.id})
    assert chosen.used == (old,)
    assert {t.id for t in chosen.superseded} == {new.short, other.short}


def test_what_the_suite_no_longer_has_is_retired(lab: Lab, record: Make) -> None:
    suite = lab()
    gone = [
        record(suite, "dead", "deep", 0),
        record(suite, "gate", "lost", 0),
        record(suite, "gate", "deep", 0, scale="gpu"),
        record(suite, "gate", "deep", 1, protocol="older"),
    ]
    chosen = sort_out(suite, gone)
    assert chosen.used == ()
    assert {r.reason for r in chosen.retired} == {
        "method dead is no longer in the suite",
        "task lost is no longer in the suite",
        "scale gpu is no longer in the suite",
        "protocol was older, is standard",
    }


def test_stale_records_count_and_are_marked(lab: Lab, record: Make) -> None:
    suite = lab()
    stale, fresh = (record(suite, "gate", "deep", seed) for seed in (0, 1))
    chosen = sort_out(suite, [stale, fresh], stale={stale.id})
    assert chosen.used == (stale, fresh)
    assert chosen.stale == 1
    assert chosen.trials[stale.short].stale
    assert chosen.trials[stale.short].file == f"lab/laptop/{stale.file_name}"
