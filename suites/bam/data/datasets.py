"""The outside texts of the suite as plain data: domain, files, digests, licence, source.

Importing this module needs nothing but the standard library.
"""

from typing import NamedTuple

DOMAINS = ("general", "code", "law", "math")
"""In the order of the paper's tables; `general` is its column `Pretrain`."""

SPECIALITIES = ("code", "law", "math")
"""Domains that have an expert of their own."""


class Text(NamedTuple):
    """Documents of one domain, in JSON Lines files with `id` and `text`."""

    name: str
    domain: str
    files: dict[str, str | None]
    """Path inside the data folder -> sha256, where one is known."""
    licence: str
    source: str
    documents: int
    note: str = ""

    @property
    def sizes(self) -> str:
        """How many documents, in words."""
        return f"{self.documents:,} documents"


TEXTS = (
    Text(
        name="standard-ebooks",
        domain="general",
        files={
            "lm/general_standardebooks/docs-00.jsonl": (
                "3067b946fda7a26d7bcdde3e3a237b73419a8ab063b50149ac55506c359abc7e"
            ),
            "lm/general_standardebooks/docs-01.jsonl": (
                "6ecd54a9452fca356f710b68e2a85915d47bf4ae90f745c64d1f5c883e07127b"
            ),
            "lm/general_standardebooks/docs-02.jsonl": (
                "06d4beeda9b49731ad92a72ac2783f74f31ff81b0f3a886de9d14465baef2e7f"
            ),
        },
        licence="public-domain texts; CC0 edition",
        source="chapters of twelve books of Standard Ebooks, github.com/standardebooks",
        documents=516,
    ),
    Text(
        name="wikitext2-valid",
        domain="general",
        files={
            "lm/general_wikitext2_valid/docs-00.jsonl": (
                "12583b00d2d077ffb9ef06322e2bf1a5e4f83e48a5126bec5c740a5b3efb6c52"
            )
        },
        licence="CC BY-SA 3.0",
        source="WikiText-2 validation articles, github.com/pytorch/examples @ 77f55b9",
        documents=60,
        note="tokenised form, rare words as <unk>",
    ),
    Text(
        name="movie-reviews",
        domain="general",
        files={
            "lm/general_movie_reviews/docs-00.jsonl": (
                "6f326bb774d62306a74478f3386604b1eed303f90769223bbc1b8528c7b575f0"
            )
        },
        licence="CC BY 4.0",
        source="NLTK movie_reviews, github.com/nltk/nltk_data @ 5db857e",
        documents=942,
        note="lower-cased, tokenised",
    ),
    Text(
        name="us-speeches",
        domain="general",
        files={
            "lm/general_us_speeches/docs-00.jsonl": (
                "8e50fbc0011ddea75fa2e99ba745d0d4287c3d5f4887bfa5fda636fc8176ea06"
            )
        },
        licence="public domain",
        source="NLTK state_union and inaugural, github.com/nltk/nltk_data @ 5db857e",
        documents=124,
    ),
    Text(
        name="dc-code",
        domain="law",
        files={
            "lm/law_dc_code/docs-00.jsonl": (
                "b933854b3473daac7fb4d4fa838e7f3e61ea7a7e2d9ba4ab111e4ec9774685d4"
            ),
            "lm/law_dc_code/docs-01.jsonl": (
                "002f8a11c69cef4968ec1479f0e056c11cbd3d2868a2cc21a3c90a03e92c418a"
            ),
        },
        licence="government edict; the repository names no licence",
        source="Code of the District of Columbia, github.com/DCCouncil/law-xml @ 9123af0",
        documents=4361,
    ),
    Text(
        name="spdx-licences",
        domain="law",
        files={
            "lm/law_licences_spdx/docs-00.jsonl": (
                "adfb3a6fc50d5315d66ebbb1fff4feb5d0ae0146242b7aaee8659939d8d02cda"
            )
        },
        licence="package CC0-1.0; each licence may be copied verbatim",
        source="npm spdx-license-list 6.12.0",
        documents=529,
    ),
    Text(
        name="federalist-papers",
        domain="law",
        files={
            "lm/law_federalist_papers/docs-00.jsonl": (
                "3714d4b00fedfa9a4224fe8f9982056cc17698a0c253f3fcbdf5e017d0725271"
            )
        },
        licence="public domain; CC0 edition",
        source="The Federalist Papers, github.com/standardebooks",
        documents=87,
    ),
    Text(
        name="stacks-project",
        domain="math",
        files={
            "lm/math_stacks/docs-00.jsonl": (
                "e16fbc92f0bc9716cf8988efa344c8cbb1a24fa366da798e72fefa145f6e092c"
            ),
            "lm/math_stacks/docs-01.jsonl": (
                "1fc0996df4dbab58a43fd22518e0572b6d1bb422b2515ea524521bf645db4d17"
            ),
        },
        licence="GFDL 1.2 or later",
        source="sixteen chapters, github.com/stacks/stacks-project @ 4ac4815",
        documents=421,
    ),
    Text(
        name="hott-book",
        domain="math",
        files={
            "lm/math_hott/docs-00.jsonl": (
                "392bff5c88863351742e4fb658de0e9e308ca2e3d5f722194fb8defb1fba68df"
            )
        },
        licence="CC BY-SA 3.0",
        source="Homotopy Type Theory, github.com/HoTT/book @ 578b85c",
        documents=126,
    ),
    Text(
        name="open-logic",
        domain="math",
        files={
            "lm/math_openlogic/docs-00.jsonl": (
                "19f59ab00b903d625d8beb497fff9b82f591df3a946c256ecc56fdfc995a36ae"
            )
        },
        licence="CC BY 4.0",
        source="github.com/OpenLogicProject/OpenLogic @ 9620cc7",
        documents=95,
    ),
    Text(
        name="fcla",
        domain="math",
        files={
            "lm/math_fcla/docs-00.jsonl": (
                "502061829cef2f800ca7a5ce1a133cc54a6698d3d04c914dcd95b39973fa7477"
            )
        },
        licence="GFDL",
        source="A First Course in Linear Algebra, github.com/rbeezer/fcla @ 9181679",
        documents=155,
    ),
    Text(
        name="aata",
        domain="math",
        files={
            "lm/math_aata/docs-00.jsonl": (
                "9eabdca79c0988b31edae9a2b002645226209ad515d03ad0bc040f466762e689"
            )
        },
        licence="GFDL",
        source="Abstract Algebra: Theory and Applications, github.com/twjudson/aata @ b6f3949",
        documents=91,
    ),
    Text(
        name="gsm8k-train",
        domain="math",
        files={
            "lm/math_gsm8k_train/train.jsonl": (
                "55eb8e48b140e4c2ef62b501fadae35d3c2348b4b38d337753ef9041cb9f1b45"
            )
        },
        licence="MIT",
        source="github.com/openai/grade-school-math @ 3101c7d, training split",
        documents=7473,
        note="the paper trains on it too; calculator marks removed",
    ),
)


def _public(
    name: str, domain: str, source: str, licence: str, documents: int = 300_000, note: str = ""
) -> Text:
    file = f"lm/public_{name.replace('-', '_')}/docs.jsonl"
    return Text(name, domain, {file: None}, licence, source, documents, note)


PUBLIC = (
    _public("common-crawl", "general", "hub: allenai/c4, English", "ODC-By"),
    _public(
        "starcoder-python", "code", "hub: bigcode/starcoderdata, Python", "each file's own",
        note="asks for an account that has accepted its terms",
    ),
    _public("pile-of-law-opinions", "law", "hub: pile-of-law, court opinions", "CC BY-NC-SA 4.0"),
    _public("pile-of-law-contracts", "law", "hub: pile-of-law, Atticus contracts",
            "CC BY-NC-SA 4.0"),
    _public("algebraic-stack", "math", "hub: EleutherAI/proof-pile-2", "each file's own"),
    _public("open-web-math", "math", "hub: EleutherAI/proof-pile-2", "ODC-By"),
    _public("gsm8k-hub", "math", "hub: openai/gsm8k, training split", "MIT", 7473),
)  # fmt: skip
"""Sets that the paper names and the hub has: the first documents of each. No digests are known.

Not among them: MathPile (closed to downloads without a request), MathGLM (not on the hub) and HUPD
(read by a script of its own, which loaders no longer run).
"""
