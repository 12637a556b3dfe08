"""Which of the files that a data set names are opened, and how much of them is read."""

import os
import socket
import sys
from pathlib import Path

import pytest
from PIL import Image

from medr1.data.images import load_image
from medr1.data.readers import read_questions
from medr1.data.roots import ImageRoot, resolve_image, suggested_image_root
from medr1.errors import ItemError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a picture, another beside it, and links that lead out."""
    folder = tmp_path / "data"
    (folder / "Images").mkdir(parents=True)
    for path in (folder / "Images" / "in.png", tmp_path / "out.png"):
        Image.new("L", (24, 16)).save(path)
    (folder / "link.png").symlink_to(tmp_path / "out.png")
    (folder / "links").symlink_to(tmp_path)
    return folder


def code_of(name: str, root: ImageRoot) -> str:
    with pytest.raises(ItemError) as caught:
        load_image(resolve_image(name, root))
    assert str(root) not in str(caught.value)
    return caught.value.code


@pytest.mark.parametrize(
    "name", ["{root}/Images/in.png", "{root}/links/data/Images/in.png", "Images/in.png"]
)
def test_a_closed_root_takes_what_lies_below_it(root, name):
    path = resolve_image(name.format(root=root), ImageRoot(root, closed=True))
    assert load_image(path).image.size == (24, 16)


@pytest.mark.parametrize(
    "name",
    [
        "{root}/../out.png",
        "{root}/link.png",
        "{root}/links/out.png",
        "{root}2/in.png",
        "/etc/passwd",
        "/dev/zero",
        "/",
        "link.png",
        "../out.png",
    ],
)
def test_a_closed_root_takes_nothing_else(root, name):
    assert code_of(name.format(root=root), ImageRoot(root, closed=True)) == "image_outside_root"


def test_image_root_closes(root, tmp_path):
    (tmp_path / "q.json").write_text('[{"image": "a.png", "question": "q"}]')
    assert not read_questions(tmp_path / "q.json").image_root.closed
    assert read_questions(tmp_path / "q.json", image_root=root).image_root.closed


def test_only_regular_files_are_opened(tmp_path, monkeypatch):
    """A device, a pipe or a socket is known without being opened."""
    os.mkfifo(tmp_path / "fifo.png")
    names = [str(tmp_path), str(tmp_path / "fifo.png"), "/dev/zero", "/dev/null", "/dev/tty"]
    calls, really = [], os.open
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        monkeypatch.setattr(os, "open", lambda *args: calls.append(args[0]) or really(*args))
        for name in [*names, str(tmp_path / "s")]:
            if os.path.exists(name):
                assert code_of(name, ImageRoot(tmp_path)) == "image_not_file"
    assert calls == []


@pytest.mark.skipif(sys.platform != "linux", reason="what is read is counted in /proc")
def test_no_more_than_the_first_bytes_are_read_of_what_is_no_image(tmp_path):
    (tmp_path / "secret.png").write_bytes(b"root:x:0:0:\n" * 100_000)

    def read_so_far() -> int:
        return int(Path("/proc/self/io").read_text().split()[1])

    before = read_so_far()
    counting = read_so_far() - before  # what reading the counter reads
    before = read_so_far()
    assert code_of("secret.png", ImageRoot(tmp_path)) == "image_unreadable"
    assert read_so_far() - before - counting <= 132


def test_the_suggested_image_root_is_shared_but_never_nearly_the_whole_disk():
    assert suggested_image_root("/data/set/a/1.png", ["/data/set/b/2.png"]) == "/data/set"
    assert suggested_image_root("/data/set/a/1.png", ["/etc/passwd"]) == "/data/set/a"
    assert suggested_image_root("/data/set/a/../1.png", []) == "/data/set"
