#!/bin/sh
# Runs a task of the workspace, after installing what it needs: sh scripts/run.sh <task> [arguments]
#
# Works with npm and whatever Node is there (18 or newer). pnpm comes through npx, and tasks run on the Node that the
# `node` dev dependency brings.
set -eu

PNPM_VERSION=12.21.0
NODE_MAJOR=24
STAMP=node_modules/.install-stamp

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

usage() {
  cat >&2 <<'TEXT'
usage: sh scripts/run.sh <task> [arguments]

  install       install the dependencies, and nothing else
  start         the main example: a grader (npm start -- --help)
  test          the tests (arguments go to vitest)
  test:long     100,000 random programs (--help)
  mutate        plants bugs in a copy of the core, each of which the random programs must find (--help)
  check         types of packages, tests, examples, bench and scripts
  lint          oxlint and Effect's diagnostics
  format        format the code; format:check only looks
  build         packages/*/dist, and the pages of devtools
  pages         only the pages of devtools
  bench         benchmarks
  bench:docker  benchmarks of the Docker driver, on a real engine (--quick)
  examples      run every examples/*.ts
  pack          pack the packages, check the tarballs, and use them as a user would
  docs          API reference into docs/api
  docs:check    compile the code in the documentation, and follow its links
  ci            what a submission must pass
TEXT
}

# Everything that decides what node_modules holds.
fingerprint() {
  cat pnpm-lock.yaml pnpm-workspace.yaml package.json packages/*/package.json examples/package.json bench/package.json docs/package.json \
    | cksum
}

node_works() {
  case "$(node_modules/.bin/node --version 2>/dev/null || true)" in
    v$NODE_MAJOR.*) return 0 ;;
    *) return 1 ;;
  esac
}

pnpm() {
  case "$(COREPACK_ENABLE_DOWNLOAD_PROMPT=0 command pnpm --version 2>/dev/null </dev/null || true)" in
    "${PNPM_VERSION%%.*}".*) command pnpm "$@" ;;
    *) npx --yes "pnpm@$PNPM_VERSION" "$@" ;;
  esac
}

install() {
  wanted=$(fingerprint)
  if [ -f "$STAMP" ] && [ "$(cat "$STAMP")" = "$wanted" ] && node_works; then return 0; fi
  command -v npm >/dev/null 2>&1 || die "npm is missing; install Node 18 or newer with npm"
  say "Installing dependencies (once, and when the lockfile changes) ..."
  rm -f "$STAMP"
  log=$(mktemp)
  # CI=true: pnpm asks nothing. Without the old node_modules/.bin the system's Node runs pnpm.
  if ! CI=true pnpm install --frozen-lockfile >"$log" 2>&1 </dev/null; then
    cat "$log" >&2
    rm -f "$log"
    die "the installation failed; after a change of a package.json run: npx pnpm@$PNPM_VERSION install --no-frozen-lockfile"
  fi
  rm -f "$log"
  node_works || die "node_modules/.bin/node is not Node $NODE_MAJOR: the install script of the package 'node' did not run"
  printf '%s\n' "$wanted" >"$STAMP"
  say "Installed."
}

# The pages of devtools, which the package reads when it makes one; built anew when something of theirs changed.
pages() {
  stamp=packages/devtools/web-dist/.stamp
  wanted=$(find packages/devtools/web packages/devtools/src pnpm-lock.yaml -type f -exec cksum {} + | sort | cksum)
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then return 0; fi
  node packages/devtools/web/build.ts >&2 || die "the pages of devtools could not be built"
  printf '%s\n' "$wanted" >"$stamp"
}

check() {
  tsc -b tsconfig.json "$@"
  tsc -p packages/devtools/web/tsconfig.json
}

build() {
  pages
  tsc -b tsconfig.build.json
}

lint() {
  oxlint --deny-warnings
  for project in packages/*/tsconfig.json tsconfig.test.json; do
    say "effect-tsgo $project"
    effect-tsgo diagnostics --project "$root/$project" --strict --format text
  done
}

examples() {
  for file in examples/*.ts; do
    [ -f "$file" ] || { say "no examples yet"; return 0; }
    say "--- $file"
    node "$file" </dev/null || die "$file failed"
  done
}

task=${1:-}
[ $# -eq 0 ] || shift
# As after npm: what follows are arguments. vitest would take it for the end of its filters.
[ "${1:-}" != -- ] || shift
case "$task" in
  install | pages | start | test | test:long | mutate | check | lint | format | format:check | build | bench | bench:docker | examples | pack | docs | docs:check) install ;;
  ci) exec bash .ci/run ;;
  '' | help | -h | --help) usage; exit 0 ;;
  *) usage; die "unknown task: $task" ;;
esac

PATH="$root/node_modules/.bin:$PATH"
export PATH

case "$task" in
  install) ;;
  pages) pages ;;
  start) pages; exec node examples/grade/main.ts "$@" ;;
  test) pages; exec vitest run "$@" ;;
  test:long) exec node scripts/long.ts "$@" ;;
  mutate) exec node scripts/mutate.ts "$@" ;;
  check) check "$@" ;;
  lint) lint ;;
  format) exec oxfmt "$@" ;;
  format:check) exec oxfmt --check "$@" ;;
  build) build ;;
  bench) pages; exec node --expose-gc bench/main.ts "$@" ;;
  bench:docker) exec node --expose-gc bench/docker.ts "$@" ;;
  examples) pages; examples ;;
  pack) build; exec node scripts/pack-check.ts "$@" ;;
  docs) exec docs/node_modules/.bin/typedoc --options typedoc.json "$@" ;;
  docs:check) exec node scripts/check-docs.ts "$@" ;;
esac
