#!/usr/bin/env bash
# Makes .venv, installs medr1 in it and runs `medr1 demo` with the given arguments.
#   bash scripts/demo.sh
#   bash scripts/demo.sh --seed 1 --json
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/setup_env.sh"

setup_env train
exec "$venv/bin/medr1" demo "$@"
