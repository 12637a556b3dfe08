# Sourced by the scripts of this folder, each of which serves a checkpoint with one engine, or runs
# another evaluation tool, from an environment of its own. A script defines `install` (which fills the
# environment $venv) and `serve` or `run` (which execs the server or tool), and ends with
# `engine NAME "$@"` or `tool NAME "$@"`. If what is installed depends on something
# outside these scripts, $base tells it. All messages of these scripts go to stderr.
# `install` is called where set -e has no effect. It runs in macOS's bash 3.2.
# shellcheck shell=bash

root="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)"
script="$0"
python="${PYTHON:-python3}" # which makes the environment
# The servers have no password, so only this machine may reach them.
# shellcheck disable=SC2034 # the scripts that source this use it
host=127.0.0.1

say() { printf '%s\n' "$*" >&2; }
fail() {
  say "Error: $*"
  exit 2
}

engine() { # NAME, and the arguments of the script
  local name="$1"
  shift
  venv="${MEDR1_ENGINES_DIR:-$root/.venv-engines}/$name"
  case "${1:-}" in
    "" | -h | --help)
      sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p;}' "$script"
      if [ -n "${1:-}" ]; then exit 0; else exit 2; fi
      ;;
    --install-only) set_up "$name" ;;
    -*) fail "the checkpoint comes first, then the options of the server; got $1." ;;
    *)
      [ -f "$1/config.json" ] || fail "$1 is not a checkpoint: it has no config.json."
      set_up "$name"
      serve "$@"
      ;;
  esac
}

tool() { # NAME, and the arguments of the script
  local name="$1"
  shift
  venv="${MEDR1_ENGINES_DIR:-$root/.venv-engines}/$name"
  case "${1:-}" in
    "") sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p;}' "$script" && exit 2 ;;
    --install-only) set_up "$name" ;;
    *) set_up "$name" && run "$@" ;;
  esac
}

beside_medr1() { # lets the environment use what .venv has
  # addsitedir, unlike a line with the path alone, also reads the .pth files of .venv
  printf 'import site; site.addsitedir("%s")\n' "$(site_packages "$python")" \
    >"$(site_packages "$venv/bin/python")/medr1-venv.pth"
}

use_medr1_python() { # of .venv, so that both have the same version
  python="$root/.venv/bin/python"
  # shellcheck disable=SC2034 # fingerprint uses it
  base="$root $(cat "$root/scripts/constraints.txt")"
  runs "$python" || fail "there is no .venv yet. Run bash scripts/demo.sh or bash scripts/test.sh first."
}

set_up() { # NAME; once for each state of the scripts
  local started=$SECONDS
  if is_installed; then return; fi
  mkdir -p "$venv"
  take_lock
  if ! is_installed; then # another set-up may have installed it while this one waited
    say "Installing $1 in $venv; this takes minutes."
    runs "$venv/bin/python" || make_venv
    install >&2 || fail "could not install $1; what was said is above. Run this again to resume."
    fingerprint >"$venv/medr1-installed"
    say "Installed $1 after $((SECONDS - started)) s; from now on it starts at once."
  fi
  exec 9>&-
}

is_installed() {
  runs "$venv/bin/python" && [ "$(fingerprint)" = "$(cat "$venv/medr1-installed" 2>/dev/null)" ]
}

fingerprint() { # of all that decides on what is installed
  { printf '%s\n' "${base:-}" && cat "$script" "$root/scripts/engines/common.sh"; } | cksum
}

runs() { "$1" -S -c "" >/dev/null 2>&1; } # -S: without what an environment loads at the start

make_venv() {
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$python is not Python 3.11 or newer. Put PYTHON=/path/to/python3.12 before the command."
  "$python" -m venv "$venv" >&2 || fail "$python could not make $venv; what it said is above."
}

take_lock() { # on file descriptor 9, so that the lock ends with this process in any case
  exec 9>"$venv/medr1-lock"
  "$python" -c 'import fcntl
try:
    fcntl.flock(9, fcntl.LOCK_EX)
except OSError:
    pass  # a file system without locks
'
}

pip_install() { "$venv/bin/python" -m pip install --no-input --disable-pip-version-check --quiet "$@"; }

site_packages() { # PYTHON
  "$1" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'
}
