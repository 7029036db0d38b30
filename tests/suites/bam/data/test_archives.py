"""Archives are read in memory, and nothing in them leads elsewhere or grows without bound."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from harness.errors import DataError
from suites.bam.data import archives
from suites.bam.data.archives import Member, members


def tar(path: Path, files: dict[str, bytes], *extra: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as packed:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
        for info in extra:
            packed.addfile(info)
    return path


def everything(_: str) -> bool:
    return True


def test_wanted_files_come_by_path_without_the_top_folder(tmp_path: Path) -> None:
    files = {"book-1/b.tex": b"b", "book-1/a.tex": b"a", "book-1/c.txt": b"c"}
    link = tarfile.TarInfo("book-1/link.tex")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    packed = tar(tmp_path / "a.tar.gz", files, link)
    found = members(packed, lambda path: path.endswith(".tex"))
    assert found == [Member("a.tex", b"a"), Member("b.tex", b"b")]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        zipped.mkdir("book-1")
        for name, content in files.items():
            zipped.writestr(name, content)
    assert members(tmp_path / "a.zip", lambda path: path.endswith(".tex")) == found
    assert [path.name for path in tmp_path.iterdir()] != []
    assert not (tmp_path / "a.tex").exists()


@pytest.mark.parametrize("name", ["/etc/passwd", "top/../../x"])
def test_a_path_that_leads_out_is_refused(name: str, tmp_path: Path) -> None:
    packed = tar(tmp_path / "a.tar.gz", {name: b"x"})
    with pytest.raises(DataError, match="leads out of the archive; nothing was read"):
        members(packed, everything)


def test_what_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = tar(tmp_path / "a.tar.gz", {"top/a": bytes(600), "top/b": bytes(6)})
    monkeypatch.setattr(archives, "LARGEST", 500)
    with pytest.raises(DataError, match="'a' has more than 0 MB"):
        members(packed, everything)
    assert members(packed, "b".__eq__) == [Member("b", bytes(6))]
    monkeypatch.setattr(archives, "WHOLE", 100)
    with pytest.raises(DataError, match="unpacks to more than 0 GB"):
        members(packed, "b".__eq__)


def test_what_is_no_archive_or_cut_is_one_line(tmp_path: Path) -> None:
    whole = tar(tmp_path / "a.tar.gz", {"top/a": b"text" * 9000}).read_bytes()
    for content in (b"", b"<html>", whole[:-40], whole[:60]):
        (tmp_path / "b.tar.gz").write_bytes(content)
        with pytest.raises(DataError, match=r"^b\.tar\.gz: no archive, or cut \(.*download it"):
            members(tmp_path / "b.tar.gz", everything)


def test_texts_are_utf_8_or_latin_1() -> None:
    assert Member("a", "é".encode()).text == Member("a", "é".encode("latin-1")).text == "é"
    assert Member("a", b"\xef\xbb\xbfa").text == "a"
