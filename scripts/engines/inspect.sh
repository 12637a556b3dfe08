#!/usr/bin/env bash
# Runs inspect_ai with medr1's task and scorer, beside what .venv has.
#
#   bash scripts/engines/inspect.sh --install-only
#   bash scripts/engines/inspect.sh eval medr1/vqa -T data=questions.json --model NAME
#   bash scripts/engines/inspect.sh -m medr1 eval logs/LOG.eval
#
# With -m, it runs a Python module of this environment. The environment is .venv-engines/inspect, or
# in the folder MEDR1_ENGINES_DIR.
set -euo pipefail
# shellcheck source=scripts/engines/common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

install() {
  beside_medr1
  pip_install inspect-ai==0.3.285 &&
    "$venv/bin/python" -c 'import inspect_ai'
}

run() { # ARGUMENTS
  if [ "$1" = -m ]; then exec "$venv/bin/python" "$@"; fi
  exec "$venv/bin/inspect" "$@"
}

use_medr1_python
tool inspect "$@"
