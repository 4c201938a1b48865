#!/usr/bin/env bash
# A Prefect server, the deployments and a worker on this machine, until Ctrl-C.
# PORT (4200) is the server's. With PREFECT_API_URL set, that server is used and none is started.
set -euo pipefail
cd "$(dirname "$0")/.."

export PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=true
PREFECT="${PYTHON:-.venv/bin/python} -m prefect --no-prompt"
trap 'trap - EXIT INT TERM; kill $(jobs -p) 2>/dev/null; wait' EXIT INT TERM

if [ -z "${PREFECT_API_URL:-}" ]; then
  export PREFECT_API_URL="http://127.0.0.1:${PORT:-4200}/api"
  $PREFECT server start --host 127.0.0.1 --port "${PORT:-4200}" >/dev/null &
  for _ in $(seq 300); do
    curl --silent --fail "$PREFECT_API_URL/health" >/dev/null && break
    sleep 1
  done
  # This server's runs are all of this machine: those that it stopped in hold up no others.
  ${PYTHON:-.venv/bin/python} -m flows.server
fi

$PREFECT work-pool create signatures --type process --overwrite
$PREFECT deploy --all --prefect-file deployments/prefect.yaml
echo "Runs: ${PREFECT_API_URL%/api}   Now instead of at night: prefect deployment run nightly-retrain/nightly"
$PREFECT worker start --pool signatures &
wait
