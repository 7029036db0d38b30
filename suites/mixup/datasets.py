"""The text classification sets of the suite as plain data: files, digests, columns, licences.

Importing this module needs nothing but the standard library.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

Measure = Literal["accuracy", "f1", "mcc", "spearman"]


class File(NamedTuple):
    """A tab-separated file."""

    path: str
    """Inside the data folder."""
    sha256: str | None
    rows: int
    label: str | int
    """Column: by name where the file has a header, else by number from 0."""
    first: str | int
    second: str | int | None = None
    part: Literal["all", "odd", "even"] = "all"
    """Lines to keep, counted from 1."""
    layout: Literal["tabs", "label-first"] = "tabs"
    """`label-first`: `COARSE:fine text`, read as the columns label and text."""


class Corpus(NamedTuple):
    """A task's texts: where to train and where to test."""

    name: str
    title: str
    train: File | None
    """None for sets that are only tested on."""
    dev: File | None
    """None for sets that are only trained on."""
    classes: tuple[str, ...]
    """In the order of their numbers, lower case; empty for regression."""
    measure: Measure
    licence: str
    source: str
    top: float = 0.0
    """Highest score of a regression set; the lowest is 0."""
    fetch: bool = False
    """Whether `hub.py` gets it: from the public hub, or as the union of published samples."""
    seen: bool = False
    """Whether the training data of the packaged MiniLM include it: no clean test of that."""
    note: str = ""


_COPIES: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(
            ("CoLA", "MRPC", "QNLI", "RTE", "SST-2", "STS-B"),
            "F0restL1n/BERT/raw/0d0288be0807/glue_data/{set}/{file}",
        ),
        **dict.fromkeys(
            ("CR", "MR", "SUBJ"),
            "felipefreitas93/NLPdatasets/raw/ede080982a67419ffeeb2f8f922730ab3af2eb8a/{set}/{file}",
        ),
        "SICK": "praguna/sick_dataset/raw/a35d440f0281/{file}",
        "TREC": "tmadhuri/TREC-HindiData/raw/15f8c5be9fa0/{file}",
    }
)
"""Set -> where a public copy of its files lies on github.com, byte for byte."""
SAMPLES = (
    "https://github.com/ZhengxiangShi/PowerfulPromptFT/raw/b4ecdea06084/data/k-shot/{set}/16-{draw}/"
    "{file}"
)
"""Where the draws of 16 examples per class lie that pools are the union of."""
_GLUE = "GLUE benchmark, tab-separated files as gluebenchmark.com distributes them"
_SENTENCES = "sentence classification sets collected at github.com/felipefreitas93/NLPdatasets"
_ENTAILMENT = ("entailment", "not_entailment")
_NLI = ("entailment", "neutral", "contradiction")
_POOL = "github.com/ZhengxiangShi/PowerfulPromptFT: five k-shot samples of the training set, merged"
_REVIEWS = "Cornell movie-review data, no licence text"


def _pool(name: str, rows: int, sha256: str) -> File:
    return File(f"glue/kshot/{name}/pool.tsv", sha256, rows, "label", "sentence1", "sentence2")


def _sentences(
    name: str, title: str, files: tuple[tuple[str, int], tuple[str, int]], licence: str
) -> Corpus:
    train, dev = (
        File(f"glue/{name.upper()}/{part}.tsv", sha256, rows, 0, 1)
        for part, (sha256, rows) in zip(("train", "dev"), files, strict=True)
    )
    return Corpus(name, title, train, dev, ("0", "1"), "accuracy", licence, _SENTENCES)


_SICK = File(
    "glue/SICK/SICK.txt",
    "3de6211d6cee83b1b444c1205da36bd18e6cabf5b4debfc24995b1510b796878",
    9927,
    "entailment_judgment",
    "sentence_A",
    "sentence_B",
)
QNLI_DEV = File(
    "glue/QNLI/dev.tsv",
    "ac19409dcb04631eaaa094bdebdcf621086bc352503dfb6a1a648b614986f4fd",
    5463,
    "label",
    "question",
    "sentence",
)

_ROWS = (
    Corpus(
        "sst-2",
        "SST-2",
        File(
            "glue/SST-2/train.tsv",
            "48eac26399f8456935f81dd9e3a745c1430adb6c62e233ccfe22db4a0d15d1d1",
            67_349,
            "label",
            "sentence",
        ),
        File(
            "glue/SST-2/dev.tsv",
            "54a9c12c77e402fc14d6a66a506f24d999f596b0176eb777c972cccc2f9cc4b0",
            872,
            "label",
            "sentence",
        ),
        ("0", "1"),
        "accuracy",
        "no licence named; treated as for research use",
        _GLUE,
        note="training examples are phrases, development examples whole sentences",
    ),
    _sentences(
        "subj",
        "SUBJ",
        (
            ("314272c23567d61f3072559b6a4680afab402c0bd84c497b876cee1b0e5e38fb", 8000),
            ("235db85f50a7bd0a9466fccba49316ebe7e4c2b92ad6aa59365b4ac4e05266a1", 2000),
        ),
        _REVIEWS,
    ),
    _sentences(
        "cr",
        "CR",
        (
            ("c5762e3f8707b1a45d6d7b53cc4c9a2a1c9271b3c893c99fc276af78e1f9470a", 3016),
            ("8841813de83806c26a45ac35520701c9497f04ee9d78fb39f8d870213ec5b922", 755),
        ),
        "Hu and Liu's customer reviews, no licence text",
    ),
    _sentences(
        "mr",
        "MR",
        (
            ("fa1b5994b9a03f05f4604d80d5e63ae5798bc9f340b2344c217eebd63aff94f8", 8529),
            ("bc37c1b03d4a5c97d64001a884cfb2fc9c9d16b9d214ec1545c10878643f6fe7", 2133),
        ),
        _REVIEWS,
    ),
    Corpus(
        "trec",
        "TREC-6",
        File(
            "glue/TREC/train_5500.label",
            "514cade7af76429013796abd78a7bfdc8f4b0500dfeb5cf8da3b74f44c424b0d",
            5444,
            0,
            1,
            layout="label-first",
        ),
        File(
            "glue/TREC/TREC_10.en.label",
            "edb2e413c306dc9b37defbfeb1706bc332461f2b0d2651ac5c43569c74c89ca9",
            499,
            0,
            1,
            layout="label-first",
        ),
        ("abbr", "desc", "enty", "hum", "loc", "num"),
        "accuracy",
        "UIUC question classification, free for research",
        "github.com/tmadhuri/TREC-HindiData @ 15f8c5b",
        note="5,444 and 499 of the published 5,452 and 500 questions",
    ),
    Corpus(
        "sts-b",
        "STS-B",
        File(
            "glue/STS-B/train.tsv",
            "41c4d978b6162abdcada7e49a982211954cca5459c228db478af333124b257a2",
            5749,
            "score",
            "sentence1",
            "sentence2",
        ),
        File(
            "glue/STS-B/dev.tsv",
            "fe7dc0632a5033562f3cadff991f6e8d9b9b6311861660e78c3c82eb7db67f59",
            1500,
            "score",
            "sentence1",
            "sentence2",
        ),
        (),
        "spearman",
        "per-source terms in the set's LICENSE.txt",
        _GLUE,
        top=5.0,
    ),
    Corpus(
        "cola",
        "CoLA",
        File(
            "glue/CoLA/train.tsv",
            "cb368ebeb9f27d7ad03720d27ddc95687a311bdb100781a2fe59a5f5b1bc0624",
            8551,
            1,
            3,
        ),
        File(
            "glue/CoLA/dev.tsv",
            "8c013e21dc39957cac37378d87bebe225b694a0d5fe13eded66c2856628833fd",
            1043,
            1,
            3,
        ),
        ("0", "1"),
        "mcc",
        "example sentences from linguistics publications, fair use",
        _GLUE,
    ),
    Corpus(
        "rte",
        "RTE",
        File(
            "glue/RTE/train.tsv",
            "41e3a9b063433392343fad9e962cf2f58b681c78d8f71592f4186f0837246c5c",
            2490,
            "label",
            "sentence1",
            "sentence2",
        ),
        File(
            "glue/RTE/dev.tsv",
            "80230dfa1347282e7b532b06a1004a76a710087541189bf874223ddf0e3819fb",
            277,
            "label",
            "sentence1",
            "sentence2",
        ),
        _ENTAILMENT,
        "accuracy",
        "no licence text; free for research",
        _GLUE,
    ),
    Corpus(
        "mrpc",
        "MRPC",
        File(
            "glue/MRPC/train.tsv",
            "f178bcc72ab4c2c1c778b480912e0c8e1dba3ead150dc1d490d70682ab888c1e",
            3667,
            "Quality",
            "#1 String",
            "#2 String",
        ),
        File(
            "glue/MRPC/dev.tsv",
            "9e8f284788040f7c9ecde2e1b3c07237c756f926bd9ef8548ef5d34b56f69f17",
            408,
            "Quality",
            "#1 String",
            "#2 String",
        ),
        ("0", "1"),
        "f1",
        "Microsoft Research Paraphrase Corpus, for research",
        _GLUE,
        note="3,667 of the published 3,668 training pairs",
    ),
    Corpus(
        "qnli",
        "QNLI",
        File("glue/QNLI/train.tsv", None, 104_743, "label", "question", "sentence"),
        QNLI_DEV._replace(sha256=None),
        _ENTAILMENT,
        "accuracy",
        "CC BY-SA 4.0",
        _GLUE,
        fetch=True,
        seen=True,
    ),
    Corpus(
        "qnli-pool",
        "QNLI, pool of 320",
        _pool("QNLI", 320, "e24346f42b99c770f6ce6c26fe6b18315889cda856cb770911267f9a34840fdb"),
        QNLI_DEV,
        _ENTAILMENT,
        "accuracy",
        "CC BY-SA 4.0",
        _POOL,
        fetch=True,
        seen=True,
    ),
    Corpus(
        "mnli",
        "MNLI, matched",
        File("glue/MNLI/train.tsv", None, 392_702, "gold_label", "sentence1", "sentence2"),
        File("glue/MNLI/dev_matched.tsv", None, 9815, "gold_label", "sentence1", "sentence2"),
        _NLI,
        "accuracy",
        "OANC terms for most of it",
        _GLUE,
        fetch=True,
        seen=True,
    ),
    Corpus(
        "mnli-pool",
        "MNLI, pool of 480",
        _pool("MNLI", 480, "9fc52d3128f5924cd014493928264cac18367382670f6418bdfc6af6a7ed4be6"),
        None,
        _NLI,
        "accuracy",
        "OANC terms for most of it",
        _POOL,
        fetch=True,
        seen=True,
    ),
    Corpus(
        "snli-pool",
        "SNLI, pool of 480",
        None,
        _pool("SNLI", 480, "87bdd6b3e75fbb5df4e4687758ded1e30ca0274bb49e9092fa5d7ba82a1e2cd8"),
        _NLI,
        "accuracy",
        "CC BY-SA 4.0",
        _POOL,
        fetch=True,
        seen=True,
    ),
    Corpus(
        "qqp",
        "QQP",
        File("glue/QQP/train.tsv", None, 363_846, "is_duplicate", "question1", "question2"),
        File("glue/QQP/dev.tsv", None, 40_430, "is_duplicate", "question1", "question2"),
        ("0", "1"),
        "accuracy",
        "Quora terms",
        _GLUE,
        fetch=True,
        seen=True,
    ),
    Corpus(
        "sick",
        "SICK",
        _SICK._replace(part="odd"),
        _SICK._replace(part="even"),
        _NLI,
        "accuracy",
        "CC BY-NC-SA 3.0",
        "SemEval-2014 task 1; github.com/praguna/sick_dataset @ a35d440",
        note="the file has no split: odd lines train, even lines test",
    ),
)


def url(file: File) -> str | None:
    """Where a file is published byte for byte; None for those that are fetched in another way."""
    _, name, rest = file.path.split("/", 2)
    if file.sha256 is None or name not in _COPIES:
        return None
    return "https://github.com/" + _COPIES[name].format(set=name, file=rest)


CORPORA: Mapping[str, Corpus] = MappingProxyType({row.name: row for row in _ROWS})
"""All sets by name; `harness data` tells which of them are at hand."""
