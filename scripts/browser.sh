#!/bin/sh
# What the tests of the pages and of telemetry need from Debian: sh scripts/browser.sh install
#
# Ends with 0 when Chromium is there, and says where; with 1 when it is not and cannot be had here, and says why.
# Prometheus is brought along where it can be had.
set -eu

log=${TMPDIR:-/tmp}/effect-sandbox-browser.log

say() { printf 'browser: %s\n' "$*"; }
give_up() { say "none: $*"; exit 1; }

found() { command -v chromium 2>/dev/null || command -v chromium-browser 2>/dev/null || command -v google-chrome 2>/dev/null; }

install() {
  missing=
  found >/dev/null || missing="chromium"
  command -v prometheus >/dev/null 2>&1 || missing="$missing prometheus"
  if [ -n "$missing" ]; then
    if [ "$(id -u)" != 0 ]; then say "not root, so nothing was installed: $missing"
    elif ! command -v apt-get >/dev/null 2>&1; then say "no apt-get, so nothing was installed: $missing"
    else
      say "installing $missing"
      # Fonts, so that pages and screenshots have letters.
      # shellcheck disable=SC2086
      (apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends $missing fonts-dejavu-core) >"$log" 2>&1 \
        || { tail -n 5 "$log"; say "the installation failed"; }
    fi
  fi
  browser=$(found) || give_up "Chromium is not installed"
  say "$browser"
}

case "${1:-}" in
  install) install ;;
  *) printf 'usage: sh scripts/browser.sh install\n' >&2; exit 2 ;;
esac
