"""The Planetoid files as the suite's npz: read without unpickling, and put together as PyG does.

`ind.<name>.{x, tx, allx, y, ty, ally, graph}` are pickles that Python 2 wrote. A pickle is a
program; here nobody runs it: `_Reader` goes through its instructions, knows those that build lists,
dictionaries, arrays and sparse matrices, and refuses every other one.

Shape legend: N nodes, F features, M edges, C classes.
"""

import io
import pickletools
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from harness import download
from harness.data import arriving
from harness.errors import DataError, described

COMMIT = "af6abf468a772cc055bec88c52e4d6f51b7c37e3"
ADDRESS = "https://github.com/kimiyoung/planetoid/raw/{commit}/data/{file}"
PARTS = ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")
VALIDATION = 500
"""Nodes after those of training; of all three graphs."""

Array = NDArray[Any]


def fetch(name: str, target: Path) -> None:
    """Downloads the files of a citation graph and writes them as one npz.

    Raises:
        DataError: offline, or a file that is not what Planetoid's are.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for part in PARTS:
            file = f"ind.{name}.{part}"
            download.get(ADDRESS.format(commit=COMMIT, file=file), folder / file)
        convert(name, folder, target)


def convert(name: str, folder: Path, target: Path) -> None:
    """Writes the graph of some Planetoid files as an npz with the keys of the Yandex collection.

    Args:
        name: cora, citeseer or pubmed.
        folder: holds `ind.<name>.*`.
        target: the npz.

    Raises:
        DataError: a file is missing, corrupt, or not what Planetoid's are.
    """
    try:
        arrays = _arrays(name, folder)
    except DataError:
        raise
    except Exception as error:  # whatever odd shapes and types make numpy come up with
        raise DataError(
            f"{folder}: ind.{name}.* do not belong together ({described(error)}); fetch them again"
        ) from None
    with arriving(target) as place:
        np.savez_compressed(place, **cast(Any, arrays))


def _arrays(name: str, folder: Path) -> dict[str, Array]:
    read = {part: read_pickle(folder / f"ind.{name}.{part}") for part in PARTS[:-1]}
    for part, value in read.items():
        if not isinstance(value, dict if part == "graph" else np.ndarray):
            raise DataError(
                f"{folder / f'ind.{name}.{part}'}: holds a {type(value).__name__}, not "
                f"{'a dictionary' if part == 'graph' else 'numbers'}; fetch it again"
            )
    lines = (folder / f"ind.{name}.test.index").read_text().split()
    order = np.array([int(line) for line in lines])
    place = np.sort(order)
    x_NF = np.concatenate([read["allx"], _spread(read["tx"], place)])
    y_NC = np.concatenate([read["ally"], _spread(read["ty"], place)])
    x_NF[order], y_NC[order] = x_NF[place], y_NC[place]
    ends = [(node, other) for node, others in read["graph"].items() for other in others]
    ends_M2 = np.sort(np.array(ends, dtype=np.int64), axis=1)
    ends_M2 = np.unique(ends_M2[ends_M2[:, 0] != ends_M2[:, 1]], axis=0)
    edges_M2 = ends_M2[np.lexsort(ends_M2.T)]  # by the higher node, then by the lower
    known = len(read["y"])
    nodes = {
        "train": np.arange(known),
        "val": np.arange(known, known + VALIDATION),
        "test": place,
    }
    masks = {part: np.zeros((1, len(x_NF)), dtype=bool) for part in nodes}
    for part, index in nodes.items():
        masks[part][0, index] = True
    whole = np.array_equal(x_NF, x_NF.astype(np.uint8))
    return {
        "node_features": x_NF.astype(np.uint8 if whole else np.float32),
        "node_labels": y_NC.argmax(axis=1).astype(np.int64),
        "edges": edges_M2,
        **{f"{part}_masks": mask for part, mask in masks.items()},
    }


def _spread(rows: Array, place: Array) -> Array:
    """Rows at their places; those that no row has (citeseer lacks 15) are zeros."""
    spread = np.zeros((place[-1] - place[0] + 1, rows.shape[1]), dtype=rows.dtype)
    spread[place - place[0]] = rows
    return spread


def read_pickle(path: Path) -> Any:
    """Lists, dictionaries, numbers and arrays out of a pickle, none of whose code runs.

    Sparse matrices come as dense arrays.

    Raises:
        DataError: it is no pickle, or asks for anything else.
    """
    try:
        return _Reader().read(path.read_bytes())
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except Exception as error:  # whatever odd bytes make the readers come up with
        raise DataError(f"{path}: not a pickle of arrays ({described(error)})") from None


class _Named:
    """A class or function that a pickle names; never looked up."""

    def __init__(self, name: str) -> None:
        self.name = name


class _Made:
    """What a pickle builds: an array, its type of numbers or a sparse matrix; filled by BUILD."""

    def __init__(self, kind: str, *arguments: Any) -> None:
        self.kind, self.arguments, self.state = kind, arguments, None

    def value(self) -> Any:
        """As numpy has it."""
        state: Any = self.state
        if self.kind == "dtype":
            order: Any = state[1] if state is not None and state[1] in "<>" else "="
            found = np.dtype(str(self.arguments[0])).newbyteorder(order)
            if found.kind not in "biuf":
                raise DataError(f"an array of {found}; numbers are expected")
            return found
        if self.kind == "array":
            _, shape, dtype, fortran, data = state
            flat = np.frombuffer(data.encode("latin-1"), dtype=dtype.value())
            return flat.reshape(shape, order="F" if fortran else "C").copy()
        rows, columns = state.get("_shape", state.get("shape"))
        data, indices, indptr = (state[key].value() for key in ("data", "indices", "indptr"))
        dense = np.zeros((rows, columns), dtype=data.dtype)
        lengths = np.diff(indptr)
        if len(lengths) != rows or len(indices) != lengths.sum():
            raise DataError("a sparse matrix whose parts do not fit together")
        np.add.at(dense, (np.repeat(np.arange(rows), lengths), indices), data)
        return dense


_NAMES = {
    **dict.fromkeys(
        ("numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct"), "array"
    ),
    "numpy dtype": "dtype",
    **dict.fromkeys(("scipy.sparse.csr csr_matrix", "scipy.sparse._csr csr_matrix"), "csr"),
    "numpy ndarray": "",
    **dict.fromkeys(("__builtin__ object", "builtins object"), ""),
    **dict.fromkeys(("__builtin__ list", "builtins list"), ""),
    "collections defaultdict": "dict",
    **dict.fromkeys(("copy_reg _reconstructor", "copyreg _reconstructor"), "object"),
}
"""What a pickle may name, and what becomes of calling it; empty: only handed on."""
_MARK = object()
_PUSHED = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT", "STRING",
           "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE"}  # fmt: skip
_CONSTANTS: Mapping[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False,
    "EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple, "MARK": lambda: _MARK,
}  # fmt: skip
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Reader:
    """Goes through the instructions of one pickle."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def read(self, data: bytes) -> Any:
        """What the pickle builds."""
        for instruction, argument, _ in pickletools.genops(io.BytesIO(data)):
            name = instruction.name
            if name == "STOP":
                (found,) = self._stack
                return found.value() if isinstance(found, _Made) else found
            if name in _PUSHED:
                self._stack.append(argument)
            elif name in _CONSTANTS:
                self._stack.append(_CONSTANTS[name]())
            elif name in _TUPLES:
                self._stack.append(tuple(self._last(_TUPLES[name])))
            else:
                self._step(name, argument)
        raise DataError("a pickle without an end")

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in ("TUPLE", "LIST", "DICT"):
            items = self._marked()
            pairs = dict(zip(items[::2], items[1::2], strict=True)) if name == "DICT" else None
            stack.append(pairs if name == "DICT" else {"TUPLE": tuple, "LIST": list}[name](items))
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[argument] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif name in ("APPEND", "APPENDS"):
            items = self._last(1) if name == "APPEND" else self._marked()
            self._top(list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = self._last(2) if name == "SETITEM" else self._marked()
            self._top(dict).update(zip(items[::2], items[1::2], strict=True))
        elif name == "GLOBAL":
            if argument not in _NAMES:
                raise DataError(f"a pickle that asks for {argument!r}; only arrays are read")
            stack.append(_Named(argument))
        elif name in ("REDUCE", "NEWOBJ"):
            stack.append(_called(*self._last(2)))
        elif name == "BUILD":
            (state,) = self._last(1)
            self._top(_Made).state = state
        elif name != "PROTO":
            raise DataError(f"a pickle with the instruction {name}; only arrays are read")

    def _last(self, count: int) -> list[Any]:
        """Takes the last things off the stack."""
        taken = self._stack[-count:]
        del self._stack[-count:]
        return taken

    def _marked(self) -> list[Any]:
        """Takes off the stack what lies above the last mark."""
        place = max(n for n, item in enumerate(self._stack) if item is _MARK)
        taken = self._stack[place + 1 :]
        del self._stack[place:]
        return taken

    def _top(self, kind: type[Any]) -> Any:
        if not isinstance(self._stack[-1], kind):
            raise DataError(f"a pickle that fills a {type(self._stack[-1]).__name__}")
        return self._stack[-1]


def _called(named: Any, arguments: tuple[Any, ...]) -> Any:
    """What a call in a pickle comes to: something to be filled, or an empty dictionary."""
    what = _NAMES[named.name]
    if what == "object":  # copy_reg._reconstructor(class, object, None)
        return _called(arguments[0], ())
    if what == "dict":
        return {}
    if not what:
        raise DataError(f"a pickle that calls {named.name!r}; only arrays are read")
    return _Made(what, *arguments)
