"""What trials do with checkpoints that a plugin brings: keep them, mix them, measure them.

Shape suffixes: B windows, T tokens, V vocabulary.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import JsonValue
from transformers import AutoTokenizer

from harness import pretrained, rows
from harness.errors import DataError, brief
from harness.rows import Field, Schema
from harness.run import Context
from suites.bam import training, trials
from suites.bam.data import corpora, tokens
from suites.bam.data.corpora import Document, Split
from suites.bam.data.tokens import Tokens
from suites.bam.model import checkpoints, upcycle
from suites.bam.own import LmEval, OwnCheckpoint, OwnMixture, OwnModel, OwnTexts
from suites.bam.settings import BamSettings, Measured
from suites.bam.training import MODEL

_HUB_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
_TEXT = Schema((Field("text"),))


def make_checkpoint(ctx: Context) -> dict[str, JsonValue]:
    """Artifact: a checkpoint as a dense model of the suite in float32, with its tokenizer.

    Raises:
        DataError: it cannot be read, or is of another family.
        MethodError: it is a mixture, or has parts that the suite's models have not.
    """
    place = ctx.settings(OwnCheckpoint).checkpoint
    if place.startswith("hub:"):
        folder = ctx.snapshot(place.removeprefix("hub:"), *_HUB_FILES)
    else:
        folder = ctx.dataset(place)
    # An average of one: read and written tensor by tensor.
    upcycle.run([folder], "average", ctx.out / MODEL, 0, dtype="float32")
    tokenizer(ctx.out / MODEL)
    return training.report(ctx, checkpoints.load_dense(ctx.out / MODEL), 0)


def make_mixture(ctx: Context) -> dict[str, JsonValue]:
    """Artifact: checkpoints upcycled into one model and trained on all their texts.

    Raises:
        MethodError: their architectures or tokenizers differ; the first difference.
        DataError: a domain has too few texts.
    """
    mixture, settings = ctx.settings(OwnMixture), ctx.settings(BamSettings)
    folders = [ctx.artifact(name) / MODEL for name in mixture.parts]
    pretrained.check_tokenizers(folders, "experts must be copies of one seed")
    model = upcycle.upcycle(
        [checkpoints.load_dense(folder) for folder in folders],
        mixture.method,
        ctx.torch_generator("routers"),
        names=mixture.parts,
        **settings.routing.model_dump(),
    )
    reader = tokenizer(folders[-1])
    texts = {name: _split(ctx, name).train for name in ctx.datasets}
    stream = tokens.Stream(
        {name: np.concatenate(_encoded(reader, part).ids) for name, part in texts.items()},
        dict.fromkeys(texts, 1 / len(texts)),
        settings.context,
        ctx.numpy_generator("batch", "mixture"),
    )
    return training.finish(ctx, model, stream, settings.phases.mixture)


def run(ctx: Context) -> dict[str, float]:
    """Measures what the task asks of a model; the method function of a plugin's checkpoints."""
    method, settings = ctx.settings(OwnModel), ctx.settings(BamSettings)
    network: Any = checkpoints.load(ctx.artifact(method.artifact) / MODEL)
    network = network.to(ctx.device).eval()
    reader = tokenizer(ctx.artifact(method.tokenizer) / MODEL)
    context = min(settings.context, network.config.max_position_embeddings)
    asked = ctx.settings(LmEval)
    if asked.lm_eval is not None:
        return _answers(ctx, network, reader, asked, context)
    if (group := ctx.settings(Measured).group) is not None:
        return trials.answers(ctx, network, reader, group)
    losses = []
    for name in ctx.settings(OwnTexts).texts:
        encoded = _encoded(reader, _split(ctx, name).held_out)
        found = windows(encoded, context, settings)
        empty_V = torch.zeros(network.config.vocab_size, dtype=torch.long)
        loss = trials.perplexity(network, found.windows, empty_V, settings.evaluation.batch)
        losses.append(loss._replace(bytes=found.bytes))
    trials.keep_training(ctx)
    return trials.means(losses)


def _answers(
    ctx: Context, network: Any, reader: Any, asked: LmEval, context: int
) -> dict[str, float]:
    from suites.bam.downstream import by_name

    (name,) = ctx.datasets
    evaluation = ctx.settings(BamSettings).evaluation
    folder = ctx.dataset(name)
    file = None if asked.yaml else folder / f"lm-eval/{asked.lm_eval}.jsonl"
    with by_name.opened(file, folder, str(asked.lm_eval), evaluation.shots) as task:
        accuracy = by_name.score(
            network,
            reader,
            task,
            asked.metric,
            context=context,
            limit=evaluation.questions,
            batch=evaluation.batch,
        )
    return {"accuracy": accuracy}


def tokenizer(folder: Path) -> Any:
    """The tokenizer of a checkpoint.

    Raises:
        DataError: there is none that tells where its tokens lie in a text, or none that has a
            token to begin a text with.
    """
    try:
        found: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # whatever readers raise on odd files
        raise DataError(f"{folder}: its tokenizer cannot be read ({brief(error)})") from None
    if not found.is_fast:
        raise DataError(f"{folder}: its tokenizer has no tokenizer.json; save it with `tokenizers`")
    if _beginning(found) is None:
        raise DataError(f"{folder}: its tokenizer has neither bos_token nor eos_token; name one")
    return found


def _beginning(reader: Any) -> int | None:
    """The token before every text."""
    first: int | None = reader.bos_token_id
    return reader.eos_token_id if first is None else first


class Encoded(NamedTuple):
    """Documents as tokens, each after the token that begins a text."""

    ids: list[Tokens]
    bytes: list[list[int]]
    """Bytes of the document up to the end of each of its tokens."""


def _encoded(reader: Any, documents: Sequence[Document]) -> Encoded:
    """The names of special tokens in a text are text, as its other words are."""
    fast, first = reader.backend_tokenizer, _beginning(reader)
    usual, fast.encode_special_tokens = fast.encode_special_tokens, True
    found = Encoded([], [])
    try:
        for document in documents:
            encoding = fast.encode(document.text, add_special_tokens=False)
            found.ids.append(np.array([first, *encoding.ids], dtype=np.int32))
            found.bytes.append(list(_ends(document.text, [end for _, end in encoding.offsets])))
    finally:
        fast.encode_special_tokens = usual
    return found


def _ends(text: str, ends: Sequence[int]) -> Iterator[int]:
    """How many bytes of a text lie before each of some places, which do not fall."""
    place = count = 0
    for end in ends:
        count += len(text[place : max(end, place)].encode())
        place = max(end, place)
        yield count


class Windows(NamedTuple):
    """What is predicted of some documents."""

    windows: list[Tokens]
    bytes: int


def windows(encoded: Encoded, context: int, settings: BamSettings) -> Windows:
    """Windows of at most `context` predicted tokens, by the rule of `suites.bam.trials.windows`.

    Bytes are those of the text that is predicted, so that any two tokenizers can be compared.
    """
    found, length, left = [], 0, settings.evaluation.tokens
    for ids, ends in zip(encoded.ids, encoded.bytes, strict=True):
        count = min(len(ends), settings.evaluation.document, left)
        for first in range(0, count, context):
            found.append(ids[first : min(first + context, count) + 1])
        length += ends[count - 1] if count else 0
        left -= count
    return Windows(found, length)


def _split(ctx: Context, name: str) -> Split:
    """Training and held-out texts of a dataset."""
    settings = ctx.settings(BamSettings)
    folder = ctx.dataset(name)
    files = next(dataset.files for dataset in ctx.suite.datasets if dataset.name == name)
    found = corpora.distinct(name, _documents(folder, files))
    return corpora.split(name, corpora.take(found, settings.characters), settings.held_out)


def _documents(folder: Path, files: Mapping[str, str | None]) -> Iterator[Document]:
    for file in files:
        for row in rows.stream(folder / file, _TEXT):
            text = row.values["text"]
            parts = corpora.pieces(text) if ".txt" in Path(file).suffixes else (text,)
            for number, part in enumerate(parts):
                yield Document(f"{file}:{row.line}#{number}", part)
