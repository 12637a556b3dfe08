#!/usr/bin/env bash
# Makes .venv, installs medr1 with its test tools, and runs the checks: style, types, tests.
#   bash scripts/test.sh [--install-only] [--slow | --engines | --coverage] [pytest's arguments]
# --install-only stops after the set-up. --slow runs the slow tests and nothing else. --engines runs the
# tests with servers of other engines, and makes their environments (scripts/engines; 5 GB). --coverage
# runs the default and the slow tests, shows which lines of medr1 they run, and fails below the goals.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/setup_env.sh"

install_only='' slow='' engines='' coverage=''
while [ $# -gt 0 ]; do
  case "$1" in
    --install-only) install_only=yes ;;
    --slow) slow=yes ;;
    --engines) engines=yes ;;
    --coverage) coverage=yes ;;
    -h | --help) exec sed -n '2,6s/^# //p' "${BASH_SOURCE[0]}" ;;
    *) break ;;
  esac
  shift
done

setup_env test
if [ -n "$install_only" ]; then exit; fi

cd "$root"
python="$venv/bin/python"
parallel=(--numprocesses auto --maxprocesses 4 --dist worksteal)
if [ -n "$slow" ]; then
  if [ $# = 0 ]; then set -- "${parallel[@]}"; fi
  exec "$python" -m pytest -m 'slow and not gpu' "$@"
fi
if [ -n "$engines" ]; then # in one process: each server needs all cores
  exec "$python" -m pytest -m engines -rs "$@"
fi
if [ -n "$coverage" ]; then
  if [ $# = 0 ]; then set -- "${parallel[@]}"; fi
  "$python" -m pytest -m 'not gpu and not engines' --cov --cov-report= "$@"
  exec "$python" scripts/check_coverage.py
fi
"$python" -m ruff check
"$python" -m ruff format --check
"$python" -m mypy
if [ $# = 0 ]; then set -- "${parallel[@]}"; fi
exec "$python" -m pytest "$@"
