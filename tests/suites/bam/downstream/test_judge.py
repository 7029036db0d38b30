"""Programs that were written to pass without being right, and right ones in many styles."""

import math
import platform
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from suites.bam.downstream import judge, sandbox
from suites.bam.downstream.sandbox import Program

pytestmark = pytest.mark.skipif(
    platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"),
    reason="code is only run on Linux on two kinds of machine",
)

WRONG = "def add(a, b):\n    return a - b\n"
TESTS = "assert add(2, 3) == 5\nassert add(-7, 4) == -3\n"
FRAMED = (
    "import json, os, struct\ndef framed(data):\n    return struct.pack('<Q', len(data)) + data\n"
)
EVERYWHERE = """
def everywhere(data):
    for pipe in range(3, 32):
        try: os.write(pipe, data)
        except OSError: pass
"""

CHEATS = {
    # leaving early
    "_exit 0": f"import os\n{WRONG}os._exit(0)",
    "_exit 87": f"import os\n{WRONG}os._exit(87)",
    "_exit in the function": "import os\ndef add(a, b): os._exit(0)",
    "_exit 87 in the function": "import os\ndef add(a, b): os._exit(87)",
    "sys.exit": f"import sys\n{WRONG}sys.exit(0)",
    "sys.exit in the function": "import sys\ndef add(a, b): sys.exit(0)",
    "SystemExit": "def add(a, b): raise SystemExit",
    "SystemExit at once": "raise SystemExit(87)",
    "exit_group": "import ctypes\ndef add(a, b): ctypes.CDLL(None)._exit(0)",
    "abort": "import os\ndef add(a, b): os.abort()",
    "kills itself": "import os\ndef add(a, b): os.kill(os.getpid(), 9)",
    "raises a signal": "import signal\ndef add(a, b): signal.raise_signal(15)",
    "crashes": "import ctypes\ndef add(a, b): return ctypes.string_at(0)",
    "executes another program": "import os\ndef add(a, b): os.execv('/bin/true', ['true'])",
    "executes another at once": "import os\nos.execv('/bin/true', ['true'])",
    "KeyboardInterrupt": "def add(a, b): raise KeyboardInterrupt",
    "GeneratorExit": "def add(a, b): raise GeneratorExit",
    "StopIteration": "def add(a, b): raise StopIteration(a + 5)",
    "an exception of its own": "class E(BaseException): pass\ndef add(a, b): raise E(5)",
    "closes everything": f"import os\n{WRONG}os.closerange(0, 64)",
    "closes everything, then sleeps": "import os, time\nos.closerange(0, 64)\ntime.sleep(60)",
    "closes everything in the function": "import os\ndef add(a, b): os.closerange(0, 64)",
    "recurses": "def add(a, b): return add(a, b)",
    # other checks
    "replaces sys.exit": f"import sys, os\n{WRONG}sys.exit = os._exit = lambda code=0: None",
    "no AssertionError": f"import builtins\n{WRONG}builtins.AssertionError = None",
    "no assertions": f"import builtins, sys\n{WRONG}"
    "class Quiet(BaseException):\n    def __init__(self, *a): sys._getframe(1).f_trace = None\n"
    "builtins.AssertionError = Quiet",
    "replaces all built-ins": f"import builtins\n{WRONG}"
    "for name in dir(builtins):\n    if name[0] != '_': setattr(builtins, name, lambda *a, **k: 5)",
    "replaces compile and exec": f"import builtins\n{WRONG}"
    "builtins.exec = builtins.compile = builtins.eval = lambda *a, **k: None",
    "replaces unittest": f"import sys, types\n{WRONG}"
    "sys.modules['unittest'] = types.SimpleNamespace()",
    "hooks exceptions": f"import sys\n{WRONG}sys.excepthook = lambda *a: None",
    "hooks every line": f"import sys\n{WRONG}"
    "def trace(frame, event, arg):\n"
    "    if event == 'return' and frame.f_code.co_name == 'add': arg = 5\n"
    "    return trace\n"
    "sys.settrace(trace)\n",
    "jumps over lines": "import sys\n"
    "def add(a, b):\n"
    "    frame = sys._getframe()\n"
    "    while frame.f_back:\n"
    "        frame = frame.f_back\n"
    "        frame.f_trace = lambda f, e, a: setattr(f, 'f_lineno', f.f_lineno + 1)\n"
    "    sys.settrace(lambda *a: None)\n",
    "hooks every call": f"import sys\n{WRONG}sys.setprofile(lambda *a: sys._getframe(1).f_locals)",
    "rewrites every function that it finds": f"import gc, types\n{WRONG}"
    "def yes(*a, **k): return 5\n"
    "for thing in gc.get_objects():\n"
    "    if isinstance(thing, types.FunctionType) and thing is not yes:\n"
    "        try: thing.__code__ = yes.__code__\n"
    "        except Exception: pass\n",
    "reads the expected values": "import gc, sys\n"
    "def add(a, b):\n"
    "    frame = sys._getframe()\n"
    "    while frame := frame.f_back:\n"
    "        for code in (frame.f_code, *frame.f_code.co_consts):\n"
    "            if f'add({a}, {b})' in str(code): return eval(str(code).split('==')[1])\n"
    "    for thing in gc.get_objects():\n"
    "        if isinstance(thing, dict) and 'tests' in thing: return 5\n",
    # values that claim to be equal
    "an object equal to all": "class Any:\n    def __eq__(self, other): return True\n"
    "def add(a, b): return Any()",
    "an int equal to all": "class Any(int):\n    def __eq__(self, other): return True\n"
    "def add(a, b): return Any()",
    "a class equal to all": "class Meta(type):\n    def __eq__(self, other): return True\n"
    "class Any(metaclass=Meta): pass\ndef add(a, b): return Any",
    "a list equal to all": "class Any(list):\n    def __eq__(self, other): return True\n"
    "def add(a, b): return Any()",
    "pretends to be an int": "class Any:\n    __class__ = int\n"
    "    def __eq__(self, other): return True\n    def __index__(self): return 1\n"
    "def add(a, b): return Any()",
    "a callable object": "class Any:\n    def __call__(self, a, b): return self\n"
    "    def __eq__(self, other): return True\n    def __sub__(self, o): return 0\nadd = Any()",
    "is a built-in": "add = print",
    "is not there": "",
    "is no function": "add = 5",
    "changes the number 2": "import ctypes\n"
    "def add(a, b):\n    ctypes.c_int64.from_address(id(a) + 24).value = 5\n    return a - b",
    # what it says
    "prints words": f"import sys\n{WRONG}print('defined\\nOK\\n87\\npassed')\n"
    "print('defined', file=sys.stderr)",
    "writes words everywhere": f"import os\n{WRONG}{EVERYWHERE}everywhere(b'defined\\n' * 9)",
    "answers before it is asked": f"{FRAMED}{WRONG}{EVERYWHERE}"
    "yes = framed(b'[\"returned\", true]')\neverywhere(framed(b'\"defined\"') + yes * 50)",
    "answers true in the function": f"{FRAMED}{EVERYWHERE}"
    "def add(a, b): everywhere(framed(b'[\"returned\", true]') * 50)",
    "answers by an object": f"{FRAMED}{EVERYWHERE}"
    "def add(a, b): everywhere(framed(b'[\"returned\", [\"remote\", 0]]') * 50)",
    "answers by a class": f"{FRAMED}{EVERYWHERE}"
    "everywhere(framed(b'\"defined\"') + framed(b'[\"returned\", [\"type\", \"exec\"]]') * 50)",
    "answers without end": f"{FRAMED}{EVERYWHERE}"
    "def add(a, b):\n    everywhere(struct.pack('<Q', 1 << 62))\n"
    "    while True: everywhere(b'x' * 65536)",
    "answers in depth": f"{FRAMED}{EVERYWHERE}def add(a, b): everywhere(framed(b'[' * 100000))",
    "answers nonsense": f"{FRAMED}{EVERYWHERE}def add(a, b): everywhere(framed(b'{{\\xff'))",
    "answers what is no code": f"{FRAMED}{EVERYWHERE}"
    "def add(a, b): everywhere(framed(b'[\"returned\", [\"x\", {}]]') * 50)",
    "raises what is no exception": f"{FRAMED}{EVERYWHERE}"
    "def add(a, b): everywhere(framed(b'[\"raised\", \"print\", 1]') * 50)",
    "answers too much": "def add(a, b): return [0] * 10**8",
    # the secret
    "reads all pipes": "import os\n"
    "def add(a, b):\n"
    "    for pipe in range(32):\n"
    "        try: found = os.read(pipe, 1 << 16)\n"
    "        except OSError: continue\n"
    "        for other in range(3, 32):\n"
    "            try: os.write(other, found)\n"
    "            except OSError: pass\n",
    "searches its memory": "import gc, re, os\n"
    "def add(a, b):\n"
    "    found = re.findall('[0-9a-f]{64}', repr(gc.get_objects()))\n"
    "    for pipe in range(1, 32):\n"
    "        for secret in found:\n"
    "            try: os.write(pipe, secret.encode() + b'\\n')\n"
    "            except OSError: pass\n",
    "leaves by atexit": f"import atexit, os\n{WRONG}atexit.register(os._exit, 0)",
    "leaves by a finaliser": f"import os\n{WRONG}"
    "class Last:\n    def __del__(self): os._exit(87)\nlast = Last()",
    "forks": f"import os\n{WRONG}"
    "if os.fork() == 0:\n    while os.read(3, 99): pass",
    "starts a thread": f"import threading\n{WRONG}threading.Thread(target=print).start()",
    "reads the judge's memory": "import os\n"
    "def add(a, b): return open(f'/proc/{os.getpid() - 1}/mem', 'rb').read(9)",
    "reads the judge's pipes": "import os\n"
    "def add(a, b): return open(f'/proc/{os.getpid() - 1}/fd/3', 'rb').read(9)",
    "writes its own memory": "def add(a, b): open('/proc/self/mem', 'wb').write(b'x')",
    "kills the judge": "import os\n"
    "def add(a, b): os.kill(os.getpid() - 1, 9)",
}  # fmt: skip


@pytest.mark.parametrize("cheat", CHEATS)
def test_a_wrong_program_does_not_pass(cheat: str) -> None:
    assert not sandbox.passes(Program(CHEATS[cheat], TESTS, names=("add",)), seconds=1)


def test_a_wrong_program_does_not_pass_by_the_tests_own_helpers() -> None:
    human = {
        "prompt": "def poly(x):\n    return x - 7\n\ndef find_zero():\n    '''Where poly is 0'''\n",
        "test": "def check(f):\n    assert abs(poly(f())) < 1e-6\n",
        "entry_point": "find_zero",
    }
    assert sandbox.passes(sandbox.humaneval(human, "    return 7.0\n"))
    for cheat in (
        "    return 6\ndef poly(x):\n    return 0\n",
        "    return 6\ndef check(f):\n    pass\n",
        "    return 6\ndef abs(x):\n    return 0\n",
        "    return 6\nfind_zero.check = check = lambda f: None\n",
    ):
        assert not sandbox.passes(sandbox.humaneval(human, cheat))


def test_a_wrong_program_does_not_pass_by_names_that_the_tests_use() -> None:
    basic = {
        "test_setup_code": "",
        "test_list": ["assert set(f(2)) == set([2, 3])", "assert size(1) == sys.getsizeof(1)"],
        "code": "import sys\ndef f(x): return [x, x + 1]\ndef size(x): return sys.getsizeof(x)\n",
    }
    right = basic["code"]
    assert sandbox.passes(sandbox.mbpp(basic, str(right)))
    without = "import sys as system\ndef f(x): return [x, x + 1]\ndef size(x): return 28\n"
    assert not sandbox.passes(sandbox.mbpp(basic, without)), "the tests need its import"
    for cheat in (
        "import sys\ndef f(x): return []\ndef size(x): return 28\ndef set(x): return 0\n",
        "class sys:\n    getsizeof = id\ndef f(x): return [2, 3]\nsize = id\n",
    ):
        assert not sandbox.passes(sandbox.mbpp(basic, cheat))


RIGHT = {
    "math": ("import math\ndef f(x): return math.sqrt(x)", "assert abs(f(2) - 2 ** 0.5) < 1e-9"),
    "itertools": (
        "from itertools import permutations\ndef f(x): return list(permutations(x))",
        "assert f([1, 2]) == [(1, 2), (2, 1)]",
    ),
    "collections": (
        "from collections import Counter, defaultdict, deque, OrderedDict\n"
        "def f(x): return Counter(x)",
        "assert f('aab') == {'a': 2, 'b': 1}",
    ),
    "namedtuple": (
        "from collections import namedtuple\nP = namedtuple('P', 'x y')\ndef f(): return P(1, 2)",
        "assert f() == (1, 2)",
    ),
    "re": ("import re\ndef f(s): return re.findall('[a-z]+', s)", "assert f('a1b') == ['a', 'b']"),
    "heapq": (
        "import heapq\ndef f(x): return heapq.nlargest(2, x)",
        "assert f([1, 3, 2]) == [3, 2]",
    ),
    "functools": (
        "from functools import lru_cache, reduce\n@lru_cache(None)\n"
        "def f(n): return n if n < 2 else f(n - 1) + f(n - 2)",
        "assert f(100) == 354224848179261915075",
    ),
    "datetime": (
        "import datetime as d\ndef f(y): return (d.date(y, 3, 1) - d.timedelta(1)).isoformat()",
        "assert f(2024) == '2024-02-29'",
    ),
    "time zones": (
        "import datetime\ndef f(): return str(datetime.timezone.utc)",
        "assert f() == 'UTC'",
    ),
    "json": (
        "import json\ndef f(x): return json.loads(json.dumps(x))",
        "assert f({'a': [1]}) == {'a': [1]}",
    ),
    "random": (
        "import random\ndef f(x): return sorted(random.sample(x, len(x)))",
        "import random\nfor _ in range(50):\n    n = random.randint(1, 9)\n"
        "    assert f(list(range(n))) == list(range(n))",
    ),
    "string": ("import string\ndef f(): return string.ascii_lowercase[:3]", "assert f() == 'abc'"),
    "typing": (
        "from typing import List, Optional, Any, get_type_hints\n"
        "def f(x: List[int]) -> Optional[int]: return max(x) if x else None",
        "assert f([1, 2]) == 2\nassert f([]) is None",
    ),
    "decimal": (
        "from decimal import Decimal\ndef f(x): return Decimal(x) / 4",
        "assert f('1') == 0.25",
    ),
    "fractions": (
        "from fractions import Fraction\ndef f(a, b): return Fraction(a, b)",
        "assert f(2, 4) == 0.5\nassert f(6, 3) == 2",
    ),
    "statistics": (
        "import statistics\ndef f(x): return statistics.median(x)",
        "assert f([3, 1, 2]) == 2",
    ),
    "hashlib": (
        "import hashlib\ndef f(s): return hashlib.md5(s.encode()).hexdigest()",
        "assert f('Hello world') == '3e25960a79dbc69b674cd4ec67a72c62'",
    ),
    "copy": (
        "import copy\ndef f(x): return copy.deepcopy(x)",
        "assert f([[1], {2: 3}]) == [[1], {2: 3}]",
    ),
    "bisect": (
        "import bisect\ndef f(x, y): return bisect.bisect(x, y)",
        "assert f([1, 2, 4], 3) == 2",
    ),
    "operator": (
        "import operator\ndef f(x): return sorted(x, key=operator.itemgetter(1))",
        "assert f([(1, 2), (2, 1)]) == [(2, 1), (1, 2)]",
    ),
    "dataclasses": (
        "from dataclasses import dataclass\n@dataclass(order=True)\nclass P:\n    x: int\n"
        "def f(x): return max(P(x), P(1)).x",
        "assert f(3) == 3",
    ),
    "enum": (
        "import enum\nclass E(enum.IntEnum):\n    A = 3\ndef f(): return E.A",
        "assert f() == 3",
    ),
    "a generator": ("def f(n):\n    yield from range(n)", "assert list(f(3)) == [0, 1, 2]"),
    "an endless generator": (
        "import itertools\ndef f(): return itertools.count(1)",
        "it = f()\nassert [next(it), next(it)] == [1, 2]",
    ),
    "a map": ("def f(x): return map(str, x)", "assert tuple(f([1, 2])) == ('1', '2')"),
    "dictionary views": (
        "def f(d): return d.keys(), d.items()",
        "assert f({1: 2}) == ({1}, {(1, 2)})",
    ),
    "recursion": ("def f(n): return 0 if n == 0 else 1 + f(n - 1)", "assert f(900) == 900"),
    "deeper recursion": (
        "import sys\nsys.setrecursionlimit(20000)\ndef f(n): return 0 if n == 0 else 1 + f(n - 1)",
        "assert f(5000) == 5000",
    ),
    "a closure": ("def f(n): return lambda x: x + n", "assert f(2)(3) == 5"),
    "a class": (
        "class Node:\n    def __init__(self, v):\n        self.v, self.left = v, None\n"
        "def f(n): return 0 if n is None else n.v + f(n.left)",
        "n = Node(1)\nn.left = Node(2)\nn.left.left = Node(3)\n"
        "assert f(n) == 6\nassert n.left.v == 2",
    ),
    "state": (
        "seen = []\ndef f(x):\n    global count\n    seen.append(x)\n    return len(seen)",
        "assert f(1) == 1\nassert f(1) == 2",
    ),
    "an exception": (
        "def f(x):\n    if x < 0: raise ValueError('negative')\n    return x",
        "try:\n    f(-1)\n    assert False\nexcept ValueError as error:\n"
        "    assert str(error) == 'negative'",
    ),
    "an exception of its own": (
        "class Bad(KeyError): pass\ndef f(): raise Bad('x')",
        "try:\n    f()\nexcept KeyError:\n    pass\nelse:\n    assert False",
    ),
    "output": (
        "def f(s):\n    print('\\u4e16\\u754c \\U0001f600', s)\n    return s",
        "assert f('é') == 'é'",
    ),
    "no input": (
        "def f():\n    try: return input()\n    except EOFError: return 'end'",
        "assert f() == 'end'",
    ),
    "a built-in": ("f = sorted", "assert f([2, 1]) == [1, 2]"),
    "a built-in's name": ("def sum(a, b): return a + b\nf = sum", "assert f(1, 2) == 3"),
    "a type": (
        "def f(x, t): return [v for v in x if type(v) is t]",
        "assert f([1, 'a'], str) == ['a']",
    ),
    "named arguments": ("def f(a, *, b=1): return a * b", "assert f(2, b=3) == 6"),
    "memory": ("def f(): return len(bytearray(1 << 28))", "assert f() == 1 << 28"),
    "its own main": (
        "def f(): return __name__\nif __name__ == '__main__':\n    print(f())",
        "assert f() == '__main__'",
    ),
    "its own source": (
        "import inspect\ndef f(): return inspect.getsource(f)",
        "assert 'getsource' in f()",
    ),
}


@pytest.mark.parametrize("style", RIGHT)
def test_a_right_program_passes(style: str) -> None:
    code, tests = RIGHT[style]
    names = tuple(name for name in ("f", "Node") if name in tests)
    assert sandbox.passes(Program(code, tests, names=names))


ROUND = [
    None, True, False, 0, -1, 1 << 62, 1 << 64, -(1 << 5000), 0.1, -0.0, math.inf, 5e-324, 1j, "",
    "é\U0001f600", "\ud83d\ude00", "\ud800", "\x00", b"\xff", bytearray(b"a"), range(1, 9, 3), int,
    [], [1, [2.0, "3"]], (), ((1,), [2]), {}, {1: {"a": (None,)}, (2, 3): {4}}, {1, "a"},
    frozenset({frozenset()}), Fraction(1, 3), Decimal("1.10"), Decimal("NaN"), ["remote", 0],
    ("type", "int"),
]  # fmt: skip


@pytest.mark.parametrize("value", ROUND, ids=ascii)
def test_data_arrive_as_they_left(value: Any) -> None:
    coded = judge.encode(value, pytest.fail)
    reading, writing = judge.os.pipe()
    judge.send(writing, coded)
    arrived = judge.decode(judge.receive(reading), pytest.fail)
    assert type(arrived) is type(value)
    assert repr(arrived) == repr(value) or arrived == value
    judge.os.close(writing)
    with pytest.raises(EOFError):
        judge.receive(reading)
    judge.os.close(reading)


def test_tests_that_pass_what_cannot_be_copied_are_named() -> None:
    program = Program("def f(g): return g(1)", "assert f(lambda x: x) == 1", names=("f",))
    with pytest.raises(sandbox.MethodError, match="pass an object of class function to its code"):
        sandbox.passes(program)


def test_views_of_dictionaries_arrive() -> None:
    view: Mapping[Any, Any] = {1: 2, "a": (3,)}
    for part in (view.keys(), view.items()):
        assert judge.decode(judge.encode(part, pytest.fail), pytest.fail) == part
