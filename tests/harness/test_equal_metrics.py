"""The comparison of two results folders."""

from typing import Any

import pytest

from benchmarks import equal_metrics
from harness.store import Store


@pytest.mark.parametrize(
    ("loss", "speed", "code", "words"),
    [(0.5, 3.0, 0, "'equal': 1"), (0.5, 4.0, 0, "but for the clock': 1"), (0.6, 3.0, 1, "/loss")],
)
def test_what_differs_is_named(
    tmp_path: Any, toy_suite: Any, make_record: Any, capsys: Any,
    loss: float, speed: float, code: int, words: str,
) -> None:  # fmt: skip
    suite = toy_suite()
    for folder, metrics in (
        ("before", {"accuracy": 1.0, "loss": 0.5, "tokens-per-second": 3.0}),
        ("after", {"accuracy": 1.0, "loss": loss, "tokens-per-second": speed}),
    ):
        record = make_record(suite, "ant", "deep-x", 0, metrics, "ok", "smoke")
        Store(tmp_path / folder, tmp_path / "cache").commit(record)
    given = [str(tmp_path / "before"), str(tmp_path / "after"), "--scale", "smoke"]
    assert equal_metrics.main(given) == code
    assert words.replace("/", ": ") in capsys.readouterr().out
