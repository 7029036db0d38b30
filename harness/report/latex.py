"""LaTeX for pdflatex with booktabs; every special character is set as itself."""

import re
import unicodedata
from collections.abc import Iterable

from harness.report.selection import Trial
from harness.report.table import Comparison, Listing

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
_ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u",
    "\u0307": ".", "\u0308": '"', "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0327": "c",
}  # fmt: skip
_DAGGERS = str.maketrans({"†": r"\dagger", "‡": r"\ddagger"})


def escape(text: str) -> str:
    """Text that pdflatex sets as it stands; what its fonts lack becomes `U+XXXX`."""
    text = unicodedata.normalize("NFC", " ".join(text.split()))
    text = _MINUS.sub("−", text)
    # A pair of hyphens would be set as a dash.
    text = text.replace("--", "-\u200b-").replace("--", "-\u200b-")
    return "".join(_letter(char) for char in text)


def comparison(table: Comparison) -> str:
    """A `table` environment; what the number is goes into the caption, ids into comments."""
    digits = table.metric.digits
    rows = []
    for name, cells in table.rows:
        texts = []
        for cell in cells:
            p = cell.parts(digits)
            mean = rf"\textbf{{{escape(p.mean)}}}" if cell.best else escape(p.mean)
            marks = f"$^{{{p.marks.translate(_DAGGERS)}}}$" if p.marks else ""
            small = " ".join(x for x in (p.interval, p.n) if x)
            small += ("; " if small else "") * bool(p.paper) + (f"paper {p.paper}" * bool(p.paper))
            texts.append(mean + marks + (rf" {{\scriptsize {escape(small)}}}" if small else ""))
        ids = [f"{_comment(c.column)}: {_ids(c.trials)}" for c in cells if c.trials]
        rows.append((" & ".join([escape(name), *texts]), ids))
    caption = f"{table.title}. {'; '.join(table.head)}"
    notes = [*table.notes, *(f"Published elsewhere: {line}" for line in table.anchors)]
    heads = [table.corner, *table.columns]
    return _environment(table.name, caption, heads, "l" + "r" * len(table.columns), rows, notes)


def listing(table: Listing) -> str:
    """A `table` environment with the ids of each row in comments."""
    rows = [
        (
            " & ".join(escape(f.text) for f in row.fields),
            [_ids(row.trials)] if row.trials else [],
        )
        for row in table.rows
    ]
    numeric = table.numeric or (False,) * len(table.columns)
    widths = "".join("r" if right else "l" for right in numeric)
    return _environment(table.name, table.title, list(table.columns), widths, rows, table.notes)


def _environment(
    name: str,
    caption: str,
    heads: list[str],
    widths: str,
    rows: list[tuple[str, list[str]]],
    notes: Iterable[str],
) -> str:
    lines = [
        r"% needs \usepackage{booktabs} and \usepackage{graphicx}",
        r"\begin{table}[htbp]",
        r"\centering",
        rf"\caption{{{escape(caption)}}}",
        rf"\label{{tab:{name.replace('_', '-')}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{widths}}}",
        r"\toprule",
        " & ".join(escape(h) for h in heads) + r" \\",
        r"\midrule",
    ]
    for text, ids in rows:
        # After a line end, LaTeX would read these as an argument of it.
        guard = "{}" if text.startswith(("[", "*")) else ""
        lines += [f"{guard}{text} \\\\", *(f"% ids: {line}" for line in ids)]
    lines += [r"\bottomrule", r"\end{tabular}%", "}"]
    lines += [rf"\par\smallskip{{\footnotesize {escape(note)}\par}}" for note in notes if note]
    return "\n".join([*lines, r"\end{table}", ""])


def _letter(char: str) -> str:
    if char in _TEXT:
        return _TEXT[char]
    if char in _MATH:
        return rf"$\{_MATH[char]}$"
    if char.isascii():
        return char if char.isprintable() else ""
    base, *marks = list(unicodedata.normalize("NFD", char))
    if len(marks) == 1 and marks[0] in _ACCENTS and base.isascii():
        base = {"i": r"\i", "j": r"\j"}.get(base, base)
        return rf"\{_ACCENTS[marks[0]]}{{{base}}}"
    return f"U+{ord(char):04X}"


def _comment(text: str) -> str:
    return " ".join(text.split())


def _ids(trials: tuple[Trial, ...]) -> str:
    return " ".join(t.id for t in trials)
