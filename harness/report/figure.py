"""Figures as SVG and PNG, the same bytes from the same records."""

import io
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from harness.errors import HarnessError, SpecError, brief, described
from harness.files import read_plain
from harness.identity import digest
from harness.record import Record
from harness.registry import call, source_digest
from harness.report.drawn import numbers
from harness.suite import Figure, Suite
from harness.verified import Verified, finding, rules

STYLE: dict[str, object] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#6b7280",
    "axes.grid": True,
    "axes.labelcolor": "#1f2937",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "figure.constrained_layout.use": True,
    "figure.dpi": 160,
    "figure.figsize": (6.4, 4.0),
    "font.size": 9,
    "grid.color": "#e5e7eb",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "savefig.facecolor": "white",
    "svg.fonttype": "path",
    "xtick.color": "#4b5563",
    "ytick.color": "#4b5563",
}
"""Holds while a figure is drawn and saved; whatever the reader's own settings are."""


_HASHED = re.compile(rb"(?<=[\"#])([A-Za-z]+|C[0-9a-f]+_[0-9a-f]+_)[0-9a-f]{10}(?=[\")])")
"""What matplotlib's SVG backend names clip paths, markers, hatches and images."""


_COORDINATE = re.compile(rb"(?<![\w#.-])-?(?:\d+\.\d{4,}|(?<=-)0)(?!(?!pt\b)[\w.%])(?=[^<>]*>)")
"""A number with many decimals, or minus zero, inside a tag."""


ENDINGS = ("svg", "png", "csv")
"""Of a picture's files; its fields of these names hold their bytes."""


class Picture(NamedTuple):
    """A figure as a report shows it."""

    name: str
    title: str
    caption: str
    svg: bytes = b""
    png: bytes = b""
    csv: bytes = b""
    """What is drawn, as numbers."""
    problem: str = ""
    """Why there is no picture; empty where there is one."""
    links: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()
    """Places of the records behind it, below `records/`: a title, then texts and places."""
    axis: str = ""
    """The axis that it is drawn along; empty of the suite's own figures."""


class Kept:
    """Pictures that lie in a page's folder and are known to be what the same inputs draw.

    They are read whole, and known by the digest of inputs and bytes together.
    """

    def __init__(self, folder: Path, suite: Suite, drawn: Verified) -> None:
        self._folder = folder / "figures"
        self._suite = digest(suite.model_dump()).encode()
        self._drawn = drawn

    def of(
        self, picture: Picture, source: str, inputs: str, make: Callable[[], Picture]
    ) -> Picture:
        """The picture that lies there, or else the one that `make` draws.

        Args:
            picture: without its bytes.
            source: import path of what draws it.
            inputs: all that it is drawn from, besides the suite.
            make: draws it.
        """
        try:
            code = source_digest(source).encode()
        except SpecError:  # no source file, as in a notebook
            return make()
        about = (rules(), self._suite, code, picture.name.encode(), inputs.encode())
        there = {end: read_plain(self._folder / f"{picture.name}.{end}") for end in ENDINGS}
        files: dict[str, Any] = {e: data for e, data in there.items() if data is not None}
        if len(files) == len(ENDINGS) and finding(*about, *files.values()) in self._drawn:
            return picture._replace(**files)
        made = make()
        if made.svg:
            self._drawn.add(finding(*about, *(getattr(made, end) for end in ENDINGS)))
        return made


def draw(
    figure: Figure, suite: Suite, records: Sequence[Record], kept: Kept | None = None
) -> Picture:
    """Draws a suite's figure from the records of one scale.

    A drawing function that cannot cope with the records at hand (too few, one method missing)
    leaves a picture that says so: one figure does not cost the whole report.

    Raises:
        SpecError: the drawing function does not exist or returns no figure.
    """
    picture = Picture(figure.name, figure.title, figure.caption)
    if not records:
        return picture._replace(problem="no records to draw")
    function = call(figure.draw)

    def drawn() -> Picture:
        return drawn_by(picture, lambda: function(records, suite, figure), figure.draw)

    if kept is None:
        return drawn()
    return kept.of(picture, figure.draw, " ".join(r.checksum for r in records), drawn)


def drawn_by(
    picture: Picture, function: Callable[[], Any], source: str, table: str = ""
) -> Picture:
    """The picture that a function draws, in the style of reports; or why there is none.

    Args:
        picture: without its bytes.
        function: draws it.
        source: import path of the function, for messages.
        table: its numbers as CSV; empty: those that the drawing holds.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure as Drawing

    from harness.drawing import COLOURS

    cycle = f"cycler('color', {list(COLOURS)})"
    settings: Any = {**STYLE, "svg.hashsalt": picture.name, "axes.prop_cycle": cycle}
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(settings)
        try:
            drawing = function()
        except HarnessError as error:
            return picture._replace(problem=brief(error))
        except (Exception, SystemExit) as error:
            return picture._replace(problem=described(error))
        if drawing is None:
            return picture._replace(problem="no records to draw")
        if not isinstance(drawing, Drawing):
            raise SpecError(
                f"figure {picture.name}: {source} returned {type(drawing).__name__}; "
                "it must return a matplotlib Figure, or None where there is nothing to draw"
            )
        svg, png = io.BytesIO(), io.BytesIO()
        drawing.draw_without_rendering()  # lays the panels out, once for both files
        box = drawing.get_tightbbox().padded(mpl.rcParams["savefig.pad_inches"])
        drawing.set_layout_engine("none")
        undated: Any = {"Date": None, "Creator": None}
        drawing.savefig(svg, format="svg", bbox_inches=box, metadata=undated)
        drawing.savefig(png, format="png", bbox_inches=box, metadata={"Software": None})
        if "matplotlib.pyplot" in sys.modules:
            sys.modules["matplotlib.pyplot"].close(drawing)
        data = table or numbers(drawing)
    return picture._replace(svg=_settled(svg.getvalue()), png=png.getvalue(), csv=data.encode())


def _settled(svg: bytes) -> bytes:
    """The picture without the last bits of its coordinates: thousandths of a point, no minus zero.

    Ids count up instead: matplotlib's are hashes of coordinates to the last bit.
    """
    names: dict[bytes, bytes] = {}

    def name(match: re.Match[bytes]) -> bytes:
        return names.setdefault(match[0], b"%s%d" % (match[1], len(names)))

    def short(match: re.Match[bytes]) -> bytes:
        value = float(match[0])
        if abs(value) < 1:  # a share or a scale; of these matplotlib's six decimals are kept
            return match[0] if value else b"0"
        return f"{value:.3f}".rstrip("0").rstrip(".").encode()

    return _COORDINATE.sub(short, _HASHED.sub(name, svg))
