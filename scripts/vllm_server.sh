#!/usr/bin/env bash
# Serves a checkpoint with vLLM for training in TRL's server mode. NOT RUN yet: it needs separate
# GPUs. It was only checked that pip finds matching versions for it (vLLM 0.31, torch 2.13).
#
#   bash scripts/vllm_server.sh CHECKPOINT [any option of `trl vllm-serve`]
#   CUDA_VISIBLE_DEVICES=0 bash scripts/vllm_server.sh Qwen/Qwen2.5-VL-3B-Instruct --port 8000
#
# Then train on the other GPUs, from the same environment, which TRL's client needs too:
#   CUDA_VISIBLE_DEVICES=1,2,3 .venv-vllm/bin/torchrun --nproc_per_node 3 -m medr1 train \
#     --config configs/grpo.yaml --use-vllm --vllm-mode server --vllm-server-port 8000
#
# vLLM needs older versions of torch and transformers than medr1 is tested with; therefore it has
# its own environment, .venv-vllm. PYTHON=/path/to/python3.12 chooses another Python.
set -euo pipefail
root="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
venv="$root/.venv-vllm"

case "${1:-}" in
  "" | -h | --help)
    sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
    if [ -n "${1:-}" ]; then exit 0; else exit 2; fi
    ;;
esac

if [ ! -x "$venv/bin/trl" ]; then
  "${PYTHON:-python3}" -m venv "$venv" >&2
  "$venv/bin/python" -m pip install -e "$root[vllm]" >&2
fi
exec "$venv/bin/trl" vllm-serve --model "$@"
