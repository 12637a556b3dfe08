#!/usr/bin/env bash
# Serves a checkpoint with mlx-vlm, at http://127.0.0.1:N/v1: on Apple silicon, and on the CPU of Linux.
#
#   bash scripts/engines/mlx.sh --install-only
#   bash scripts/engines/mlx.sh CHECKPOINT --port N [any option of mlx_vlm.server]
#
# The environment is .venv-engines/mlx, or in the folder MEDR1_ENGINES_DIR. It needs 1.1 GB of disk.
# The checkpoint is the output of `medr1 export --for mlx`: the config.json of a Qwen2-VL or Qwen2.5-VL
# needs the settings of the language model at the top level.
set -euo pipefail
# shellcheck source=scripts/engines/common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

install() {
  local mlx='mlx[cpu]==0.32.4'
  if [ "$(uname)" = Darwin ]; then mlx='mlx==0.32.4'; fi
  pip_install "$mlx" mlx-vlm==0.7.10 || return
  "$venv/bin/python" -c 'import mlx_vlm.server'
}

serve() { # CHECKPOINT, options
  "$venv/bin/python" - "$1/config.json" <<'PYTHON' || fail "$1/config.json is not flat. Use medr1 export --for mlx."
import json
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    config = json.load(file)
sys.exit(config["model_type"] in ("qwen2_vl", "qwen2_5_vl") and "hidden_size" not in config)
PYTHON
  export HF_HUB_OFFLINE=1
  # --max-num-seqs 1: all requests of a batch get temperature, seed and logprobs of its first request
  exec "$venv/bin/python" -m mlx_vlm.server --model "$1" --host "$host" \
    --max-num-seqs 1 --top-logprobs-k 20 "${@:2}"
}

engine mlx "$@"
