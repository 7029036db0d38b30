"""Graph files of random bytes: a graph that keeps its promises, or one line that names the file."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow


def test_no_bytes_break_a_reader(
    graphs: tuple[int, int], tmp_path: Path, tally: Any, graph_files: Any
) -> None:
    known = graph_files.readers(tmp_path)
    first, number = graphs
    for name, reader in known.items():
        outcomes: Counter[str] = Counter()
        with tally("graph files", name) as row:
            for case in range(first, first + number):
                rng = random.Random(f"{name} {case}")  # noqa: S311
                path = rng.choice(sorted(reader.files))
                found = graph_files.verdict(
                    reader, path, graph_files.broken(rng, reader.files[path])
                )
                row.add(found in {"read", "refused"})
                outcomes[found] += 1
        assert set(outcomes) <= {"read", "refused"}, outcomes.most_common(5)
