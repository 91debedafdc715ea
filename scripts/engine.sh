#!/bin/sh
# A container engine for the tests of the Docker driver: sh scripts/engine.sh start
#
# Ends with 0 when one answers, and says which; with 1 when there is none and none can be had here, and says why. An
# engine that runs is never touched. Only root gets one installed (Debian's docker.io) and started.
set -eu

log=${TMPDIR:-/tmp}/effect-sandbox-dockerd.log

say() { printf 'engine: %s\n' "$*"; }
give_up() { say "none: $*"; exit 1; }

# The server's version, from whichever engine the docker command would use.
version() { docker version --format '{{.Server.Version}} (API {{.Server.APIVersion}})' 2>/dev/null; }

found() {
  command -v docker >/dev/null 2>&1 && answer=$(version) && [ -n "$answer" ]
}

install() {
  missing=
  command -v dockerd >/dev/null 2>&1 || missing="docker.io"
  # What the test images are made of.
  command -v busybox >/dev/null 2>&1 || missing="$missing busybox-static"
  [ -n "$missing" ] || return 0
  [ "$(id -u)" = 0 ] || { say "not root, so nothing was installed:$missing"; return 0; }
  command -v apt-get >/dev/null 2>&1 || { say "no apt-get, so nothing was installed: $missing"; return 0; }
  say "installing $missing"
  # shellcheck disable=SC2086
  (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing iptables) \
    >"$log" 2>&1 || { tail -n 5 "$log"; say "the installation failed"; }
  # Other runtimes, which some tests try when they are there.
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends crun runsc >/dev/null 2>&1 || :
}

start() {
  install
  if found; then say "$answer answers${DOCKER_HOST:+ at $DOCKER_HOST}; it was left as it is"; exit 0; fi
  [ -z "${DOCKER_HOST:-}" ] || give_up "nothing answers at DOCKER_HOST=$DOCKER_HOST"
  command -v dockerd >/dev/null 2>&1 || give_up "there is no dockerd"
  [ "$(id -u)" = 0 ] || give_up "dockerd needs root"
  if [ -d /run/systemd/system ] && systemctl start docker >/dev/null 2>&1; then
    say "started with systemctl"
  elif pidof dockerd >/dev/null 2>&1; then
    say "dockerd runs but does not answer yet"
  else
    # One that was killed leaves the numbers of its processes, and takes whoever has them now for its own.
    pidof containerd >/dev/null 2>&1 || rm -f /var/run/docker/containerd/containerd.pid
    rm -f /var/run/docker.pid
    # In a session of its own: it stays when this script and its terminal go.
    setsid dockerd >"$log" 2>&1 </dev/null &
    say "started dockerd, which writes to $log"
  fi
  seconds=0
  until found; do
    seconds=$((seconds + 1))
    if [ "$seconds" -gt 60 ]; then
      [ ! -f "$log" ] || tail -n 5 "$log"
      give_up "it did not answer within 60 seconds"
    fi
    sleep 1
  done
  say "$answer answers"
}

case "${1:-}" in
  start) start ;;
  *) printf 'usage: sh scripts/engine.sh start\n' >&2; exit 2 ;;
esac
