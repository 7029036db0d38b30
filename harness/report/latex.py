"""LaTeX for pdflatex with booktabs: one file per table, to be read in by `\\input`.

A table fits the text of a one-column article at 10 pt, without scaling. One that also fits a column
of a two-column article is a `table`, a wider one a `table*`, which is the same in one column. What
is too wide is cut into blocks below one another, what is too long into several tables. Widths are
estimated from those of Computer Modern, a little too large.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from harness import number
from harness.report.selection import Trial
from harness.report.table import Cell, Comparison, Listing

_MINUS = re.compile(r"(?<![\w-])-(?=[\d∞])")
_MATH = {
    "↑": "uparrow", "↓": "downarrow", "→": "rightarrow", "←": "leftarrow", "±": "pm",
    "×": "times", "÷": "div", "≤": "leq", "≥": "geq", "≠": "neq", "≈": "approx", "∞": "infty",
    "·": "cdot", "†": "dagger", "‡": "ddagger", "√": "surd", "∑": "sum", "∈": "in",
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "varepsilon", "ζ": "zeta",
    "η": "eta", "θ": "theta", "κ": "kappa", "λ": "lambda", "μ": "mu", "µ": "mu", "ν": "nu",
    "ξ": "xi", "π": "pi", "ρ": "rho", "σ": "sigma", "τ": "tau", "φ": "varphi", "χ": "chi",
    "ψ": "psi", "ω": "omega", "Γ": "Gamma", "Δ": "Delta", "Θ": "Theta", "Λ": "Lambda",
    "Σ": "Sigma", "Φ": "Phi", "Ψ": "Psi", "Ω": "Omega",
}  # fmt: skip
_TEXT = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "_": r"\_", "%": r"\%", "&": r"\&",
    "#": r"\#", "$": r"\$", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\symbol{34}",
    "`": r"\textasciigrave{}", "\u200b": "{}",
    "—": "---", "–": "--", "−": "$-$", "“": "``", "”": "''", "‘": "`", "’": "'", "…": r"\ldots{}",
    "§": r"\S{}", "\u00a0": "~", "ß": r"\ss{}", "æ": r"\ae{}", "Æ": r"\AE{}", "ø": r"\o{}",
    "Ø": r"\O{}", "œ": r"\oe{}", "ł": r"\l{}", "Ł": r"\L{}", "ı": r"\i{}",
    "²": "$^2$", "³": "$^3$", "°": r"$^\circ$",
}  # fmt: skip
_SUPER = dict(zip("ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ", "abcdefghijklmnoprstuvwxyz", strict=True))
"""Letters that mark what plugins add."""
_ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u",
    "\u0307": ".", "\u0308": '"', "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0327": "c",
}  # fmt: skip
Spread = Literal["ci", "sd", "se"]
"""What stands behind a mean: half the 95 % interval, the standard deviation, the standard error."""

PREAMBLE = r"% in the preamble: \usepackage{array,booktabs}"
_TEXT_WIDTH, _COLUMN_WIDTH = 340.0, 222.0
"""Points of a line of a 10 pt article, in one column and in two."""
_SIZE, _GAP = 9.3, 6.0
"""Points of `\\small` at 10 pt, and between two columns."""
_LINES = 44
"""Lines of a table on one page, with its caption and a few notes."""
_EMS = {
    char: width / 1000
    for width, chars in (
        (278, "il.,;:'![]|"), (306, "fj"), (333, " -"), (361, "I"), (389, "t()"), (394, "rs"),
        (444, "cez"), (500, "ago0123456789/"), (528, "kvxyq"), (556, "bdhnpuS"), (625, "JLZ"),
        (681, "EFP"), (736, "wCTBR"), (785, "ADHKNUVXYOQG"), (833, "m%+=±×<>—&−"), (917, "M"),
        (1028, "W@"),
    )
    for char in chars
}  # fmt: skip
"""Widths of Computer Modern's letters, in ems."""
_DAGGERS = str.maketrans({"†": r"\dagger", "‡": r"\ddagger"})


def escape(text: str) -> str:
    """Text that pdflatex sets as it stands; what its fonts lack becomes `U+XXXX`."""
    text = unicodedata.normalize("NFC", " ".join(text.split()))
    text = _MINUS.sub("−", text)
    # A pair of hyphens would be set as a dash.
    text = text.replace("--", "-\u200b-").replace("--", "-\u200b-")
    return "".join(_letter(char) for char in text)


def comparison(table: Comparison, suite: str = "", spread: Spread = "ci") -> str:
    """The files' text: means with their spread, the best in bold; n stands in the caption.

    Args:
        table: what to set.
        suite: name of the suite, part of the label.
        spread: what follows the `±`.
    """
    words = {
        "ci": "half the 95\u00a0% interval",
        "sd": "standard deviation",
        "se": "standard error",
    }
    head = ", ".join(part for part in (*table.head[:1], *table.head[1:2]) if part)
    caption = f"{table.title}. {head}; mean ± {words[spread]}"
    caption += f", {table.size}" if table.size else ""
    rows: list[list[_Text]] = []
    for name, cells in table.rows:
        rows.append([_plain(name), *(_number(table, cell, spread) for cell in cells)])
        if any(cell.references for cell in cells):
            published = (
                "; ".join(number.quoted(r.value, table.metric.digits) for r in cell.references)
                for cell in cells
            )
            rows.append([_Text(r"\quad published", 70.0), *map(_plain, published)])
    notes = [note for note in table.notes if note.startswith(("†", "‡", "*", "Synthetic"))]
    notes = [*table.sources, *notes]
    ids = [
        f"{name}, {cell.column if cell.column != name else cell.row}: {_ids(cell.trials)}"
        for name, cells in table.rows
        for cell in cells
        if cell.trials
    ]
    heads = [table.corner, *table.columns]
    numeric = (False, *[True] * len(table.columns))
    return _set(f"{suite}-{table.name}" if suite else table.name, caption + ".", heads, numeric,
                rows, notes, ids)  # fmt: skip


def listing(table: Listing, suite: str = "") -> str:
    """The same for a plain table; long texts are set in paragraphs."""
    ids = [f"{row.fields[0].text}: {_ids(row.trials)}" for row in table.rows if row.trials]
    numeric = table.numeric or (False,) * len(table.columns)
    rows = [
        [(_estimate if right else _plain)(f.text)
         for f, right in zip(row.fields, numeric, strict=True)]
        for row in table.rows
    ]  # fmt: skip
    name = f"{suite}-{table.name}" if suite else table.name
    keys = min(2, next((i for i, right in enumerate(numeric) if right), 1)) or 1
    return _set(name, table.title + ".", list(table.columns), numeric, rows, table.notes, ids, keys)


class _Text(NamedTuple):
    """A cell as LaTeX, its width in points, that of its longest word, and the lines that it has."""

    tex: str
    width: float
    word: float = 0.0
    lines: int = 1


class _Column(NamedTuple):
    """One column of a block: its letter for `tabular`, its head, its width in points."""

    place: int
    spec: str
    width: float


def _plain(text: str) -> _Text:
    return _Text(escape(text), _width(text), _word(text.replace("-", "- ")))


def _estimate(text: str) -> _Text:
    """The same of an estimate; a long one has its unit below, which leaves texts more room."""
    value, end, unit = text.rpartition("] ")
    if not end or _width(text) <= _TEXT_WIDTH / 3:
        return _plain(text)
    both = (f"{value}]", unit)
    tex = r" \\ ".join(map(escape, both))
    return _Text(
        rf"\begin{{tabular}}[t]{{@{{}}r@{{}}}}{tex}\end{{tabular}}", max(map(_width, both)), lines=2
    )


def _number(table: Comparison, cell: Cell, spread: Spread) -> _Text:
    """Mean and spread of a cell, its marks, and its n where that is not the table's."""
    p = cell.parts(table.metric.digits)
    if cell.mean is None:
        return _plain(p.mean if not cell.trials else p.n)
    mean, after = p.mean, cell.spread(spread)
    text = mean if after is None else f"{mean} ± {number.fixed(after, table.metric.digits)}"
    tex = escape(text)
    if cell.best:
        tex = rf"\textbf{{{tex}}}"
    marks = f"$^{{{p.marks.translate(_DAGGERS)}}}$" if p.marks else ""
    own = table.n(cell)
    small = rf" {{\scriptsize ({escape(own)})}}" if own else ""
    width = _width(text) * (1.15 if cell.best else 1) + 4 * len(p.marks)
    return _Text(tex + marks + small, width + (_width(f" ({own})") * 0.8 if own else 0))


def _width(text: str) -> float:
    """Points of a text in `\\small`."""
    return _SIZE * sum(
        _EMS.get(char) or (3.6 if _letter(char).startswith("U+") else 0.8)
        for char in _MINUS.sub("−", text)
    )


def _set(
    name: str,
    caption: str,
    heads: Sequence[str],
    numeric: Sequence[bool],
    rows: Sequence[Sequence[_Text]],
    notes: Iterable[str],
    ids: Iterable[str],
    keys: int = 1,
) -> str:
    """The tables that it takes, with the ids of the records in comments at the end."""
    notes = [note for note in notes if note]
    blocks = _blocks(heads, numeric, rows, keys, _COLUMN_WIDTH)
    narrow = len(blocks) == 1
    if not narrow:
        blocks = _blocks(heads, numeric, rows, keys, _TEXT_WIDTH)
    room = _LINES - sum(1 + int(_width(note) * 0.9 / _TEXT_WIDTH) for note in notes)
    parts = _parts(blocks, heads, rows, max(12, room))
    kind = "table" if narrow else "table*"
    lines = [PREAMBLE]
    for place, part in enumerate(parts, 1):
        of = f" ({place} of {len(parts)})" if len(parts) > 1 else ""
        label = f"tab:{name.replace('_', '-')}" + (f"-{place}" if place > 1 else "")
        lines += [
            rf"\begin{{{kind}}}[htbp]", r"\centering\small",
            rf"\setlength{{\tabcolsep}}{{{_GAP / 2:g}pt}}",
            rf"\caption{{{escape(caption + of)}}}", rf"\label{{{label}}}",
        ]  # fmt: skip
        for index, (columns, first, last) in enumerate(part):
            lines += [r"\par\medskip"] if index else []
            lines += _tabular(columns, heads, rows[first:last])
        if place == len(parts):
            lines += [rf"\par\smallskip{{\footnotesize {escape(note)}\par}}" for note in notes]
        lines.append(rf"\end{{{kind}}}")
    return "\n".join([*lines, *(f"% records of {' '.join(line.split())}" for line in ids), ""])


def _blocks(
    heads: Sequence[str],
    numeric: Sequence[bool],
    rows: Sequence[Sequence[_Text]],
    keys: int,
    room: float,
) -> list[list[_Column]]:
    """The columns, side by side as far as there is room; the first `keys` begin every block."""
    natural = [max([_word(heads[i]), *(row[i].width for row in rows)]) for i in range(len(heads))]
    words = [max(row[i].word for row in rows) if rows else 0.0 for i in range(len(heads))]
    least = [
        width if numeric[i] else min(width, max(60.0, room / 6, words[i] + 1))
        for i, width in enumerate(natural)
    ]
    least[:keys] = [
        min(width, max(room * 0.33 / keys, word + 1))
        for width, word in zip(natural[:keys], words, strict=False)
    ]
    begun = sum(least[:keys]) + _GAP * (keys - 1)
    out: list[list[int]] = [[]]
    used = begun
    for i in range(keys, len(heads)):
        if out[-1] and used + _GAP + least[i] > room:
            out.append([])
            used = begun
        out[-1].append(i)
        used += _GAP + least[i]
    out = _evened(out, [_GAP + width for width in least], room - begun)
    return [_columns([*range(keys), *block], natural, least, numeric, room) for block in out]


def _evened(blocks: list[list[int]], widths: Sequence[float], room: float) -> list[list[int]]:
    """As many blocks, with as many columns each as can be where that fits."""
    places = [i for block in blocks for i in block]
    size = -(-len(places) // len(blocks))
    even = [places[k : k + size] for k in range(0, len(places), size)]
    return even if all(sum(widths[i] for i in block) <= room for block in even) else blocks


def _columns(
    block: Sequence[int],
    natural: Sequence[float],
    least: Sequence[float],
    numeric: Sequence[bool],
    room: float,
) -> list[_Column]:
    """Texts share what room the numbers leave, each by what it still lacks."""
    spare = room - sum(least[i] for i in block) - _GAP * (len(block) - 1)
    lacking = sum(natural[i] - least[i] for i in block)
    share = max(0.0, min(1.0, spare / lacking)) if lacking > 0 else 0.0
    out = []
    for i in block:
        width = least[i] + share * (natural[i] - least[i])
        if numeric[i]:
            out.append(_Column(i, "r", width))
        elif width >= natural[i] - 0.5:
            out.append(_Column(i, "l", width))
        else:
            out.append(_Column(i, rf">{{\raggedright\arraybackslash}}p{{{width:.0f}pt}}", width))
    return out


def _parts(
    blocks: Sequence[Sequence[_Column]],
    heads: Sequence[str],
    rows: Sequence[Sequence[_Text]],
    room: int,
) -> list[list[tuple[Sequence[_Column], int, int]]]:
    """Blocks by page: columns, first row, row after the last."""
    parts: list[list[tuple[Sequence[_Column], int, int]]] = [[]]
    used = 0
    for columns in blocks:
        begun = 0
        used += 3 + max((len(_broken(heads[c.place], c.width)) for c in columns), default=1)
        if parts[-1] and used + 4 > room:
            parts.append([])
            used = 4
        for place, row in enumerate(rows):
            lines = max(
                1 + int(row[c.place].width * 1.12 / c.width)
                if c.spec[0] == ">"
                else row[c.place].lines
                for c in columns
            )
            if used + lines > room and place > begun:
                parts[-1].append((columns, begun, place))
                parts.append([])
                begun, used = place, 4
            used += lines
        parts[-1].append((columns, begun, len(rows)))
    return parts


def _tabular(
    columns: Sequence[_Column], heads: Sequence[str], rows: Sequence[Sequence[_Text]]
) -> list[str]:
    tops = []
    for column in columns:
        broken = [escape(part) for part in _broken(heads[column.place], column.width)]
        side = "r" if column.spec == "r" else "l"
        head = r"\\{}".join(broken)  # what follows is no argument of the line end
        head = rf"\shortstack[{side}]{{{head}}}" if len(broken) > 1 else head
        tops.append(rf"\multicolumn{{1}}{{{side}}}{{{head}}}")
    lines = [
        rf"\begin{{tabular}}{{@{{}}{''.join(c.spec for c in columns)}@{{}}}}", r"\toprule",
        " & ".join(tops) + r" \\", r"\midrule",
    ]  # fmt: skip
    for row in rows:
        text = " & ".join(row[c.place].tex for c in columns)
        # After a line end, LaTeX would read these as an argument of it.
        guard = "{}" if text.startswith(("[", "*")) else ""
        lines.append(f"{guard}{text} \\\\")
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _word(head: str) -> float:
    """Width of the longest word of a head, which is broken between words."""
    return max((_width(word) for word in head.split()), default=0.0)


def _broken(head: str, width: float) -> list[str]:
    """A head in lines that its column holds."""
    lines = [""]
    for word in head.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and _width(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _letter(char: str) -> str:
    if char in _TEXT:
        return _TEXT[char]
    if char in _MATH:
        return rf"$\{_MATH[char]}$"
    if char in _SUPER:
        return rf"$^\mathrm{{{_SUPER[char]}}}$"
    if char.isascii():
        return char if char.isprintable() else ""
    base, *marks = list(unicodedata.normalize("NFD", char))
    if len(marks) == 1 and marks[0] in _ACCENTS and base.isascii():
        base = {"i": r"\i", "j": r"\j"}.get(base, base)
        return rf"\{_ACCENTS[marks[0]]}{{{base}}}"
    return f"U+{ord(char):04X}"


def _ids(trials: tuple[Trial, ...]) -> str:
    return " ".join(t.id for t in trials)
