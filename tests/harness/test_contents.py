"""Shipped files and files of installed packages: compared whenever they are read."""

import base64
import hashlib
import subprocess

import pytest

from harness import contents, registry
from harness.errors import DataError

WEIGHTS, RULES = bytes(range(200)), b"<robot/>\n"


@pytest.fixture
def folder(tmp_path):
    """A folder that ships two files."""
    (tmp_path / "a.bin").write_bytes(WEIGHTS)
    (tmp_path / "b.yaml").write_bytes(RULES)
    contents.seal(tmp_path, [tmp_path / "b.yaml", tmp_path / "a.bin"])
    return tmp_path


def line(error):
    text = str(error.value)
    assert "\n" not in text
    return text


def test_a_manifest_is_what_sha256sum_reads(folder):
    done = subprocess.run(
        ["sha256sum", "-c", contents.MANIFEST], cwd=folder, capture_output=True, check=False
    )
    assert done.returncode == 0
    assert done.stdout == b"a.bin: OK\nb.yaml: OK\n"
    assert contents.shipped(folder / "a.bin") == folder / "a.bin"
    assert list(contents.corrupt(folder)) == []


def test_what_is_missing_unlisted_or_corrupt_is_named(folder):
    (folder / "a.bin").write_bytes(WEIGHTS[:-1])
    (folder / "c.bin").write_bytes(b"")
    for name, reason in (
        ("a.bin", "corrupt (sha256 "), ("c.bin", "not listed in MANIFEST.sha256"),
        ("d.bin", "cannot be read (No such file"),
    ):  # fmt: skip
        with pytest.raises(DataError) as error:
            contents.shipped(folder / name)
        assert line(error).startswith(f"{folder / name}: {reason}")
        assert "restore it from the repository" in line(error)
    (only,) = contents.corrupt(folder)
    assert only.startswith(f"{folder / 'a.bin'}: corrupt")


@pytest.mark.parametrize(
    "text", ["", "x\n", f"{'0' * 64} a.bin\n", f"{'0' * 64}  a.bin\n" * 2, "\n", b"\xff\n", None]
)
def test_a_corrupt_manifest_is_one_line(folder, text):
    path = folder / contents.MANIFEST
    path.unlink()
    if text is not None:
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(DataError) as error:
        contents.shipped(folder / "a.bin")
    assert line(error).startswith(f"{path}:")
    assert len(list(contents.corrupt(folder))) == (text is not None)


@pytest.mark.parametrize("name", ["bam", "gate", "merging", "mixup"])
def test_every_data_file_of_a_suite_stands_in_a_manifest(name):
    root = registry.folder(name)
    there = {
        path
        for path in root.rglob("*")
        if path.is_file()
        and path.suffix not in (".py", ".md", ".pyc")
        and path.name not in (contents.MANIFEST, "reference.csv")
    }
    for path in there:
        assert contents.shipped(path) == path
    for place in root.rglob(contents.MANIFEST):
        assert {place.parent / n for n in contents.manifest(place.parent)} <= there
    assert list(contents.corrupt(root)) == []


# -- installed packages ----------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package `toy-robots`; the folder that packages lie in."""
    files = {"toy_robots/ant.xml": RULES, "toy_robots/deep/net.bin": WEIGHTS}
    info = tmp_path / "toy_robots-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-robots\nVersion: 1.5\n")
    rows = []
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
        rows.append(f"{name},sha256={digest},{len(data)}\n")
    (info / "RECORD").write_text("".join(rows))
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_an_installed_package_gives_version_and_digest(package):
    robots = contents.installed("toy-robots", "toy_robots/*.xml")
    both = contents.installed("toy-robots", "toy_robots/*.xml", "toy_robots/deep/*")
    assert (robots.folder, robots.version) == (package, "1.5")
    assert robots.state == f"1.5 sha256:{robots.digest}"
    assert robots.digest != both.digest
    (package / "toy_robots" / "new.xml").write_bytes(b"")  # in no list, but it would be read
    assert contents.installed("toy-robots", "toy_robots/*.xml").digest != robots.digest


def test_a_changed_or_missing_file_of_a_package_is_named(package):
    again = "run `pip install --force-reinstall --no-deps toy-robots`"
    path = package / "toy_robots" / "ant.xml"
    path.write_bytes(RULES[:-1])
    with pytest.raises(DataError) as error:
        contents.installed("toy-robots", "toy_robots/*.xml")
    assert line(error) == f"{path}: not as package toy-robots 1.5 brought it; {again}"
    path.unlink()
    with pytest.raises(DataError) as error:
        contents.installed("toy-robots", "toy_robots/*.xml", "toy_robots/deep/*")
    assert line(error) == f"{path}: missing from package toy-robots; {again}"
    contents.installed("toy-robots", "toy_robots/deep/*")


def test_a_package_that_is_not_there_or_unreadable_is_one_line(package):
    with pytest.raises(DataError, match="package no-such is not installed; run `pip install no-s"):
        contents.installed("no-such", "*")
    with pytest.raises(DataError, match=r"package toy-robots: no file other/\* in "):
        contents.installed("toy-robots", "other/*")
    (package / "toy_robots-1.5.dist-info" / "METADATA").write_bytes(b"Name: \xff\xfe")
    with pytest.raises(DataError, match="package toy-robots: its metadata cannot be read"):
        contents.installed("toy-robots", "toy_robots/*.xml")


def test_texts_count_by_content_and_order():
    one, two = contents.texts_digest(["a", "b"]), contents.texts_digest(["ab"])
    assert len({one, two, contents.texts_digest(["b", "a"]), contents.texts_digest([])}) == 4
    assert contents.texts_digest(iter(["a", "b"])) == one
