"""Pictures of walks."""

from collections.abc import Sequence
from typing import Any

from harness.record import Record
from harness.suite import Figure, Suite


def paths(records: Sequence[Record], suite: Suite, figure: Figure) -> Any:
    """Height against step."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas()
    axes = canvas.subplots()
    for record in records:
        if "height" in record.series:
            axes.plot(record.series["height"].x, record.series["height"].y)
    return canvas
