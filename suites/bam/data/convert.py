"""From the forms that texts are published in to plain text; the same input gives the same text.

XHTML books, PreTeXt, statutes in XML, LaTeX, and articles of WikiText. Nothing here reads files.
"""

import html
import itertools
import re
from collections.abc import Iterator
from xml.etree import ElementTree as Xml

from harness.errors import DataError, brief

LONGEST = 12_000
"""Characters that a piece of a long text aims at."""

_BLOCKS = frozenset(
    {
        "article", "aside", "blockquote", "body", "dd", "div", "dl", "dt", "figcaption", "figure",
        "footer", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hgroup", "hr", "li", "ol", "p",
        "section", "ul",
    }
)  # fmt: skip
_CELLS = frozenset({"td", "th"})
_SILENT = frozenset({"head", "img", "nav", "script", "style", "svg"})
_TYPE = "{http://www.idpf.org/2007/ops}type"
_XHTML_NAMES = {"nbsp": "\xa0"}
_SECTION = re.compile(r"(?=\\(?:chapter|section|subsection)\b)")
_TITLE = re.compile(r"(?m)^ = [^=\n].* =$")


def clean(text: str) -> str:
    """Plain blanks and line ends, none at the end of a line, one empty line at most in a row."""
    text = text.replace("\r\n", "\n").replace("\xa0", " ")
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+\n", "\n", text)).strip()


def articles(text: str) -> list[str]:
    """The articles of a WikiText file: each begins with a line ` = title = `."""
    plain = text.replace(" \n", "\n")
    starts = [found.start() for found in _TITLE.finditer(plain)]
    return [clean(plain[s:e]) for s, e in itertools.pairwise((*starts, len(plain)))]


def xhtml(text: str, name: str) -> str:
    """Paragraphs and headings of a page, an empty line between; marks of endnotes left out.

    Raises:
        DataError: it is no XML, or declares entities.
    """
    return clean("".join(_flow(_parsed(text, name), "")))


def _flow(node: Xml.Element, inherited: str) -> Iterator[str]:
    tag = _tag(node)
    if tag == "br":
        yield "\n"
        return
    if tag in _SILENT or "noteref" in node.get(_TYPE, inherited).split():
        return
    edge = "\n\n" if tag in _BLOCKS else ""
    yield "\n" if tag == "tr" else edge
    yield _running(node.text)
    for child in node:
        yield from _flow(child, "")
        yield _running(child.tail)
    yield "   " if tag in _CELLS else edge


def _running(text: str | None) -> str:
    """Running text: any white space is one blank, and none where there is nothing else."""
    if not text or (not text.strip() and "\n" in text):
        return ""
    return re.sub(r"[ \t\n]+", " ", text)


def statute(text: str, name: str) -> str:
    """A section of a code: number and heading, then paragraphs, indented by their depth.

    Annotations are left out.

    Raises:
        DataError: it is no XML, or declares entities.
    """
    root = _parsed(text, name)
    parts = {_tag(child): _words(child) for child in root if _tag(child) in ("num", "heading")}
    head = f"§ {parts.get('num', '')} {parts.get('heading', '')}".rstrip()
    return clean("\n".join((head, *_paragraphs(root, 0, {"num", "heading"}))))


def _paragraphs(node: Xml.Element, depth: int, skip: set[str]) -> Iterator[str]:
    line = ""
    for child in node:
        tag = _tag(child)
        if tag in skip or tag == "annotations":
            continue
        if tag in ("num", "heading", "text", "after-text", "aftertext"):
            if tag == "text" and not line.startswith("(") and line:
                yield "  " * max(depth - 1, 0) + line
                line = ""
            line = f"{line} {_words(child)}".strip()
            continue
        if line:
            yield "  " * max(depth - 1, 0) + line
            line = ""
        yield from _paragraphs(child, depth + 1, set())
        if not len(child) and (words := _words(child)):
            yield "  " * depth + words
    if line:
        yield "  " * max(depth - 1, 0) + line


def pretext(text: str) -> str:
    """A PreTeXt source as text and LaTeX, without index entries and empty lines."""
    text = re.sub(r"(?s)<!--.*?-->|<\?.*?\?>|<!DOCTYPE.*?>", "", text)
    text = re.sub(r"(?s)<(idx|notation)\b[^>]*>.*?</\1>", "", text)
    text = re.sub(r"(?s)<m\b[^>]*>(.*?)</m>", r"$\1$", text)
    text = re.sub(r"(?s)<(me|men)\b[^>]*>(.*?)</\1>", r"\n\\[\2\\]\n", text)
    text = re.sub(r"(?s)<mrow\b[^>]*>(.*?)</mrow>", r"\\[\1\\]", text)
    text = html.unescape(re.sub(r"<[^<>]*>", "", text))
    lines = (line.strip() for line in text.split("\n"))
    return clean("\n".join(line for line in lines if line))


def latex(text: str) -> str:
    """The body of a LaTeX source, without comments."""
    text = text.replace("\r\n", "\n")
    if (begin := text.find("\\begin{document}")) >= 0:
        text = text[begin + len("\\begin{document}") :]
    text = text.partition("\\end{document}")[0]
    lines = []
    for line in text.split("\n"):
        kept = re.sub(r"(?<!\\)((?:\\\\)*)%.*", r"\1", line)
        if kept.strip() or not line.strip():  # a line that was a comment alone goes
            lines.append(kept)
    return clean("\n".join(lines))


def sections(text: str) -> list[str]:
    """LaTeX in pieces that end where a section does, of at most `LONGEST` where sections allow."""
    return _packed(_SECTION.split(text))


def lines(text: str) -> list[str]:
    """Text in pieces of whole lines, of at most `LONGEST` characters where lines allow."""
    return _packed(text.splitlines(keepends=True))


def _packed(parts: list[str]) -> list[str]:
    packed = [""]
    for part in parts:
        if packed[-1] and len(packed[-1]) + len(part) > LONGEST:
            packed.append("")
        packed[-1] += part
    return [clean(piece) for piece in packed]


def _parsed(text: str, name: str) -> Xml.Element:
    for entity, character in _XHTML_NAMES.items():
        text = text.replace(f"&{entity};", character)
    if "<!ENTITY" in text:  # they could name files, or grow without bound
        raise DataError(f"{name}: declares entities of its own; a page of text has none")
    try:
        return Xml.fromstring(text.encode())  # noqa: S314 - no entities, see above
    except Xml.ParseError as error:
        raise DataError(f"{name}: no XML ({brief(error)}); download it again") from None


def _tag(node: Xml.Element) -> str:
    return node.tag.rpartition("}")[2] if isinstance(node.tag, str) else ""


def _words(node: Xml.Element) -> str:
    return " ".join("".join(node.itertext()).split())
