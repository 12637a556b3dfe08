#!/usr/bin/env bash
# Serves a checkpoint with `transformers serve` on the CPU, at http://127.0.0.1:N/v1.
#
#   bash scripts/engines/transformers_serve.sh --install-only
#   bash scripts/engines/transformers_serve.sh CHECKPOINT --port N [any option of `transformers serve`]
#
# The environment is .venv-engines/transformers_serve, or in the folder MEDR1_ENGINES_DIR. It uses the
# torch and transformers of .venv, which scripts/demo.sh or scripts/test.sh makes, and adds a web server.
set -euo pipefail
# shellcheck source=scripts/engines/common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

install() {
  beside_medr1
  pip_install --constraint "$root/scripts/constraints.txt" \
    fastapi uvicorn openai opentelemetry-api || return
  "$venv/bin/python" -c 'from transformers.utils.import_utils import is_serve_available
raise SystemExit(not is_serve_available())'
}

serve() { # CHECKPOINT, options
  export HF_HUB_OFFLINE=1
  exec "$venv/bin/python" -m transformers.cli.transformers serve "$1" \
    --host "$host" --device cpu --dtype float32 "${@:2}"
}

use_medr1_python
engine transformers_serve "$@"
