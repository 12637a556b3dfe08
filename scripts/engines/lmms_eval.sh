#!/usr/bin/env bash
# Runs lmms-eval on the CPU, with the torch and transformers of .venv.
#
#   bash scripts/engines/lmms_eval.sh --install-only
#   bash scripts/engines/lmms_eval.sh eval [any option of lmms-eval]
#
# The environment is .venv-engines/lmms_eval, or in the folder MEDR1_ENGINES_DIR.
set -euo pipefail
# shellcheck source=scripts/engines/common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

# Without its dependencies, which are 3 GB and partly older than medr1's; these are what a task of
# medr1 and a Qwen-VL need of them.
install() {
  beside_medr1
  pip_install --no-deps lmms-eval==0.7.3 &&
    pip_install evaluate loguru pytablewriter pytz tenacity decord 2>/dev/null &&
    "$venv/bin/python" -c 'import lmms_eval.evaluator'
}

run() { # ARGUMENTS
  export HF_HUB_OFFLINE="${HF_HUB_OFFLINE:-1}"
  exec "$venv/bin/python" -m lmms_eval "$@"
}

use_medr1_python
tool lmms_eval "$@"
