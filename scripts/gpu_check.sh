#!/usr/bin/env bash
# Runs all measurements that need a GPU, and writes the results to one JSON file: exactness,
# seconds and memory of a training step at 3B, inference, and the tests marked `gpu`.
#   bash scripts/gpu_check.sh                          one GPU of 80 GB, 12 minutes at most
#   bash scripts/gpu_check.sh --device cpu --size 20m  the same parts on a CPU
# It sets up .venv first; `python scripts/gpu_check.py` uses the current environment.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/setup_env.sh"

case "${1:-}" in
  -h | --help) exec sed -n '2,6s/^# //p' "${BASH_SOURCE[0]}" ;;
esac
setup_env test
exec "$venv/bin/python" "$root/scripts/gpu_check.py" "$@"
