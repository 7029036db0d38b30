"""Folders of pretrained models, as transformers writes them: all that is not weights.

What decides the meaning of a model's weights is compared before two models become one: how text
becomes tokens, the chat template, where generation ends, what the configuration says. What a user
of the result needs travels along, and the recipe is kept beside the weights.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import JsonValue

from harness.errors import DataError, MethodError, one_line, quoted
from harness.files import file_digest, instead, read_json, write_atomic

CONFIG = "config.json"
GENERATION = "generation_config.json"
RECIPE = "recipe.json"
"""How the weights beside it were made: method, options, digests of everything that went in."""
CHECKSUM = "checksum.json"

# Each of these tells the whole tokenizer; the first that two folders share is enough to compare.
_WHOLE = (
    ("tokenizer.json",),
    ("tokenizer.model",),
    ("spiece.model",),
    ("sentencepiece.bpe.model",),
    ("vocab.json", "merges.txt"),
    ("vocab.txt",),
    ("tekken.json",),
)
_TOKENIZER = (
    *(name for names in _WHOLE for name in names),
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
_ENDINGS = (".jinja", ".json", ".model", ".safetensors", ".txt")
"""Of the files that a model is read from; pickles are none."""
_TEMPLATES = ("chat_template.jinja", "chat_template.json")
_LICENCES = ("LICENSE", "LICENCE", "COPYING", "NOTICE", "USE_POLICY")
_OTHERS = (GENERATION, "preprocessor_config.json", "processor_config.json", *_TEMPLATES)

# Fields that say nothing of what a model computes or of how text is read.
_INCIDENTAL = {
    "_name_or_path", "name_or_path", "transformers_version", "_commit_hash", "_from_model_config",
    "torch_dtype", "dtype", "use_cache", "output_attentions", "output_hidden_states",
    "_attn_implementation", "_attn_implementation_autoset", "auto_map", "architectures",
}  # fmt: skip
_OF_SAVING = {
    "tokenizer_file", "special_tokens_map_file", "use_fast", "is_local", "local_files_only",
    "processor_class", "padding_side", "truncation_side", "model_max_length", "backend",
    "clean_up_tokenization_spaces", "model_input_names", "chat_template", "max_length", "padding",
    "truncation", "stride", "truncation_strategy", "pad_to_multiple_of", "pad_token_type_id",
}  # fmt: skip
_EMPTY: tuple[Any, ...] = (None, False, "", [], {})
"""Values that mean the same as a field that is not there."""


class Difference(NamedTuple):
    """The first place where two documents differ."""

    place: str
    """Such as `model.merges[3]`; empty: the documents themselves."""
    one: Any
    other: Any

    def between(self, what: str, one: object, other: object) -> str:
        """In words."""
        where = f"{what}: {one_line(self.place)}" if self.place else what
        return f"{where} is {_shown(self.one)} in {one} and {_shown(self.other)} in {other}"


def difference(one: Any, other: Any, ignored: Iterable[str] = ()) -> Difference | None:
    """The first place where two JSON documents differ in what they mean.

    Args:
        ignored: fields of the documents themselves, not of what is nested in them.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        for key in [*one, *(key for key in other if key not in one)]:
            if key not in ignored:
                found = difference(one.get(key), other.get(key))
                if found is not None:
                    joint = "." if found.place and not found.place.startswith("[") else ""
                    return found._replace(place=f"{key}{joint}{found.place}")
        return None
    if isinstance(one, list) and isinstance(other, list):
        for index, (a, b) in enumerate(zip(one, other, strict=False)):
            found = difference(a, b)
            if found is not None:
                joint = "." if found.place and not found.place.startswith("[") else ""
                return found._replace(place=f"[{index}]{joint}{found.place}")
        if len(one) != len(other):
            longer = max(one, other, key=len)
            index = min(len(one), len(other))
            gone = (longer[index], None) if longer is one else (None, longer[index])
            return Difference(f"[{index}]", *gone)
        return None
    same = one == other and isinstance(one, bool) == isinstance(other, bool)
    return None if same or (one in _EMPTY and other in _EMPTY) else Difference("", one, other)


def check_tokenizers(folders: Sequence[Path], advice: str) -> None:
    """Nothing, if all folders that have a tokenizer turn the same text into the same tokens.

    Vocabulary, merges, normaliser, pre-tokenizer, added and special tokens, chat templates. A
    folder without any file of a tokenizer says nothing.

    Args:
        advice: the end of the message.

    Raises:
        DataError: a file that cannot be read.
        MethodError: naming the first difference.
    """
    present = [folder for folder in folders if folder.is_dir() and _present(folder, _TOKENIZER)]
    for other in present[1:]:
        _check_pair(present[0], other, advice)
    templates = {folder: _template(folder) for folder in present}
    for other in present[1:]:
        found = difference(templates[present[0]], templates[other])
        if found is not None:
            raise MethodError(f"{found.between('chat template', present[0], other)}; {advice}")


def _check_pair(one: Path, other: Path, advice: str) -> None:
    shared = [
        names
        for names in _WHOLE
        if all((folder / name).is_file() for folder in (one, other) for name in names)
    ]
    if not shared:
        has = [", ".join(_present(folder, _TOKENIZER)) for folder in (one, other)]
        raise MethodError(
            f"tokenizers of {one} ({has[0]}) and {other} ({has[1]}) cannot be compared: no file "
            f"in common holds a whole vocabulary; {advice}"
        )
    whole = shared[0] == ("tokenizer.json",)
    for name in _TOKENIZER:
        paths = [folder / name for folder in (one, other)]
        if not all(path.is_file() for path in paths):
            continue
        if name == "tokenizer.json":
            one_document, other_document = (_tokenizer(path) for path in paths)
            found = difference(one_document, other_document, {"truncation", "padding"})
        elif name.endswith(".json"):
            ignored = _OF_SAVING | _INCIDENTAL
            if whole:  # tokenizer.json has them too, and two versions of transformers differ here
                ignored |= {"tokenizer_class", "added_tokens_decoder", "extra_special_tokens"}
                ignored |= {"additional_special_tokens", "add_prefix_space", "legacy"}
            one_document, other_document = (_tokens(read_json(path)) for path in paths)
            found = difference(one_document, other_document, ignored)
        else:
            same = _data(paths[0]) == _data(paths[1])
            found = None if same else Difference("", "one file", "another")
        if found is not None:
            raise MethodError(f"{found.between(name, one, other)}; {advice}")


def _tokenizer(path: Path) -> Any:
    """A tokenizer.json with its merges in one notation."""
    document = read_json(path)
    model = document.get("model") if isinstance(document, dict) else None
    if not isinstance(model, dict):
        raise DataError(f"{path} is no tokenizer (it has no model); get it again")
    merges = model.get("merges")
    if isinstance(merges, list):
        model["merges"] = [
            tuple(m.split(" ", 1)) if isinstance(m, str) else tuple(m) if isinstance(m, list) else m
            for m in merges
        ]
    return document


def _tokens(document: Any) -> Any:
    """A configuration of a tokenizer with its special tokens as plain text."""
    if isinstance(document, dict):
        return {
            key: value["content"]
            if isinstance(value, dict) and isinstance(value.get("content"), str)
            else value
            for key, value in document.items()
        }
    return document


def _template(folder: Path) -> Any:
    """The chat templates of a folder, wherever they stand."""
    for name in _TEMPLATES:
        if (folder / name).is_file():
            if name.endswith(".jinja"):
                return _data(folder / name).decode(errors="backslashreplace")
            document = read_json(folder / name)
            return document.get("chat_template") if isinstance(document, dict) else document
    if (folder / "tokenizer_config.json").is_file():
        document = read_json(folder / "tokenizer_config.json")
        return document.get("chat_template") if isinstance(document, dict) else None
    return None


def check_json(
    folders: Sequence[Path],
    name: str,
    advice: str,
    ignored: Iterable[str] = (),
    adapt: Callable[[Any], Any] = lambda document: document,
) -> None:
    """Nothing, if the files of this name say the same in all folders that have one.

    Args:
        ignored: fields that may differ, besides those that say nothing of the model.
        adapt: what to compare of each document.

    Raises:
        DataError: a file that cannot be read, or is not an object.
        MethodError: naming the first difference.
    """
    documents = []
    for folder in folders:
        if folder.is_dir() and (folder / name).exists():
            document = read_json(folder / name)
            if not isinstance(document, dict):
                raise DataError(f"{folder / name} is corrupt (not an object); get it again")
            documents.append((folder, adapt(document)))
    for folder, document in documents[1:]:
        found = difference(documents[0][1], document, _INCIDENTAL | set(ignored))
        if found is not None:
            raise MethodError(f"{found.between(name, documents[0][0], folder)}; {advice}")


def check_plain(config: Mapping[str, Any], path: Path) -> None:
    """Raises DataError for a configuration of a quantised model, or of an adapter."""
    for field in ("quantization_config", "compression_config"):
        if config.get(field):
            raise DataError(
                f"{path} has a {field}: quantised weights cannot be averaged; convert the "
                "checkpoint to float32, float16 or bfloat16"
            )
    if "peft_type" in config:
        raise DataError(f"{path} is the configuration of an adapter; merge it into its model first")


# -- what travels along ----------------------------------------------------------------------------


def companions(folder: Path) -> list[Path]:
    """Files that hold for a model made from this one: tokenizer, templates, licence, generation.

    Raises:
        DataError: one of them is a pointer or a web page and not the file itself.
    """
    found = _present(folder, (*_TOKENIZER, *_OTHERS))
    found += [
        path.name
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name.upper().startswith(_LICENCES)
    ]
    for name in found:
        if name.endswith(".json"):
            read_json(folder / name)
        else:
            _data(folder / name)
    return [folder / name for name in dict.fromkeys(found)]


def copy(files: Iterable[Path], folder: Path) -> None:
    """Copies files into a folder, and the folder of further templates where there is one."""
    for file in files:
        shutil.copyfile(file, folder / file.name)
        more = file.parent / "additional_chat_templates"
        if more.is_dir() and not (folder / more.name).exists():
            shutil.copytree(more, folder / more.name)


def digests(
    folder: Path, what: str, digest_of: Callable[[Path], str] = file_digest
) -> dict[str, str]:
    """File name -> sha256 of all that a model's folder needs: configuration, weights, tokenizer.

    Args:
        folder: of the model.
        what: how the message calls it.
        digest_of: what makes the digests.

    Raises:
        DataError: one of them is not there, or the weights are pickles alone.
    """
    found = {
        path.name: digest_of(path)
        for path in sorted(folder.glob("*"))
        if path.suffix in _ENDINGS and path.is_file()
    }
    weights = any(file.endswith(".safetensors") for file in found)
    tokenizer = any(file.startswith(("tokenizer", "vocab", "spiece")) for file in found)
    if CONFIG not in found or not weights or not tokenizer:
        raise DataError(
            f"{what}: {folder} must hold {CONFIG}, *.safetensors and a tokenizer, found "
            f"{', '.join(found) or 'none of them'}; write them with save_pretrained"
        )
    return found


def write_recipe(folder: Path, recipe: Mapping[str, JsonValue], digests: Mapping[str, str]) -> None:
    """Writes how the weights of a folder were made, with their digests."""
    document = {**recipe, "sha256": dict(digests)}
    write_atomic(folder / RECIPE, json.dumps(document, indent=1).encode())


def _present(folder: Path, names: Iterable[str]) -> list[str]:
    return [name for name in names if (folder / name).is_file()]


def _data(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); get it again") from None
    if (reason := instead(data)) and data:
        raise DataError(f"{path} is corrupt ({reason}); get it again")
    return data


def _shown(value: Any) -> str:
    return "missing" if value is None else quoted(value) if isinstance(value, str) else (
        repr(value) if len(repr(value)) <= 80 else quoted(repr(value))
    )  # fmt: skip
