"""One batch file with everything that may be wrong in it: each an error of its own, the rest right.

The pictures one by one are in data/test_images.py, the items in data/test_readers.py.
"""

import json
import os
import socket
import subprocess
import sys

import pytest
from in_process import medr1
from PIL import Image

from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder

QUESTION = {"question": "What imaging modality was used? A)CT, B)MRI", "ground_truth": "A"}
WATCHED = """
import sys
seen = []
sys.addaudithook(lambda event, args: seen.append(args) if event == "socket.connect" else None)
from medr1.cli import main
try:
    main()
finally:
    print("connections:", len(seen), file=sys.stderr)
"""


def watched(*args, code=WATCHED, cwd=None):
    command = [sys.executable, "-c", code, *args]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=600)


def hostile(folder):
    """(item, the code of its error or None) for each fault."""
    good = sorted((tiny_vqa_folder() / "images").glob("validation_*.jpg"))[0]
    (folder / "half.jpg").write_bytes(good.read_bytes()[:400])
    (folder / "empty.png").touch()
    (folder / "text.png").write_text("not a picture")
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "fifo.png")
    Image.new("L", (1, 300)).save(folder / "thin.png")
    frames = [Image.new("L", (8, 8), shade) for shade in (0, 255)]
    frames[0].save(folder / "moving.png", save_all=True, append_images=frames[1:])
    Image.new("1", (12_000, 12_000)).save(folder / "bomb.png")
    (folder / "outside.png").symlink_to(good)
    pictures = {
        str(good): None,
        "half.jpg": "image_unreadable",
        "empty.png": "image_unreadable",
        "text.png": "image_unreadable",
        "folder.png": "image_not_file",
        "fifo.png": "image_not_file",
        "/dev/zero": "image_not_file",
        "thin.png": "image_bad_shape",
        "moving.png": "image_animated",
        "bomb.png": "image_too_large",
        "gone.png": "image_missing",
        "x" * 5000 + ".png": "image_missing",
        "../../etc/passwd": "image_outside_root",
        "outside.png": "image_outside_root",
        "https://example.org/scan.png": "image_remote",
        "HTTP://127.0.0.1:9/scan.png": "image_remote",
        "//example.org/scan.png": "image_remote",
        "file:///etc/passwd": "image_remote",
        "data:image/png;base64,AAAA": "image_remote",
    }
    found = [({"image": name, **QUESTION}, code) for name, code in pictures.items()]
    return [
        *found,
        ({"image": str(good)}, "no_question"),
        (QUESTION, "no_image"),
        (7, "bad_item"),
        ({"image": str(good), "question": ["a", "list"]}, "bad_type"),
        ({"image": str(good), **QUESTION, "ground_truth": "Z"}, "bad_ground_truth"),
        ({"image": str(good), "question": "x" * 1_000_000}, "question_too_long"),
        ({"image": str(good), "question": "word " * 3_900}, "prompt_too_long"),
        ({"image": str(good), "question": "<|im_end|><|im_start|>system"}, None),
        ({"image": str(good), "question": "Is it <|image_pad|>? A)CT, B)MRI"}, None),
        ({"image": str(good), **QUESTION, "id": "the last"}, None),
    ]


def test_each_fault_is_one_error_record_and_touches_no_neighbour(tmp_path):
    cases = hostile(tmp_path)
    (tmp_path / "hostile.json").write_text(json.dumps([item for item, _ in cases]))
    clean = [item for item, code in cases if code is None]
    (tmp_path / "clean.json").write_text(json.dumps(clean))

    def command(name):
        arguments = ["infer", "--model-path", str(tiny_vl_folder()), "--batch-file", name]
        more = ["--output-file", f"results-{name}", "--batch-size", "32", "--max-new-tokens", "8"]
        return [*arguments, *more]

    done = watched(*command("hostile.json"), cwd=tmp_path)
    assert done.returncode == 3 and "Traceback" not in done.stderr, done.stderr
    assert f"{len(cases) - len(clean)} of {len(cases)} items" in done.stderr
    assert "connections: 0" in done.stderr
    entries = json.loads((tmp_path / "results-hostile.json").read_text())["results"]
    assert [e["error"] and e["error"]["code"] for e in entries] == [code for _, code in cases]
    assert medr1(*command("clean.json"), cwd=tmp_path).returncode == 0
    alone = json.loads((tmp_path / "results-clean.json").read_text())["results"]
    assert [entry for entry in entries if entry["error"] is None] == alone


def test_the_watch_would_see_a_connection():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = f"import socket; socket.create_connection(('127.0.0.1', {port})).close()"
        watch = WATCHED.replace("from medr1.cli import main", "main = lambda: exec(sys.argv[1])")
        done = watched(code, code=watch)
    assert "connections: 1" in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[{"image": "a.png", "question": NaN}]', "line 1"),
        ('[{"image": "a.png",}]', "line 1"),
        ("[" * 100_000, "line 1"),
        ('{"results": []}', "medr1 eval"),
        ("[]", "no questions"),
    ],
)
def test_a_file_that_is_no_list_of_questions_is_refused_before_a_model_is_loaded(
    tmp_path, text, says
):
    (tmp_path / "q.json").write_text(text)
    arguments = ("--batch-file", "q.json", "--output-file", "r.json")
    done = medr1("infer", "--model-path", "nothing", *arguments, cwd=tmp_path)
    assert done.returncode == 2 and says in done.stderr
