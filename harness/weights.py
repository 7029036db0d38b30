"""Weights on disk: safetensors, read one tensor at a time and written in shards.

A model's folder says itself which files are its weights: `model.safetensors`, or the shards that
`model.safetensors.index.json` lists. Whatever else lies there (an older save with another number
of shards) is not looked at; a shard that does not hold what the index says is an error.

torch is imported when the first tensor is asked for.
"""

import contextlib
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from safetensors import safe_open

from harness.errors import DataError, UsageError, brief, one_line
from harness.files import file_digest, instead, read_json

if TYPE_CHECKING:
    from torch import Tensor, dtype

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
SHARD_SIZE = 5 * 10**9
"""Bytes that a shard holds at most by default, apart from a single tensor that is larger."""
PIECE = 2**18
"""Elements of a tensor that are read at a time where it need not be there as a whole."""

_DTYPES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "I16": "int16", "U16": "uint16", "I32": "int32",
    "U32": "uint32", "I64": "int64", "U64": "uint64", "F16": "float16", "BF16": "bfloat16",
    "F32": "float32", "F64": "float64", "C64": "complex64", "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
}  # fmt: skip
_NAMES = {name: code for code, name in _DTYPES.items()}
FLOATING = ("float64", "float32", "float16", "bfloat16")
"""Types of numbers that can be averaged; eight-bit floats mean nothing without their scales."""


class _Place(NamedTuple):
    """Where a tensor lies."""

    file: Path
    dtype: str
    """As torch calls it."""
    shape: tuple[int, ...]
    start: int
    size: int
    """Bytes."""


class Weights(Mapping[str, "Tensor"]):
    """The tensors of a file or folder, each read again whenever it is asked for.

    Names are sorted, so that nothing depends on how the tensors are spread over files.

    Raises:
        DataError: there are none, or a file is missing, corrupt, or not what the index says.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        listed = _listed(path)
        self.files = tuple(sorted(listed))
        places: dict[str, _Place] = {}
        for file in self.files:
            held = _places(file)
            promised = listed[file]
            if promised is not None and (odd := sorted(promised ^ held.keys())):
                verb = "holds" if odd[0] in held else "lacks"
                raise DataError(
                    f"{file} {verb} {one_line(odd[0])}, other than {INDEX} says; "
                    "get the checkpoint again"
                )
            places |= held
        if not places:
            raise DataError(f"{path}: there is no tensor in it; get the checkpoint again")
        self._places = {name: places[name] for name in sorted(places)}

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __getitem__(self, name: str) -> "Tensor":
        """Reads a tensor, into memory of its own.

        Raises:
            DataError: the file is not what it was.
        """
        import torch

        place = self._places[name]
        tensor = torch.empty(place.shape, dtype=getattr(torch, place.dtype))
        with _reading(place) as file:
            _fill(tensor, file)
        return tensor

    def pieces(self, name: str) -> "Iterator[Tensor]":
        """Reads a tensor `PIECE` by `PIECE`: its elements in their order, each piece flat.

        Raises:
            DataError: the file is not what it was.
        """
        import torch

        place = self._places[name]
        with _reading(place) as file:
            for start in range(0, rest := math.prod(place.shape), PIECE):
                size = min(PIECE, rest - start)
                piece = torch.empty(size, dtype=getattr(torch, place.dtype))
                _fill(piece, file)
                yield piece

    @property
    def meta(self) -> dict[str, "Tensor"]:
        """All tensors on the meta device: shapes and types alone, nothing is read."""
        import torch

        return {
            name: torch.empty(place.shape, dtype=getattr(torch, place.dtype), device="meta")
            for name, place in self._places.items()
        }

    def load(self, names: Iterable[str] | None = None) -> "dict[str, Tensor]":
        """Tensors together, as the format's own reader gives them: views of the mapped files.

        Where a tensor begins in memory decides the last bits of matrix products, so that what is
        evaluated is always loaded in this one way.

        Raises:
            DataError: the file is not what it was.
        """
        wanted = set(self if names is None else names)
        found = {}
        for file in self.files:
            try:
                with safe_open(file, "pt") as opened:
                    for name in opened.keys():  # noqa: SIM118
                        if name in wanted:
                            found[name] = opened.get_tensor(name)
            except Exception as error:  # a foreign parser may raise anything
                raise DataError(
                    f"{file} is not an intact safetensors file ({brief(error)})"
                ) from None
        return found

    def digests(self) -> dict[str, str]:
        """File name -> sha256 of each file."""
        return {file.name: file_digest(file) for file in self.files}


def pieces(tensors: "Mapping[str, Tensor]", name: str) -> "Iterator[Tensor]":
    """The elements of a tensor in their order, in flat pieces; those of a file as they are read."""
    import torch

    own = getattr(tensors, "pieces", None)
    if own is not None:
        yield from own(name)
    elif (tensor := tensors[name]).numel():
        yield from torch.split(tensor.detach().reshape(-1), PIECE)


def joined(made: "Iterable[Tensor]", like: "Tensor") -> "Tensor":
    """A tensor of the shape and type of `like` out of its pieces; a copy."""
    import torch

    return torch.cat([torch.empty(0, dtype=like.dtype), *made]).view(like.shape)


@contextlib.contextmanager
def _reading(place: _Place) -> Iterator[FileIO]:
    """The file of a tensor, at its first byte."""
    try:
        with place.file.open("rb", buffering=0) as file:
            file.seek(place.start)
            yield file
    except OSError as error:
        raise DataError(f"{place.file}: cannot be read ({brief(error)})") from None


def _fill(tensor: "Tensor", file: FileIO) -> None:
    """Reads as many bytes as the tensor holds."""
    import torch

    if not tensor.numel():
        return
    rest = tensor.view(-1).view(torch.uint8).numpy().data
    while rest and (count := file.readinto(rest)):
        rest = rest[count:]
    if rest:
        raise DataError(f"{file.name}: it became shorter while it was read")


def _listed(path: Path) -> dict[Path, set[str] | None]:
    """The files of a model; the names of the tensors that each has to hold, where that is said."""
    if not path.exists():
        raise DataError(f"{path} does not exist; give a .safetensors file or a folder with weights")
    if not path.is_dir():
        return {path: None}
    single, index = path / WEIGHTS, path / INDEX
    if not index.exists():
        if single.exists():
            return {single: None}
        raise DataError(
            f"{path}: no .safetensors file, nor a folder with {WEIGHTS} or {INDEX}{_beside(path)}"
        )
    document = read_json(index)
    places = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(places, dict) or not places:
        raise DataError(f"{index}: not an index of shards (no weight_map); get it again")
    listed: dict[Path, set[str] | None] = {}
    for name, file in places.items():
        if not isinstance(file, str) or file != Path(file).name or "\0" in file:
            raise DataError(
                f"{index}: not an index of shards ({one_line(str(file))[:80]!r} is not the name "
                "of a file beside it); get it again"
            )
        (listed.setdefault(path / file, set()) or listed[path / file]).add(name)  # type: ignore[union-attr]
    if single.exists() and single not in listed:
        raise DataError(
            f"{path} has {WEIGHTS} and an {INDEX} that does not name it: one of them is stale; "
            "move it away"
        )
    return listed


def _beside(path: Path) -> str:
    """A hint at what a folder has in place of weights."""
    names = sorted(file.name for file in path.iterdir())
    if "adapter_model.safetensors" in names:
        return "; it holds an adapter: merge that into its model first"
    if WEIGHTS in names:
        return f"; its {WEIGHTS} is a link to a file that is not there: download it again"
    shards = [name for name in names if name.endswith((".safetensors", ".bin", ".pt", ".gguf"))]
    return f"; {one_line(shards[0])} is neither" if shards else ""


def _places(file: Path) -> dict[str, _Place]:
    """Where each tensor of a safetensors file lies.

    Raises:
        DataError: it is missing, not such a file, or has numbers of a type that torch has not.
    """
    try:
        with safe_open(file, "np"):  # the format's own reader checks all of it: sizes, gaps, JSON
            pass
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            header = json.loads(opened.read(length))
    except FileNotFoundError:
        raise DataError(f"{file} does not exist; get the checkpoint again") from None
    except Exception as error:  # a foreign parser may raise anything
        raise DataError(
            f"{file} is not an intact safetensors file ({_reason(file) or brief(error)})"
        ) from None
    header.pop("__metadata__", None)
    places = {}
    for name, entry in header.items():
        if entry["dtype"] not in _DTYPES:
            raise DataError(
                f"{file}: {one_line(name)} has numbers of type {entry['dtype']}, which are not "
                "supported; convert the checkpoint to float32, float16 or bfloat16"
            )
        first, last = entry["data_offsets"]
        places[name] = _Place(
            file, _DTYPES[entry["dtype"]], tuple(entry["shape"]), 8 + length + first, last - first
        )
    return places


def _reason(file: Path) -> str | None:
    if file.is_dir():
        return "a folder"
    try:
        with file.open("rb") as opened:
            return instead(opened.read(200))
    except OSError:
        return None


def check_floating(meta: "Mapping[str, Tensor]", names: Any, called: object) -> None:
    """Nothing, if the tensors of these names are floats that can be averaged and cast.

    Raises:
        DataError: naming the first that is not.
    """
    for name in names:
        kind = str(meta[name].dtype).removeprefix("torch.")
        if kind not in FLOATING:
            raise DataError(
                f"{called}: {one_line(name)} is {kind}, which cannot be averaged; convert the "
                f"checkpoint to one of {', '.join(FLOATING)}"
            )


def is_finite(tensor: "Tensor") -> bool:
    """Whether all numbers are finite; in one pass and without a copy."""
    import torch

    return not tensor.numel() or bool(torch.stack(torch.aminmax(tensor)).isfinite().all())


def dtype_of(name: str) -> "dtype":
    """torch's type of that name.

    Raises:
        UsageError: it is not one of `FLOATING`.
    """
    import torch

    if name not in FLOATING:
        raise UsageError(f"dtype {name!r}; use one of {', '.join(FLOATING)}")
    found: dtype = getattr(torch, name)
    return found


# -- writing ---------------------------------------------------------------------------------------


def write(
    folder: Path,
    meta: "Mapping[str, Tensor]",
    make: "Callable[[str], Tensor | Iterable[Tensor]]",
    shard_size: int = SHARD_SIZE,
) -> dict[str, str]:
    """Writes a model's weights; one tensor of them is in memory at a time, or a piece of one.

    The files are byte for byte those of `safetensors.torch.save_file`: one `model.safetensors`, or
    shards and their index, where it would be larger than `shard_size` bytes.

    Args:
        meta: name -> a tensor of the shape and type to write, on the meta device.
        make: the tensor of a name, or its pieces; called once for each.
        shard_size: bytes of tensors that a file holds at most; a larger tensor gets its own.

    Returns:
        File name -> sha256 of the weight files.

    Raises:
        OSError: the disk is full, ...
        ValueError: `make` gives something else than `meta` says.
    """
    shards = _shards(meta, shard_size)
    digests: dict[str, str] = {}
    places: dict[str, str] = {}
    for number, names in enumerate(shards, 1):
        file = WEIGHTS if len(shards) == 1 else f"model-{number:05}-of-{len(shards):05}.safetensors"
        with (folder / file).open("xb") as opened:
            digests[file] = _write_file(opened, {name: meta[name] for name in names}, make)
        places |= dict.fromkeys(names, file)
    if len(shards) > 1:
        index = {
            "metadata": {"total_size": sum(tensor.nbytes for tensor in meta.values())},
            "weight_map": dict(sorted(places.items())),
        }
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return digests


def _shards(meta: "Mapping[str, Tensor]", shard_size: int) -> list[list[str]]:
    """Names in their order, cut wherever the next would not fit."""
    shards: list[list[str]] = [[]]
    held = 0
    for name, tensor in meta.items():
        if shards[-1] and held + tensor.nbytes > shard_size:
            shards.append([])
            held = 0
        shards[-1].append(name)
        held += tensor.nbytes
    return shards


def _write_file(
    file: BinaryIO,
    meta: "Mapping[str, Tensor]",
    make: "Callable[[str], Tensor | Iterable[Tensor]]",
) -> str:
    import torch

    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    order = sorted(meta, key=lambda name: (-_rank(meta[name]), name))
    end = 0
    for name in order:
        start, end = end, end + meta[name].nbytes
        header[name] = {
            "dtype": _NAMES[str(meta[name].dtype).removeprefix("torch.")],
            "shape": list(meta[name].shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()

    def put(data: Any) -> None:
        file.write(data)
        digest.update(data)

    put(len(text).to_bytes(8, "little"))
    put(text)
    for name in order:
        made, left = make(name), meta[name].numel()
        if isinstance(made, torch.Tensor) and made.shape != meta[name].shape:
            raise ValueError(f"{name} is {list(made.shape)}, not as announced")
        for piece in [made] if isinstance(made, torch.Tensor) else made:
            left -= piece.numel()
            if piece.dtype != meta[name].dtype or left < 0:
                raise ValueError(f"{name} is {piece.dtype} or too long, not as announced")
            if piece.numel():
                put(piece.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
        if left:
            raise ValueError(f"{name} lacks {left} elements, not as announced")
    return digest.hexdigest()


def _rank(tensor: "Tensor") -> int:
    """The format's order of types, by which its own writer sorts: wide ones first."""
    return _ORDER.index(_NAMES[str(tensor.dtype).removeprefix("torch.")])


# As the format numbers its types.
_ORDER = (
    "BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "I16", "U16", "F16", "BF16", "I32", "U32", "F32",
    "C64", "F64", "I64", "U64",
)  # fmt: skip
