"""An archive gives its files or is refused in one sentence; nothing ever appears beside it."""

import gzip
import io
import os
import stat
import tarfile
import tracemalloc
import zipfile

import pytest

from medr1.data import archives
from medr1.data.archives import open_source
from medr1.errors import InputError, ItemError

FILES = {
    "OmniMedVQA/QA_information/Open-access/X.json": b"[]",
    "OmniMedVQA/Images/a b(1/#?%&.PNG": b"png",
    "OmniMedVQA/Images/ä/Bild.jpg": b"jpg" * 1000,
}


def make_zip(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)


def make_tar(path, files, mode="w"):
    with tarfile.open(path, mode) as file:
        for name, content in files.items():
            add(file, name, content)


def add(file, name, content=b"", **fields):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    file.addfile(info, io.BytesIO(content) if content else None)


@pytest.fixture(params=["zip", "tar", "tar.gz", "folder"])
def source(request, tmp_path):
    path = tmp_path / f"files.{request.param}"
    if request.param == "zip":
        make_zip(path, FILES)
    elif request.param == "folder":
        for name, content in FILES.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
    else:
        make_tar(path, FILES, "w:gz" if request.param == "tar.gz" else "w")
    return open_source(path)


def test_the_files_come_by_name(source):
    assert source.names() == sorted(FILES)
    read = dict(source.read([*FILES, "OmniMedVQA/Images/none.png"]))
    missing = read.pop("OmniMedVQA/Images/none.png")
    found = {n: c if isinstance(c, bytes) else c.path.read_bytes() for n, c in read.items()}
    assert found == FILES
    assert isinstance(missing, ItemError) or not missing.path.exists()


@pytest.fixture
def refused(tmp_path):
    """The sentence an archive is refused with; nothing but the archive may lie there after."""

    def check(path):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(InputError) as caught:
            open_source(path)
        assert sorted(tmp_path.rglob("*")) == before
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
        return str(caught.value)

    return check


LEADING_OUT = ["../out.png", "a/../../out.png", "/tmp/out.png", "C:\\out.png", "a\\..\\b", "a//b"]


@pytest.mark.parametrize("name", [*LEADING_OUT, "a/./b.png", "tab\there", "\u202e/../x"])
@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_a_name_that_leads_out_is_refused(name, kind, refused, tmp_path):
    path = tmp_path / f"x.{kind}"
    if kind == "zip":
        make_zip(path, {"good.png": b"x", name: b"x"})
    else:
        make_tar(path, {"good.png": b"x", name: b"x"}, "w:gz" if kind == "tar.gz" else "w")
    assert "the member" in refused(path)


@pytest.mark.parametrize(
    "fields",
    [
        {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
        {"type": tarfile.SYMTYPE, "linkname": "good.png"},
        {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"},
        {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5},
        {"type": tarfile.BLKTYPE},
        {"type": tarfile.FIFOTYPE},
    ],
)
def test_a_tar_with_a_link_or_device_is_refused(fields, refused, tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as file:
        add(file, "good.png", b"x")
        add(file, "Images/a.png", **fields)
    assert "the member" in refused(tmp_path / "x.tar")


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK])
def test_a_zip_with_a_link_or_device_is_refused(mode, refused, tmp_path):
    info = zipfile.ZipInfo("Images/a.png")
    info.create_system = 3
    info.external_attr = (mode | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr(info, "/etc/passwd")
    assert "is a link or a device" in refused(tmp_path / "x.zip")


def test_a_bomb_is_refused_by_ratio_before_it_is_unpacked(refused, tmp_path):
    make_zip(tmp_path / "x.zip", {"a.png": bytes(32 << 20)})
    make_tar(tmp_path / "x.tar.gz", {"a.png": bytes(32 << 20)}, "w:gz")
    tracemalloc.start()
    assert "times its size" in refused(tmp_path / "x.zip")
    assert "times its size" in refused(tmp_path / "x.tar.gz")
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_a_bomb_beside_what_does_not_shrink_is_refused_by_its_own_ratio(refused, tmp_path):
    make_zip(tmp_path / "x.zip", {"noise.png": os.urandom(1 << 20), "a.png": bytes(32 << 20)})
    assert "'a.png' unpacks to over 200 times" in refused(tmp_path / "x.zip")


@pytest.mark.parametrize("ending", ["zip", "tar.gz"])
def test_a_bomb_of_many_small_members_is_refused_by_their_sum(ending, refused, tmp_path):
    members = {f"{n}.png": bytes(8_000_000) for n in range(60)}
    if ending == "zip":
        make_zip(tmp_path / "x.zip", members)
    else:
        make_tar(tmp_path / "x.tar.gz", members, "w:gz")
    assert "times its size" in refused(tmp_path / f"x.{ending}")


def test_small_members_may_have_any_ratio(tmp_path):
    make_zip(tmp_path / "x.zip", {f"{n}.png": bytes(1_000_000) for n in range(5)})
    assert len(open_source(tmp_path / "x.zip").names()) == 5


def test_a_bomb_in_a_tars_attributes_is_not_read(refused, tmp_path):
    head = tarfile.TarInfo("x")
    head.type, head.size = tarfile.XHDTYPE, 1 << 30
    with gzip.open(tmp_path / "x.tar.gz", "wb") as file:
        file.write(head.tobuf(tarfile.USTAR_FORMAT))
        for _ in range(64):
            file.write(bytes(1 << 20))
    tracemalloc.start()
    assert "attributes of 1,073,741,824 bytes" in refused(tmp_path / "x.tar.gz")
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("cap", "value", "says"),
    [("MAX_ENTRIES", 2, "more than 2 members"), ("MAX_TOTAL", 3, "unpacks to more than")],
)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_too_many_or_too_much_is_refused(cap, value, says, kind, refused, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, cap, value)
    path = tmp_path / f"x.{kind}"
    (make_zip if kind == "zip" else make_tar)(path, FILES)
    assert says in refused(path)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_member_too_large_is_refused(kind, refused, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_MEMBER", 1000)
    (make_zip if kind == "zip" else make_tar)(tmp_path / f"x.{kind}", FILES)
    assert "has more than" in refused(tmp_path / f"x.{kind}")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_given_twice_is_refused(refused, tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("a.png", b"x")
        file.writestr("./a.png", b"y")
    assert "is in it twice" in refused(tmp_path / "x.zip")
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        add(tar, "a.png", b"x")
        add(tar, "./a.png", b"y")
    assert "is in it twice" in refused(tmp_path / "x.tar")
    make_tar(tmp_path / "y.tar", {"a": b"x", "a/b.png": b"y"})
    assert "below another file" in refused(tmp_path / "y.tar")


def test_names_that_are_not_utf8(refused, tmp_path):
    with tarfile.open(
        tmp_path / "x.tar", "w", encoding="latin-1", format=tarfile.USTAR_FORMAT
    ) as tar:
        add(tar, "é.png", b"x")
    assert "is not UTF-8" in refused(tmp_path / "x.tar")
    make_zip(tmp_path / "x.zip", {"aa.png": b"x"})
    packed = (tmp_path / "x.zip").read_bytes()
    (tmp_path / "x.zip").write_bytes(packed.replace(b"aa.png", b"\xe9a.png"))
    assert "is not UTF-8" in refused(tmp_path / "x.zip")
    # UTF-8 without the flag that says so, as some programs write it
    (tmp_path / "y.zip").write_bytes(packed.replace(b"aa.png", "é.png".encode()))
    source = open_source(tmp_path / "y.zip")
    assert source.names() == ["é.png"]
    assert list(source.read(["é.png"])) == [("é.png", b"x")]


def test_what_is_no_archive_or_damaged(refused, tmp_path):
    (tmp_path / "x.zip").write_bytes(b"hello" * 200)
    assert "cannot be read as an archive" in refused(tmp_path / "x.zip")
    (tmp_path / "empty.tar").write_bytes(b"")
    refused(tmp_path / "empty.tar")
    make_zip(tmp_path / "cut.zip", FILES)
    os.truncate(tmp_path / "cut.zip", 200)
    refused(tmp_path / "cut.zip")
    make_tar(tmp_path / "cut.tar.gz", FILES, "w:gz")
    os.truncate(tmp_path / "cut.tar.gz", 120)
    refused(tmp_path / "cut.tar.gz")


def test_a_damaged_member_is_an_item_error_and_the_others_come(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.png", b"AAAAAAAA")
        file.writestr("b.png", b"BBBBBBBB")
    path.write_bytes(path.read_bytes().replace(b"AAAAAAAA", b"AAAACAAA"))
    read = dict(open_source(path).read(["a.png", "b.png"]))
    assert isinstance(read["a.png"], ItemError) and read["a.png"].code == "image_unreadable"
    assert read["b.png"] == b"BBBBBBBB"


def test_an_encrypted_zip_is_refused(refused, tmp_path):
    make_zip(tmp_path / "x.zip", {"a.png": b"x"})
    packed = bytearray((tmp_path / "x.zip").read_bytes())
    packed[packed.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "x.zip").write_bytes(packed)
    assert "is encrypted" in refused(tmp_path / "x.zip")
