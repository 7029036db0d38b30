"""Downloads from a server on this machine: whole, resumed, cut off, and not what was expected."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from harness import download, registry
from harness.data import Sources
from harness.errors import DataError
from harness.inventory import prepare, runnable
from harness.suite import Dataset, Suite

CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """What the server hands out, how it behaves, and what it was asked for."""

    def __init__(self) -> None:
        self.files = {"/a.bin": CONTENT}
        self.cut: int | None = None
        """Bytes after which the connection is dropped."""
        self.ranges = True
        self.asked: list[tuple[str, str | None]] = []
        self.address = ""


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.asked.append((self.path, wanted))
            content = state.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            start = int(wanted[len("bytes=") : -1]) if wanted and state.ranges else 0
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start:][: state.cut])

        def log_message(self, *_: Any) -> None:
            pass

    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{found.server_port}"
    thread = threading.Thread(target=found.serve_forever)
    thread.start()
    yield state
    found.shutdown()
    thread.join()
    found.server_close()


def test_a_file_arrives_whole_and_is_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "deep" / "a.bin"
    for digest in (SHA256, None):
        assert download.get(f"{server.address}/a.bin", target, digest) == SHA256
    assert target.read_bytes() == CONTENT
    assert server.asked == [("/a.bin", None)]
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("ranges", [True, False])
def test_it_resumes_where_the_connection_was_lost(
    ranges: bool, server: Server, tmp_path: Path
) -> None:
    target, url = tmp_path / "a.bin", f"{server.address}/a.bin"
    server.cut = 1000
    with pytest.raises(DataError, match="run the same command again to resume") as caught:
        download.get(url, target, SHA256)
    assert "\n" not in str(caught.value)
    assert not target.exists()
    server.cut, server.ranges = None, ranges
    assert download.get(url, target, SHA256) == SHA256
    assert server.asked == [("/a.bin", None), ("/a.bin", "bytes=1000-")]
    assert target.read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [target]


def test_without_a_digest_it_begins_afresh(server: Server, tmp_path: Path) -> None:
    url = f"{server.address}/a.bin"
    server.cut = 1000
    with pytest.raises(DataError):
        download.get(url, tmp_path / "a.bin")
    server.cut = None
    assert download.get(url, tmp_path / "a.bin") == SHA256
    assert server.asked[1] == ("/a.bin", None)


def test_a_part_that_is_longer_than_the_file_is_forgotten(server: Server, tmp_path: Path) -> None:
    (tmp_path / ".a.bin.part").write_bytes(CONTENT + b"more")
    assert download.get(f"{server.address}/a.bin", tmp_path / "a.bin", SHA256) == SHA256


def test_what_is_not_the_file_leaves_nothing(server: Server, tmp_path: Path) -> None:
    server.files["/a.bin"] = b"<html>"
    with pytest.raises(DataError, match=r"is not what was expected \(sha256 .*nothing was kept"):
        download.get(f"{server.address}/a.bin", tmp_path / "a.bin", SHA256)
    for url, message in (
        (f"{server.address}/b.bin", "not downloaded .*404"),
        ("http://127.0.0.1:1/a", "not downloaded .*; go online"),
        ("file:///etc/passwd", "not an address of the web"),
    ):
        with pytest.raises(DataError, match=message):
            download.get(url, tmp_path / "b.bin", SHA256)
    assert list(tmp_path.iterdir()) == []


def test_how_far_it_is_is_said(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(download, "_SILENT_SECONDS", -1.0)
    monkeypatch.setattr(download, "_PIECE", 5000)
    said: list[str] = []
    monkeypatch.setattr(download.err, "print", lambda text, **_: said.append(text))
    download.get(f"{server.address}/a.bin", tmp_path / "a.bin", SHA256)
    assert said[0] == "  a.bin: 0 of 0 MB"
    assert len(said) == 3


# -- datasets with addresses -----------------------------------------------------------------------


@pytest.fixture
def suite(server: Server, monkeypatch: pytest.MonkeyPatch) -> Suite:
    """The suite gate with two datasets: one that is on the server, one that nobody has."""

    def entry(name: str, **fields: Any) -> Dataset:
        stated = dict.fromkeys(("licence", "source", "sizes", "splits"), "-")
        return Dataset(name=name, files={f"{name}.bin": SHA256}, **stated, **fields)

    there = entry("texas", urls={"texas.bin": f"{server.address}/a.bin"})
    gate = registry.load("gate")
    names = {"texas", "cora"}
    tasks = tuple(t for t in gate.tasks if not t.datasets or set(t.datasets) <= names)
    rest = tuple(d for d in gate.datasets if d.name not in names)
    made = gate.model_copy(update={"datasets": (there, entry("cora"), *rest), "tasks": tasks})
    found = [(made, d) for d in made.datasets if d.name in names]
    monkeypatch.setattr(registry, "datasets", lambda _: found)
    return made


def test_preparing_says_what_it_does_and_what_was_not_to_be_had(
    suite: Suite, tmp_path: Path
) -> None:
    sources = Sources(None, tmp_path / "data")
    lines = [finding.line for finding in prepare(sources, ("gate",))]
    assert lines == [
        "texas: fetching - (1 of 2)",
        "texas: fetched",
        "cora: cannot be fetched; cora.bin not found; point --data or HARNESS_DATA at a folder "
        "that has it",
        "1 fetched, 0 were here, 1 not to be had",
    ]
    again = [finding.line for finding in prepare(sources, ("gate",))]
    assert again[0] == "texas: here"
    assert again[-1] == "0 fetched, 1 were here, 1 not to be had"


def test_trials_are_counted_by_whether_their_data_are_here(suite: Suite, tmp_path: Path) -> None:
    sources = Sources(None, tmp_path / "data")
    scale = suite.scale("laptop").model_copy(update={"tasks": ("*",), "exclude": ()})
    before = runnable(suite, scale, sources)
    assert before.trials == suite.trial_count(scale)
    of = {"texas": 0, "cora": 0, "": 0}
    for method, task in suite.pairs(scale):
        of["".join(task.datasets)] += len(suite.seeds(scale, method))
    assert (before.here, before.fetchable) == (of[""], of["texas"])
    assert of["texas"] > 0 < of["cora"]
    list(prepare(sources, ("gate",)))
    assert runnable(suite, scale, sources)[1:] == (of[""] + of["texas"], 0)


def test_an_address_for_some_files_alone_is_refused() -> None:
    stated = dict.fromkeys(("licence", "source", "sizes", "splits"), "-")
    with pytest.raises(ValueError, match="an address for each of its files, or for none"):
        Dataset(name="x", files={"a": None, "b": None}, urls={"a": "https://a"}, **stated)
