"""Titles of tables and figures: each can be read alone, as it stands in a paper."""

from collections import Counter

import pytest

from harness import registry

SUITES = ["bam", "gate", "merging", "mixup"]


@pytest.mark.parametrize("name", SUITES)
def test_titles_tell_tables_and_figures_apart_and_point_at_no_other(name: str) -> None:
    suite = registry.load(name)
    for things in (suite.tables, suite.figures):
        titles = [thing.title for thing in things]
        assert [title for title, many in Counter(titles).items() if many > 1] == []
        assert [title for title in titles if title.lower().startswith("the same")] == []
