"""The child process of `sandbox.py`: it splits into a program and its judge, both walled off.

The judge runs the tests; the program's process runs what the model wrote, and calls its functions
when the judge asks. Only data pass between the two: numbers, strings and containers of them are
copied, everything else stays where it is and the judge holds a `Remote` of it, equal to itself
alone. No code of the program ever runs where the verdict is found, so that nothing it does to its
interpreter, to `__eq__`, to built-ins or to frames can change it.
"""

import builtins
import json
import os
import signal
import struct
import sys
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from types import ModuleType
from typing import Any, NoReturn

from suites.bam.downstream import wall

Coded = Any
"""What JSON can hold: data as they are or `[kind, part, ...]`."""

_CONTAINERS = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}
_TYPES = {name: kind for name, kind in vars(builtins).items() if isinstance(kind, type)}
_DIRECT = 1 << 63
_LONGEST = 1 << 30


class Unsendable(BaseException):
    """The tests pass what has no copy, such as a function of their own."""


class _Text(SourceFileLoader):
    """Loads a module from a text that is in no file, where the program might find it."""

    def __init__(self, path: str, text: str) -> None:
        super().__init__("__main__", path)
        self._text = text

    def get_data(self, path: str) -> bytes:
        """The text."""
        return self._text.encode("utf-8", "surrogatepass")


class Remote:
    """An object in the program's process: it can be called, iterated, passed back and asked for
    attributes, and has no operators."""

    __slots__ = ("_ask", "_number")

    def __init__(self, ask: Callable[..., Any], number: int) -> None:
        object.__setattr__(self, "_ask", ask)
        object.__setattr__(self, "_number", number)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._ask("call", self, arguments, named)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._ask("get", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._ask("set", self, name, value)

    def __iter__(self) -> Any:
        return self._ask("iterate", self)

    def __next__(self) -> Any:
        return self._ask("next", self)


def main(source: str, seconds: int, memory: int, parent: int, orders: int, report: int) -> None:
    """Walls this process off, splits it and judges.

    Args:
        source: path of the program, alone in its folder.
        seconds: limit of processor time of each process, half the limit of wall-clock time.
        memory: limit of address space in bytes of each process.
        parent: process that started this one, and takes it along when it dies.
        orders: pipe from it, for the tests and the secret.
        report: pipe to it: a line of the walls, `defined`, and the secret if all tests passed.
    """
    try:
        wall.limit(seconds, memory)
        wall.follow(parent)
        wall.expire(2 * seconds + 1)
        wall.renounce()
        landlock = wall.confine(os.path.dirname(source))  # noqa: PTH120 - pathlib loads slowly
    except OSError as error:
        _missing(report, error)
    me, requests, replies = os.getpid(), os.pipe(), os.pipe()
    if (child := os.fork()) == 0:
        for pipe in (orders, report, requests[1], replies[0]):
            os.close(pipe)
        _program(source, 2 * seconds, me, requests[0], replies[1])
    os.close(requests[0])
    os.close(replies[1])
    try:
        wall.refuse(child)
    except OSError as error:
        _missing(report, error)
    os.write(report, json.dumps({"landlock": landlock}).encode() + b"\n")
    proof = b""
    try:
        if receive(replies[0]) == "defined":
            os.write(report, b"defined\n")
            proof = _judge(receive(orders), requests[1], replies[0], child)
    except Unsendable as error:
        proof = f"unsendable: {error}\n".encode()
    except BaseException:  # SystemExit too: tests that are left early have not passed
        proof = b""
    os.write(report, proof)
    _leave(child)


def _leave(child: int) -> NoReturn:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os._exit(0)


def _missing(report: int, error: OSError) -> NoReturn:
    os.write(report, json.dumps({"missing": str(error)}).encode() + b"\n")
    os._exit(1)


def _judge(job: dict[str, Any], requests: int, replies: int, child: int) -> bytes:
    """Runs the tests; returns the secret, or raises what they raise."""
    known: dict[int, Remote] = {}

    def resolve(number: int) -> Remote:
        return known.setdefault(number, Remote(ask, number))

    def export(value: Any) -> Coded:
        if isinstance(value, Remote):
            return ["remote", object.__getattribute__(value, "_number")]
        raise Unsendable(type(value).__name__)

    def ask(*request: Any) -> Any:
        try:
            send(requests, encode(request, export))
            outcome, *parts = receive(replies)
            if outcome == "returned":
                return decode(parts[0], resolve)
            error = _exception(*parts)
        except Exception:  # the program is gone or babbles: no test may catch that
            _leave(child)
        raise error

    module = ModuleType("__main__")
    names = vars(module)
    _Text("<prelude>", job["prelude"]).exec_module(module)
    for name in job["imports"]:
        if not ask("bound", name):
            names.pop(name, None)
    for name in job["names"]:
        if ask("bound", name):
            names[name] = ask("global", name)
        else:
            names.pop(name, None)
    _Text("<tests>", job["tests"]).exec_module(module)
    return str(job["secret"]).encode() + b"\n"


def _exception(name: str, text: str) -> BaseException:
    kind = getattr(builtins, str(name), None)
    if isinstance(kind, type) and issubclass(kind, BaseException):
        try:
            return kind(text)
        except TypeError:  # one that takes more than a text
            return ValueError(text)
    return Exception(text)


def _program(source: str, seconds: int, judge: int, requests: int, replies: int) -> NoReturn:
    """Runs the program, then answers what the judge asks until that is gone."""
    try:
        wall.follow(judge)
        wall.expire(seconds)
        wall.refuse()
        names = _define(source)
        send(replies, "defined")
        _serve(names, requests, replies)
    finally:  # at once: what the interpreter does on its way out is not the program's business
        os._exit(1)


def _define(source: str) -> dict[str, Any]:
    for name in [name for name in sys.modules if name.partition(".")[0] == "suites"]:
        del sys.modules[name]
    module = ModuleType("__main__")
    module.__file__ = source
    sys.modules["__main__"] = module
    sys.argv[:] = [source]
    SourceFileLoader("__main__", source).exec_module(module)
    return vars(module)


def _serve(names: dict[str, Any], requests: int, replies: int) -> None:
    objects: list[Any] = []
    numbers: dict[int, int] = {}

    def export(value: Any) -> Coded:
        if (number := numbers.get(id(value))) is None:
            number = numbers[id(value)] = len(objects)
            objects.append(value)  # which keeps its id its own
        return ["remote", number]

    actions: dict[str, Callable[..., Any]] = {
        "call": lambda function, arguments, named: function(*arguments, **named),
        "get": getattr,
        "set": setattr,
        "iterate": iter,
        "next": next,
        "bound": names.__contains__,
        "global": names.__getitem__,
    }
    while True:
        request = receive(requests)
        try:
            action, *parts = decode(request, objects.__getitem__)
            reply = ["returned", encode(actions[action](*parts), export)]
        except BaseException as error:  # SystemExit too: the tests are to meet it
            reply = ["raised", *_described(error)]
        send(replies, reply)


def _described(error: BaseException) -> tuple[str, str]:
    """The nearest built-in class of an exception, and its text."""
    kind = next(kind for kind in type(error).__mro__ if kind.__module__ == "builtins")
    try:
        return kind.__name__, str(error)
    except Exception:
        return kind.__name__, ""


def send(pipe: int, value: Coded) -> None:
    """Writes one message of JSON; surrogates pass."""
    data = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    rest = memoryview(struct.pack("<Q", len(data)) + data)
    while rest:
        rest = rest[os.write(pipe, rest) :]


def receive(pipe: int) -> Coded:
    """Reads one message; EOFError if the other side is gone or makes no sense."""
    (size,) = struct.unpack("<Q", _read(pipe, 8))
    if size > _LONGEST:
        raise EOFError
    return json.loads(_read(pipe, size).decode("utf-8", "surrogatepass"))


def _read(pipe: int, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        if not (part := os.read(pipe, min(size - len(data), 1 << 20))):
            raise EOFError
        data += part
    return bytes(data)


def encode(value: Any, export: Callable[[Any], Coded]) -> Coded:
    """Data as JSON that tells all built-in types apart; what is no data goes through `export`.

    An instance of a subclass counts as what it is a subclass of.
    """
    if value is None or isinstance(value, (bool, float, str)):
        return value
    if isinstance(value, int):
        return int(value) if -_DIRECT < value < _DIRECT else ["int", hex(value)]
    for name, kind in _CONTAINERS.items():
        if isinstance(value, kind):
            return [name, *(encode(part, export) for part in kind.__iter__(value))]
    if isinstance(value, dict):
        return ["dict", *(encode(part, export) for item in dict.items(value) for part in item)]
    return _rarely(value, export)


def _rarely(value: Any, export: Callable[[Any], Coded]) -> Coded:
    kind = type(value)
    if kind in (bytes, bytearray):
        return [kind.__name__, value.hex()]
    if kind is complex:
        return ["complex", value.real, value.imag]
    if kind is range:
        return ["range", *(encode(n, export) for n in (value.start, value.stop, value.step))]
    if kind in (type({}.keys()), type({}.items())):
        return [kind.__name__, *(encode(part, export) for part in value)]
    if isinstance(value, type):
        name = value.__name__
        return ["type", name] if _TYPES.get(name) is value else export(value)
    if (kind.__module__, kind.__name__) == ("fractions", "Fraction"):
        return ["fraction", *(encode(n, export) for n in (value.numerator, value.denominator))]
    if (kind.__module__, kind.__name__) == ("decimal", "Decimal"):
        return ["decimal", str(value)]
    return export(value)


def decode(coded: Coded, resolve: Callable[[int], Any]) -> Any:
    """What `encode` was given; ValueError for what it never makes."""
    if not isinstance(coded, list):
        if isinstance(coded, dict):
            raise ValueError("not coded")
        return coded
    name, *parts = coded
    if name == "remote":
        return resolve(int(parts[0]))
    if name in _SCALARS:
        return _SCALARS[name](*parts)
    values = [decode(part, resolve) for part in parts]
    if name in _CONTAINERS:
        return _CONTAINERS[name](values)
    return _COMPOSED[name](*values)


def _paired(*values: Any) -> dict[Any, Any]:
    return dict(zip(values[::2], values[1::2], strict=True))


def _fraction(numerator: int, denominator: int) -> Any:
    from fractions import Fraction

    return Fraction(numerator, denominator)


def _decimal(digits: str) -> Any:
    from decimal import Decimal

    return Decimal(digits)


_SCALARS: dict[str, Callable[..., Any]] = {
    "int": lambda digits: int(digits, 16),
    "bytes": bytes.fromhex,
    "bytearray": bytearray.fromhex,
    "complex": complex,
    "type": lambda name: _TYPES[name],
    "decimal": _decimal,
}
_COMPOSED: dict[str, Callable[..., Any]] = {
    "dict": _paired,
    "dict_items": lambda *pairs: dict(pairs).items(),
    "dict_keys": lambda *keys: dict.fromkeys(keys).keys(),
    "fraction": _fraction,
    "range": range,
}
