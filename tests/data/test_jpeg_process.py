"""The process that decodes JPEG: killed, interrupted, asked by threads and forks, and its end."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pydicom
import pytest

from medr1.data.images import load_image
from medr1.data.scans import jpeg_process

FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"
LOSSLESS = FOLDER / "SC_rgb_jpeg_gdcm.dcm"


@pytest.fixture(scope="module")
def expected():
    """The same image, compressed by run lengths."""
    return np.asarray(load_image(FOLDER / "SC_rgb_rle.dcm").image)


def is_right(expected):
    return np.array_equal(np.asarray(load_image(LOSSLESS).image), expected)


def own_process():
    return jpeg_process._PROCESS[os.getpid()]


def test_threads_share_one_process(expected):
    assert is_right(expected)
    process = own_process()
    with ThreadPoolExecutor(4) as executor:
        assert all(executor.map(lambda _: is_right(expected), range(24)))
    assert own_process() is process


def test_a_frame_is_right_although_the_process_was_killed(expected):
    assert is_right(expected)
    process = own_process()
    process.kill()
    process.wait()
    assert is_right(expected) and own_process() is not process


def test_a_frame_is_right_although_its_process_is_killed_while_it_is_asked(expected, monkeypatch):
    assert is_right(expected)
    process, write = own_process(), jpeg_process._write

    def write_and_kill(stream, content):
        write(stream, content)
        process.kill()
        process.wait()

    monkeypatch.setattr(jpeg_process, "_write", write_and_kill)
    assert is_right(expected) and own_process() is not process


def test_the_answer_of_an_interrupted_question_is_not_taken_for_the_next(expected, monkeypatch):
    assert is_right(expected)
    process = own_process()

    def interrupt(stream):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(jpeg_process, "_read", interrupt)
        with pytest.raises(KeyboardInterrupt):
            load_image(LOSSLESS)
    assert process.poll() is not None
    assert is_right(expected) and own_process() is not process


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_fork_has_a_process_of_its_own(expected):
    """Also if a thread holds the lock while the fork begins."""
    assert is_right(expected)
    with jpeg_process._LOCKS[os.getpid()]:
        child = os.fork()
        if child == 0:
            threading.Timer(300, os._exit, [2]).start()
            os._exit(0 if is_right(expected) else 1)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0 and is_right(expected)


def test_it_ends_with_medr1_and_imports_nothing_from_the_working_directory(tmp_path):
    (tmp_path / "gdcm.py").write_text("open('imported', 'w').close()")
    program = (
        "import os, sys; from pathlib import Path; sys.path.remove('');"
        "from medr1.data.images import load_image; from medr1.data.scans import jpeg_process;"
        f"print(load_image(Path({str(LOSSLESS)!r})).image.size);"
        "print(jpeg_process._PROCESS[os.getpid()].pid)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(jpeg_process.__file__).parents[3])},
        capture_output=True,
        text=True,
        check=True,
    )
    size, number = done.stdout.splitlines()
    assert size == "(100, 100)" and not (tmp_path / "imported").exists()
    if sys.platform == "linux":
        stat = Path(f"/proc/{number}/stat")
        ended = threading.Event()
        for _ in range(6000):
            try:  # Z: it ended, and nobody has asked for its status
                if stat.read_text().rpartition(")")[2].split()[0] == "Z":
                    break
            except OSError:
                break
            ended.wait(0.1)
        else:
            pytest.fail("the process is still there")
