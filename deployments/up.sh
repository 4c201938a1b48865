#!/usr/bin/env bash
# A Prefect server, the deployments and a worker on this machine, until Ctrl-C.
# PORT (4200) is the server's. With PREFECT_API_URL set, that server is used and none is started.
set -euo pipefail
cd "$(dirname "$0")/.."

export PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=true
# Whose run it is that no other may join; in memory, a server started anew would forget it.
export PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE=prefect.server.concurrency.lease_storage.filesystem
command -v curl >/dev/null || { echo "deployments/up.sh needs curl." >&2; exit 1; }
PREFECT="${PYTHON:-.venv/bin/python} -m prefect --no-prompt"

# What is started below is a process group each, with all that comes of it. Without, bash has it
# ignore SIGINT, which is what a worker ends itself with.
set -m

stop() {
  trap - EXIT INT TERM
  # Runs first, who report to the server; that waits for clients that are gone: ten seconds.
  for job in $(jobs -p | tac); do
    kill -TERM -- "-$job" 2>/dev/null || continue
    for _ in $(seq 40); do
      kill -0 -- "-$job" 2>/dev/null || break
      sleep 0.25
    done
    kill -KILL -- "-$job" 2>/dev/null || true
  done
  wait
}
trap stop EXIT INT TERM

if [ -z "${PREFECT_API_URL:-}" ]; then
  PORT="${PORT:-4200}"
  ${PYTHON:-.venv/bin/python} -m flows.server "$PORT"
  export PREFECT_API_URL="http://127.0.0.1:$PORT/api"
  $PREFECT server start --host 127.0.0.1 --port "$PORT" >/dev/null &
  for _ in $(seq 300); do
    curl --silent --fail --max-time 5 "$PREFECT_API_URL/health" >/dev/null && break
    kill -0 $! 2>/dev/null || { echo "The Prefect server ended; look with: prefect server start" >&2; exit 1; }
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
