#!/bin/sh
# What is done with the C agent of the Docker driver: sh scripts/agent.sh <task>
#
#   tools      installs what the others need, when root on a Debian
#   check      builds the agent for both platforms and compares with what is in the package; 2 when tools differ
#   sanitized  its tests and the conformance suite on a build with sanitizers
#   fuzz [s]   feeds the decoders for so many seconds (default 30)
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
agent="$root/packages/docker-driver/agent"

say() { printf 'agent: %s\n' "$*"; }

tools() {
  [ "$(dpkg --print-architecture 2>/dev/null)" = amd64 ] || { say "tools are installed on a Debian for amd64 only"; return 0; }
  wanted="make clang libclang-rt-14-dev gcc gcc-aarch64-linux-gnu musl-tools musl-dev:amd64 musl-dev:arm64"
  # shellcheck disable=SC2086
  ! dpkg-query -W $wanted >/dev/null 2>&1 || return 0
  [ "$(id -u)" = 0 ] || { say "not root, so nothing was installed; needed: $wanted"; return 0; }
  say "installing $wanted"
  log=$(mktemp)
  # shellcheck disable=SC2086
  if dpkg --add-architecture arm64 && apt-get update -qq &&
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $wanted; then :; else
    tail -n 5 "$log" >&2
    say "the installation failed"
  fi >"$log" 2>&1
  rm -f "$log"
}

case "${1:-}" in
  tools) tools ;;
  check) tools; exec sh "$agent/build.sh" --check ;;
  sanitized)
    tools
    make -C "$agent" --silent sanitized
    SANDBOX_TEST_AGENT="$agent/build/agent-sanitized" exec sh "$root/scripts/run.sh" test --project docker-driver agent
    ;;
  fuzz)
    tools
    make -C "$agent" --silent fuzz
    mkdir -p "$agent/build/corpus"
    cd "$agent"
    exec build/fuzz-frames -max_len=20000 -max_total_time="${2:-30}" -print_final_stats=1 -rss_limit_mb=2048 \
      -artifact_prefix=build/ build/corpus fuzz/corpus
    ;;
  *) sed -n '2,7p' "$0" | sed 's/^# \{0,1\}//' >&2; exit 2 ;;
esac
