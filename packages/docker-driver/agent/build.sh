#!/bin/sh
# Builds the agent for every platform into prebuilt/, the same to the byte wherever the same tools are used.
#
#   sh build.sh          builds, and notes down checksums and tools
#   sh build.sh --check  builds elsewhere, and compares
#
# Needs (Debian): gcc, gcc-aarch64-linux-gnu or gcc-x86-64-linux-gnu for the other platform, and musl-dev of both
# architectures (dpkg --add-architecture arm64; apt-get install musl-dev:amd64 musl-dev:arm64).
set -eu
cd "$(dirname "$0")"
export LC_ALL=C SOURCE_DATE_EPOCH=0

SOURCES=$(ls src/*.c)
# Names the binary by what it was made from.
BUILD=$(cat $SOURCES $(ls src/*.h) | sha256sum | cut -c 1-16)

FLAGS="-std=c11 -D_GNU_SOURCE -Wall -Wextra -Wconversion -Wshadow -Werror
  -O2 -g0 -fno-ident -fstack-protector-strong -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables
  -ffile-prefix-map=$PWD=. -DBUILD=\"$BUILD\""
LINK="-static -pthread -s -Wl,--build-id=none -Wl,--gc-sections -Wl,--hash-style=gnu -Wl,-z,noexecstack -Wl,-z,relro"

triplet() {
  case $1 in
    amd64) echo x86_64-linux ;;
    arm64) echo aarch64-linux ;;
  esac
}

compile() { # platform, output
  prefix=$(triplet "$1")
  extra=
  # Else libgcc brings a choice of atomic instructions at run time, which this program does not need.
  [ "$1" = arm64 ] && extra=-mno-outline-atomics
  # Not through the names musl-gcc and gcc, which mean the machine that builds.
  $prefix-gnu-gcc -specs "/usr/lib/$prefix-musl/musl-gcc.specs" $FLAGS $extra $LINK -o "$2" $SOURCES
}

tools() {
  for platform in amd64 arm64; do
    prefix=$(triplet "$platform")
    echo "$platform: $($prefix-gnu-gcc --version | head -n 1)"
    echo "$platform: $($prefix-gnu-ld --version | head -n 1)"
    echo "$platform: musl libc.a $(sha256sum < "/usr/lib/$prefix-musl/libc.a" | cut -d ' ' -f 1)"
  done
}

build() { # directory
  mkdir -p "$1"
  for platform in amd64 arm64; do compile "$platform" "$1/agent-$platform"; done
  (cd "$1" && sha256sum agent-amd64 agent-arm64 > SHA256SUMS)
  tools > "$1/TOOLCHAIN"
}

case "${1-}" in
  "")
    build prebuilt
    cat prebuilt/SHA256SUMS
    ;;
  --check)
    there=$(mktemp -d)
    trap 'rm -rf "$there"' EXIT
    (cd prebuilt && sha256sum --quiet -c SHA256SUMS) || { echo "prebuilt/ does not match its own SHA256SUMS" >&2; exit 1; }
    build "$there"
    if diff "prebuilt/SHA256SUMS" "$there/SHA256SUMS" > "$there/difference"; then
      echo "prebuilt binaries are what these sources make (build $BUILD)"
    else
      cat "$there/difference" >&2
      if diff "prebuilt/TOOLCHAIN" "$there/TOOLCHAIN" >&2; then
        echo "the prebuilt binaries are not what these sources make: run build.sh and commit what it writes" >&2
        exit 1
      fi
      echo "cannot compare: the tools here are not those that prebuilt/TOOLCHAIN names" >&2
      exit 2
    fi
    ;;
  *)
    echo "usage: sh build.sh [--check]" >&2
    exit 64
    ;;
esac
