# Sourced by demo.sh and test.sh: `setup_env EXTRA` makes .venv and installs medr1[EXTRA] in it,
# once for each state of pyproject.toml and constraints.txt. With MEDR1_NEWEST=1, it installs the newest
# versions that pyproject.toml allows, without constraints.txt. It runs in macOS's bash 3.2. All its
# messages go to stderr, so that stdout has only the result of the command.
# shellcheck shell=bash

root="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
venv="$root/.venv"
stamp="$venv/medr1-installed"      # what was installed: "EXTRA FINGERPRINT"
kept_torch="$venv/medr1-torch.txt" # versions of a torch that was installed before, or empty

say() { printf '%s\n' "$*" >&2; }
fail() {
  say "Error: $*"
  exit 2
}

setup_env() { # EXTRA: train | test, which includes train
  local started=$SECONDS
  refuse_other_python
  if is_installed "$1"; then return; fi
  trap 'exit 130' INT
  if runs "$venv/bin/python"; then python="$venv/bin/python"; else find_python; fi
  take_lock
  if ! is_installed "$1"; then # another set-up may have installed it while this one waited
    rm -f "$stamp"
    make_venv
    install "$1"
    printf '%s %s\n' "$1" "$(fingerprint)" >"$stamp"
    say "Installed in .venv after $((SECONDS - started)) s; from now on it starts at once."
  fi
  exec 9>&-
  trap - INT
}

runs() { "$1" -c '' >/dev/null 2>&1; }

fingerprint() { # includes the checkout's path, which an editable install refers to
  { printf '%s\n' "$root" "${MEDR1_NEWEST:-}" && "$venv/bin/python" --version &&
    cat "$root/pyproject.toml" "$root/scripts/constraints.txt"; } 2>&1 | cksum
}

is_installed() {
  local extra recorded
  [ -f "$stamp" ] && runs "$venv/bin/python" || return 1
  read -r extra recorded <"$stamp"
  [ "$recorded" = "$(fingerprint)" ] && { [ "$extra" = "$1" ] || [ "$extra" = test ]; }
}

refuse_other_python() {
  local show='import sys; print("%d.%d" % sys.version_info[:2])' named ours
  if [ -z "${PYTHON:-}" ] || ! runs "$venv/bin/python"; then return; fi
  named="$("$PYTHON" -c "$show" 2>/dev/null)" || fail "PYTHON=$PYTHON does not run. Correct it."
  ours="$("$venv/bin/python" -c "$show")"
  [ "$named" = "$ours" ] ||
    fail ".venv holds Python $ours and PYTHON names $named. Delete .venv, or leave PYTHON unset."
}

find_python() { # sets $python: $PYTHON, or python3, or another tested version
  local candidate newer='' incomplete='' hint='PYTHON=/path/to/python3.12 before the command'
  if [ -n "${PYTHON:-}" ]; then set -- "$PYTHON"; else set -- python3{,.13,.12,.11}; fi
  for candidate in "$@"; do
    case "$(judge_python "$candidate")" in
      tried) python="$candidate" && return ;;
      newer) newer="${newer:-$candidate}" ;;
      no-venv) incomplete="${incomplete:-$candidate}" ;;
    esac
  done
  if [ -n "$newer" ]; then
    python="$newer"
    say "Note: medr1 is tried on Python 3.11 to 3.13, and $python is newer."
  elif [ -n "$incomplete" ]; then
    fail "$incomplete cannot make a virtual environment." \
      "Install its venv module (Debian and Ubuntu: apt install python3-venv), or put $hint."
  else
    fail "medr1 needs Python 3.11 or newer, which ${PYTHON:-python3 here} is not." \
      "Install one, or put $hint."
  fi
}

judge_python() { # prints tried | newer | old | no-venv; nothing if it does not run
  "$1" -c 'import sys
if sys.version_info < (3, 11):
    print("old")
else:
    try:
        import ensurepip, venv
        print("tried" if sys.version_info < (3, 14) else "newer")
    except ImportError:
        print("no-venv")' 2>/dev/null || true
}

take_lock() { # on file descriptor 9, so that the lock ends with this process in any case
  exec 9<>"$root/pyproject.toml"
  "$python" -c 'import fcntl, sys
try:
    fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("Another set-up of .venv is under way; waiting for it.", file=sys.stderr)
    fcntl.flock(9, fcntl.LOCK_EX)
except OSError:
    pass  # a file system without locks
'
}

make_venv() {
  local pins='' site
  if [ ! -f "$kept_torch" ]; then # only the first time: later, .venv has a torch of its own
    pins="$(find_torch)" || pins=''
    if [ -n "$pins" ]; then say "Keeping $(printf '%s' "$pins" | tr '\n' ' ' | sed 's,# from,of,')."; fi
  fi
  if ! runs "$venv/bin/python"; then
    say "Making .venv with $("$python" --version 2>&1)."
    "$python" -m venv --clear ${pins:+--system-site-packages} "$venv" >&2 ||
      fail "$python could not make .venv; what it said is above."
    if [ -n "$pins" ] && ! "$venv/bin/python" -c 'import torch' 2>/dev/null; then
      # $python is itself in a virtual environment, whose packages a new one does not find
      site="$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
      printf '%s\n' "$pins" | sed -n 's/^# from //p' >"$site/medr1-torch.pth"
    fi
  fi
  if [ ! -f "$kept_torch" ]; then printf '%s\n' "$pins" >"$kept_torch"; fi
}

find_torch() { # prints versions and folder of torch and torchvision; fails if they are unusable
  (cd "$root" && "$python" - 2>/dev/null) <<'PYTHON'
import re
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import torch
import torchvision

torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)  # fails if the versions do not match
with open("pyproject.toml", "rb") as file:
    ranges = tomllib.load(file)["project"]["dependencies"]
for name in ("torch", "torchvision"):
    least = next(r.removeprefix(f"{name}>=") for r in ranges if r.startswith(f"{name}>="))
    needed = [int(part) for part in least.split(".")]
    numbers, early = re.match(r"([\d.]*\d)\.?(a|b|rc|dev)?", version(name)).groups()
    found = [int(part) for part in numbers.split(".")][: len(needed)]
    if (found, not early) < (needed, True):
        sys.exit(1)
    print(f"{name}=={version(name)}")
print("# from", Path(torch.__file__).parent.parent)
PYTHON
}

install() ( # EXTRA
  local constraints="$venv/medr1-constraints.txt"
  local versions="$root/scripts/constraints.txt" upgrade=''
  if [ -n "${MEDR1_NEWEST:-}" ]; then versions=/dev/null upgrade=yes; fi
  cat "$versions" >"$constraints"
  if [ -s "$kept_torch" ] && grep -q '^torch==' "$kept_torch"; then
    { sed -E '/^(torch|torchvision)==/d' "$versions" && cat "$kept_torch"; } >"$constraints"
    say "Installing medr1[$1] beside it: some hundred MB to download, a few minutes."
  else
    say "Installing medr1[$1]: 3 GB to download, 6 GB on disk, 5 to 15 minutes the first time."
  fi
  cd "$root" || exit # so that pip gets "." instead of a path that may have spaces
  runs_pip || "$venv/bin/python" -m ensurepip >/dev/null || fail "cannot install pip in .venv."
  # of pip's stdout only the large downloads are shown; its stderr is shown completely, without the
  # warning of setuptools at every editable install
  PYTHONWARNINGS=ignore "$venv/bin/python" -m pip install --no-input --disable-pip-version-check \
    ${upgrade:+--upgrade --upgrade-strategy eager} --constraint "$constraints" --editable ".[$1]" |
    sed -nE 's#^ *(Downloading|Using cached) ([^ ]*/)?([^/ -]+)-([^- ]+)-[^ ]* \(([0-9.]+ [MG]B)\)$#  \3 \4, \5#p' >&2 ||
    fail "pip could not install medr1; what it said is above. Run this again to go on."
  "$venv/bin/python" -c 'import medr1, torch, torchvision, transformers' ||
    fail "what was installed does not load. Delete .venv and run this again."
)

runs_pip() { "$venv/bin/python" -c 'import pip' 2>/dev/null; }
