"""Published forms as plain text, against what the recorded files have of the same sources."""

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.errors import DataError
from suites.bam.data import convert

PAGE = """<?xml version="1.0" encoding="utf-8"?>
<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops">
	<head><title>XIV: Objections</title></head>
	<body epub:type="bodymatter z3998:fiction">
		<section id="chapter-14" epub:type="chapter">
			<header>
				<hgroup>
					<h2 epub:type="ordinal z3998:roman">XIV</h2>
					<h3 epub:type="title">Objections  to
						the Proposed Constitution</h3>
				</hgroup>
				<p>Madison: From the <i>New York&nbsp;Packet</i>, Friday.</p>
			</header>
			<p>A pamphlet,<a href="endnotes.xhtml#note-68" epub:type="noteref">68</a> in it:—</p>
			<table><tbody>
				<tr><td>Secondary strata</td><td>13,190</td></tr>
				<tr><td>Tertiary strata</td><td>2,240</td></tr>
			</tbody></table>
			<blockquote epub:type="z3998:verse"><p>
				<span>Our deeds still travel with us from afar,</span>
				<br/>
				<span>And what we have been makes us what we are.</span>
			</p></blockquote>
			<footer><p epub:type="z3998:signature">Publius</p></footer>
		</section>
	</body>
</html>"""


def test_pages_of_a_book_become_paragraphs() -> None:
    assert convert.xhtml(PAGE, "chapter-14").split("\n\n") == [
        "XIV",
        "Objections to the Proposed Constitution",
        "Madison: From the New York Packet, Friday.",
        "A pamphlet, in it:—",
        "Secondary strata   13,190\nTertiary strata   2,240",
        "Our deeds still travel with us from afar,\nAnd what we have been makes us what we are.",
        "Publius",
    ]


@pytest.mark.parametrize("page", ["<p>cut", '<!DOCTYPE a [<!ENTITY a "aaaa">]><p>&a;&a;</p>'])
def test_what_is_no_page_is_one_line(page: str) -> None:
    with pytest.raises(DataError, match=r"^chapter-1: (no XML|declares entities)"):
        convert.xhtml(page, "chapter-1")


def test_statutes_keep_their_order_and_depth() -> None:
    section = """<?xml version='1.0' encoding='utf-8'?>
<section xmlns="https://code.dccouncil.us/schemas/dc-library">
  <num>28-3909</num>
  <heading>Restraining prohibited acts.</heading>
  <para>
    <num>(a)</num>
    <text>In <em>parens  patriae</em>,
      it may.</text>
  </para>
  <para>
    <num>(c)</num>
    <text>The Corporation Counsel may also:</text>
    <para>
      <num>(1)</num>
      <text>represent the interests of consumers;</text>
    </para>
  </para>
  <annotations><annotation type="History">Mar. 8, 1991</annotation></annotations>
</section>"""
    assert convert.statute(section, "28-3909") == (
        "§ 28-3909 Restraining prohibited acts.\n"
        "(a) In parens patriae, it may.\n"
        "(c) The Corporation Counsel may also:\n"
        "  (1) represent the interests of consumers;"
    )


def test_pretext_keeps_its_mathematics() -> None:
    source = r"""<?xml version="1.0"?>
<!-- See the file COPYING. -->
<chapter xml:id="actions">
  <title>Group Actions</title>
    <p permid="Lyy">
      A <term>(left) action</term>
          <idx><h>Group</h><h><m>G</m>-set</h></idx>
      of <m>G</m> on <m>X</m>:
      <me permid="oLb">
        (\sigma, x) \mapsto \sigma(x)
      </me>
      for all &lt; 2
      <md><mrow>(h, g) &amp; = hgh^{-1}</mrow></md>.
    </p>
</chapter>"""
    assert convert.pretext(source).split("\n") == [
        "Group Actions",
        "A (left) action",
        "of $G$ on $X$:",
        r"\[",
        r"(\sigma, x) \mapsto \sigma(x)",
        r"\]",
        "for all < 2",
        r"\[(h, g) & = hgh^{-1}\].",
    ]


def test_latex_loses_preamble_and_comments() -> None:
    source = "\\documentclass{a}\r\n\\begin{document}\n% a comment\n\\title{T} % why\n\n\n\n"
    source += "100\\% of it\\\\% end\n  %\nend\n\\end{document}\nafter"
    assert convert.latex(source) == "\\title{T}\n\n100\\% of it\\\\\nend"


def recorded(folder: Path, name: str) -> list[dict[str, str]]:
    files = sorted((folder / "lm" / name).glob("*.jsonl"))
    texts = (file.read_text(encoding="utf-8") for file in files)
    return [json.loads(line) for text in texts for line in text.split("\n") if line]


def by_source(documents: list[dict[str, str]]) -> Iterator[list[str]]:
    for _, group in itertools.groupby(documents, key=lambda one: one["id"].partition("#")[0]):
        yield [one["text"] for one in group]


@pytest.mark.parametrize(
    ("name", "between", "cut", "at_least"),
    [
        ("math_hott", "\n\n", convert.sections, 1.0),
        ("math_stacks", "\n\n", convert.sections, 0.98),
        ("math_fcla", "\n", convert.lines, 0.98),
        ("math_aata", "\n", convert.lines, 0.9),
    ],
)
def test_long_texts_are_cut_where_the_recorded_ones_are(
    name: str, between: str, cut: Callable[[str], list[str]], at_least: float, data_folder: Path
) -> None:
    """What is written between two pieces is not recorded: a few lengths differ by that."""
    same = [
        one == other
        for texts in by_source(recorded(data_folder, name))
        for one, other in itertools.zip_longest(cut(between.join(texts)), texts)
    ]
    assert sum(same) / len(same) >= at_least


@pytest.mark.parametrize(
    "name",
    [
        "general_movie_reviews", "general_standardebooks", "general_us_speeches",
        "general_wikitext2_valid", "law_dc_code", "law_federalist_papers", "law_licences_spdx",
        "math_aata", "math_fcla", "math_hott", "math_openlogic", "math_stacks",
    ],
)  # fmt: skip
def test_recorded_texts_are_clean_already(name: str, data_folder: Path) -> None:
    texts = [one["text"] for one in recorded(data_folder, name)]
    assert [convert.clean(text) for text in texts] == texts
