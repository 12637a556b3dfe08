"""`medr1 fetch`, as a real process, against a hub on loopback that can fail in every usual way."""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from medr1.checkpoints.hub import DEFAULT_VARIANT, MED_R1, split_name
from medr1.checkpoints.integrity import checksum_faults
from medr1.errors import InputError
from medr1.files import in_gb

COMMIT = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS = bytes(range(256)) * 100_000
"""More than the pieces of 10 MB that a download is written in."""
CT = f"{DEFAULT_VARIANT}/VQA_CT"
FILES = {
    "README.md": b"# Med-R1",
    "VQA_CT/config.json": b'{"of": "Qwen2"}',
    "VQA_OCT/config.json": b'{"of": "OCT"}',
    f"{CT}/config.json": b'{"of": "Qwen2.5"}',
    f"{CT}/tokenizer.json": b"{}",
    f"{CT}/merges.txt": b"a b",
    f"{CT}/model.safetensors": WEIGHTS,
    f"{CT}/training_args.bin": b"pickle",
    f"{CT}/optimizer.pt": b"pickle",
    f"{CT}/scaler.pkl": b"pickle",
    f"{CT}/modeling.py": b"print('no')",
    "Qwen_2.5_3B_think/VQA_MRI/config.json": b"{}",
    "Qwen_2_2B/VQA_MRI/config.json": b"{}",
}
DATA = {"train.json": b"[]", "Images/a [1].png": b"PNG", "OmniMedVQA.zip": b"PK", "load.py": b"x"}

WATCH = """
import sys
def watch(event, args):
    if event == "socket.connect" and isinstance(args[1], tuple):
        open({path!r}, "a").write(str(args[1][0]) + "\\n")
    elif event == "socket.getaddrinfo":
        open({path!r}, "a").write(str(args[0]) + "\\n")
sys.addaudithook(watch)
"""


class Hub(BaseHTTPRequestHandler):
    """The few routes of the hub's API that a download asks for."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        state = self.server.state
        state["asked"].append(f"{self.command} {self.path}")
        repo, files = MED_R1, FILES
        if "OmniMedVQA" in self.path:
            repo, files = "foreverbeliever/OmniMedVQA", DATA
        if match := re.match(r"/api/(?:models|datasets)/someone/(\w+)", self.path):
            status, code = {"gated": (403, "GatedRepo"), "broken": (500, "Oops")}.get(
                match[1], (401, "RepoNotFound")
            )
            self.send(status, b"{}", {"X-Error-Code": code})
        elif f"/{repo}/tree/" in self.path:
            self.send(200, json.dumps([entry("path", *item) for item in files.items()]).encode())
        elif self.path.startswith("/api/"):
            siblings = [entry("rfilename", *item) for item in files.items()]
            if state["huge"]:
                siblings[-1]["size"] = 10**18
                siblings = [{**s, "size": 10**18} for s in siblings]
            if state["outside"]:
                siblings.append(entry("rfilename", "../out.json", b"{}"))
            body = {"id": repo, "sha": COMMIT, "siblings": siblings}
            self.send(200, json.dumps(body).encode())
        else:
            self.send_file(files)

    def send_file(self, files):
        from urllib.parse import unquote

        name = unquote(self.path.split(f"/resolve/{COMMIT}/")[1])
        data, state = files[name], self.server.state
        if state["corrupt"] and name.endswith(".safetensors"):
            data = data[:-1] + b"!"
        headers = {
            "ETag": f'"{hashlib.sha256(files[name]).hexdigest()}"',
            "X-Repo-Commit": COMMIT,
            "Accept-Ranges": "bytes",
        }
        status = 200
        if match := re.match(r"bytes=(\d+)-", self.headers.get("Range", "")):
            start = int(match[1])
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            state["ranges"].append((name, start))
            data, status = data[start:], 206
        cut = None
        if self.command == "GET" and name.endswith(".safetensors") and state["cuts"]:
            state["cuts"] -= 1
            cut = len(data) // 2
        self.send(status, data, headers, cut)

    def send(self, status, body, headers=None, cut=None):
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:cut])
        if cut is not None:
            self.close_connection = True


def entry(key, name, data):
    """One file, as the hub's listings say it: large ones with their SHA-256."""
    blob = hashlib.sha1(data).hexdigest()
    made = {key: name, "type": "file", "size": len(data), "oid": blob, "blobId": blob}
    if name.endswith((".safetensors", ".zip")):
        digest = hashlib.sha256(data).hexdigest()
        large = {"size": len(data), "pointerSize": 130}
        made["lfs"] = {**large, "sha256" if key == "rfilename" else "oid": digest}
    return made


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.state = {
        "asked": [], "ranges": [], "cuts": 0, "huge": False, "outside": False, "corrupt": False,
    }  # fmt: skip
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def fetch(hub, tmp_path, *args, start=("-m", "medr1", "fetch"), **env):
    """`medr1 fetch` in tmp_path, every address that it connects to written to a file."""
    (tmp_path / "watch").mkdir(exist_ok=True)
    code = WATCH.format(path=str(tmp_path / "addresses"))
    (tmp_path / "watch" / "sitecustomize.py").write_text(code)
    own = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "MEDR1_"))}
    own |= {
        "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_address[1]}",
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "watch"), str(Path(__file__).parents[1])]),
        **env,
    }
    command = [sys.executable, *start, *args]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=own, timeout=600
    )
    assert "Traceback" not in done.stderr, done.stderr
    connected = tmp_path / "addresses"
    assert set(connected.read_text().split() if connected.exists() else ()) <= {"127.0.0.1"}
    return done


def files_in(folder):
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and ".cache" not in path.parts
    }


def test_a_short_name_lands_where_the_guide_has_it_without_pickles_or_code(hub, tmp_path):
    hub.state["cuts"] = 1
    done = fetch(hub, tmp_path, "VQA_CT", "--json")
    assert done.returncode == 0, done.stderr
    (said,) = json.loads(done.stdout)["fetched"]
    folder = tmp_path / said["folder"]
    assert folder == tmp_path / "checkpoints" / "Med-R1" / DEFAULT_VARIANT / "VQA_CT"
    named = {"config.json", "tokenizer.json", "merges.txt", "model.safetensors"}
    assert files_in(folder) == {*named, "SHA256SUMS", "medr1-fetch.json"}
    assert checksum_faults(folder) == []
    assert not files_in(tmp_path / "checkpoints" / "Med-R1") - {
        f"{CT}/{name}" for name in files_in(folder)
    }
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert (folder / "config.json").read_bytes() == FILES[f"{CT}/config.json"]
    assert json.loads((folder / "medr1-fetch.json").read_text())["revision"] == COMMIT
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    assert dict(reversed(line.split("  ")) for line in lines) == {
        name: hashlib.sha256(FILES[f"{CT}/{name}"]).hexdigest() for name in named
    }
    assert "4 files" in done.stderr and "free" in done.stderr
    ((name, start),) = hub.state["ranges"]  # the cut was gone on from, not begun anew
    assert name.endswith("model.safetensors") and 0 < start < len(WEIGHTS)
    asked = " ".join(hub.state["asked"])
    assert not re.search(r"\.(bin|pt|pkl|py)\b", asked)


def test_the_example_for_python_downloads_a_checkpoint(hub, tmp_path):
    page = Path(__file__).parents[1] / "medr1" / "workflows" / "README.md"
    example = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)[-1]
    done = fetch(hub, tmp_path, start=("-c", example))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / done.stdout.strip() / "SHA256SUMS").is_file()


def test_a_second_call_downloads_nothing(hub, tmp_path):
    assert fetch(hub, tmp_path, "VQA_CT").returncode == 0
    hub.state["asked"].clear()
    done = fetch(hub, tmp_path, f"{DEFAULT_VARIANT}/VQA_CT")
    assert done.returncode == 0 and done.stdout == f"checkpoints/Med-R1/{CT}\n"
    assert "0.0 MB of it to download" in done.stderr
    assert not [line for line in hub.state["asked"] if "GET" in line and "/resolve/" in line]


def test_after_a_download_that_broke_off_the_whole_files_are_kept(hub, tmp_path):
    hub.state["cuts"] = 100
    done = fetch(hub, tmp_path, "VQA_CT")
    assert done.returncode == 2 and "complete files are kept" in done.stderr
    folder = tmp_path / "checkpoints" / "Med-R1" / CT
    assert not (folder / "SHA256SUMS").exists() and (folder / "config.json").exists()
    hub.state["cuts"] = 0
    hub.state["asked"].clear()
    assert fetch(hub, tmp_path, "VQA_CT").returncode == 0
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    again = [line for line in hub.state["asked"] if line.startswith("GET") and "/resolve/" in line]
    assert len(again) == 1 and again[0].endswith("model.safetensors")


def test_a_dry_run_writes_nothing(hub, tmp_path):
    done = fetch(hub, tmp_path, "VQA_CT", "yuxianglai117/Med-R1/VQA_OCT", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    first, second = json.loads(done.stdout)["fetched"]
    assert first["bytes"] == first["bytes_missing"] > len(WEIGHTS) and not first["fetched"]
    assert second["folder"] == "checkpoints/Med-R1/VQA_OCT"
    assert not (tmp_path / "checkpoints").exists()


def test_a_data_set_lands_in_data(hub, tmp_path):
    done = fetch(hub, tmp_path, "foreverbeliever/OmniMedVQA", "--data")
    assert done.returncode == 0, done.stderr
    got = files_in(tmp_path / "data" / "OmniMedVQA")
    assert got == {*DATA} - {"load.py"} | {"SHA256SUMS", "medr1-fetch.json"}


def test_a_benchmark_is_fetched_by_its_name_with_its_licence(hub, tmp_path):
    done = fetch(hub, tmp_path, "omnimedvqa", "--data")
    assert done.returncode == 0, done.stderr
    assert "huggingface.co/datasets/foreverbeliever/OmniMedVQA, licence:" in done.stderr
    assert files_in(tmp_path / "data" / "OmniMedVQA") >= {*DATA} - {"load.py"}
    done = fetch(hub, tmp_path, "vqa-med", "--data")
    assert (done.returncode, "vqa-med is not on the hub" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["someone/nothing"], 2, "the hub has no model someone/nothing"),
        (["someone/gated"], 2, "HF_TOKEN"),
        (["someone/broken"], 2, "HTTP 500"),
        (["VQA_MRI"], 2, "Qwen_2.5_3B_think/VQA_MRI, Qwen_2_2B/VQA_MRI"),
        (["VQA_XYZ"], 2, "Name one of:"),
        (["VQA_CT", "--offline"], 2, "--offline"),
        (["../x"], 2, "no name on the hub"),
        (["vqa-rad"], 2, "vqa-rad is a data set. Add --data."),
        (["vqarad", "--data"], 2, "Did you mean vqa-rad?"),
        (["OmniMed", "--data"], 2, "owner/name. "),
    ],
)
def test_what_cannot_be_fetched_is_said_in_one_sentence(args, code, says, hub, tmp_path):
    done = fetch(hub, tmp_path, *args)
    assert done.returncode == code, done.stderr
    assert says in done.stderr and done.stderr.startswith("Error: ") and not done.stdout
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "checkpoints").exists()


def test_what_does_not_fit_the_disk_is_refused_before_anything_is_fetched(hub, tmp_path):
    hub.state["huge"] = True
    done = fetch(hub, tmp_path, "VQA_CT")
    assert done.returncode == 6 and "GB free" in done.stderr and "--output-dir" in done.stderr
    assert not (tmp_path / "checkpoints").exists()


def test_a_name_outside_the_folder_is_refused(hub, tmp_path):
    hub.state["outside"] = True
    done = fetch(hub, tmp_path, "VQA_CT")
    assert done.returncode == 2 and "../out.json" in done.stderr


def test_weights_that_are_not_the_hubs_are_refused(hub, tmp_path):
    hub.state["corrupt"] = True
    done = fetch(hub, tmp_path, "VQA_CT")
    assert done.returncode == 1 and "SHA-256" in done.stderr
    assert not (tmp_path / "checkpoints" / "Med-R1" / CT / "SHA256SUMS").exists()


def test_a_hub_that_is_not_there_is_said_in_one_sentence(hub, tmp_path):
    hub.server_close()
    done = fetch(hub, tmp_path, "VQA_CT", HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 2 and "Check the network" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_hubs_own_offline_switch_is_named(hub, tmp_path):
    done = fetch(hub, tmp_path, "VQA_CT", HF_HUB_OFFLINE="1")
    assert done.returncode == 2 and "HF_HUB_OFFLINE" in done.stderr


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("VQA_CT", (MED_R1, "VQA_CT")),
        (CT, (MED_R1, CT)),
        (MED_R1, (MED_R1, "")),
        (f"{MED_R1}/{CT}", (MED_R1, CT)),
        ("Qwen/Qwen2.5-VL-3B-Instruct", ("Qwen/Qwen2.5-VL-3B-Instruct", "")),
    ],
)
def test_a_name_is_a_repository_and_a_folder(name, expected):
    assert split_name(name) == expected


def test_a_data_set_needs_its_owner():
    with pytest.raises(InputError, match="owner/name"):
        split_name("OmniMedVQA", is_data=True)


def test_sizes_are_for_people():
    assert (in_gb(7_500_000_000), in_gb(1_234_567)) == ("7.5 GB", "1.2 MB")


def test_a_downloaded_data_set_is_trained_on(hub, tmp_path, monkeypatch):
    pytest.importorskip("trl")
    import datasets
    from in_process import medr1

    from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder

    items = json.loads((tiny_vqa_folder() / "train.json").read_text())[:8]
    rows = [{key: item[key] for key in ("image", "problem", "solution")} for item in items]
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "questions")
    name = "data/train-00000-of-00001.parquet"
    files = {name: (tmp_path / "questions").read_bytes()}
    files |= {
        f"data/{row['image']}": (tiny_vqa_folder() / row["image"]).read_bytes() for row in rows
    }
    monkeypatch.setattr(sys.modules[__name__], "DATA", files)
    done = fetch(hub, tmp_path, "foreverbeliever/OmniMedVQA", "--data")
    assert done.returncode == 0, done.stderr
    data, output = tmp_path / done.stdout.strip(), tmp_path / "out"
    assert files_in(data) == {*files, "SHA256SUMS", "medr1-fetch.json"}
    small = ("--num-generations", 2, "--batch-size", 4, "--max-completion-length", 4)
    needed = ("--model-path", tiny_vl_folder(), "--dataset-name", data, "--device", "cpu", *small)
    trained = medr1("train", *needed, "--max-steps", 1, "--output-dir", output)
    assert trained.returncode == 0, trained.stderr
    assert json.loads((output / "training.json").read_text())["samples"] == 8
