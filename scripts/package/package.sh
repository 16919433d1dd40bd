#!/usr/bin/env bash
# ./dev package: builds the Debian package and tries it in fresh systems. See ./dev package --help.
set -euo pipefail
cd "$(dirname "$0")/../.."

WORK=$PWD/build/package
# shellcheck disable=SC1091
. /etc/os-release
OWN=$VERSION_CODENAME
SUITES=$OWN

die() {
  echo "package: $*" >&2
  exit 1
}

while [ $# -gt 0 ]; do
  case "$1 ${2:-}" in
    "--suite both") SUITES="bookworm trixie" ;;
    "--suite bookworm" | "--suite trixie") SUITES=$2 ;;
    *) die "unknown argument '$1 ${2:-}': ./dev package --help" ;;
  esac
  shift 2
done
[ "$(id -u)" = 0 ] || die "must run as root: it makes root file systems and installs in them"
mkdir -p "$WORK"
VERSION=$(sed -n 's/^project(overlayd VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)
JOBS=${JOBS:-$(nproc)}

# inside ROOT COMMAND: in a mount namespace of its own, with what programs expect of a system.
inside() {
  local root=$1
  shift
  # shellcheck disable=SC2016 # expanded by the shell inside
  unshare --mount --pid --fork --kill-child sh -euc '
    root=$1
    shift
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs tmpfs "$root/run"
    [ ! -d "$root/src" ] || mount --bind -o ro "$OVERLAY_SOURCE" "$root/src"
    [ ! -d "$root/cache" ] || mount --bind "$OVERLAY_CACHE" "$root/cache"
    exec chroot "$root" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
      DEBIAN_FRONTEND=noninteractive "$@"' sh "$root" "$@"
}

# The package for SUITE, in $WORK/SUITE/*.deb. (Called where `set -e` does not hold: each step says what failure means.)
build() {
  local suite=$1 release=$WORK/os-release packages
  rm -rf "${WORK:?}/$suite"
  mkdir -p "$WORK/$suite"
  if [ "$suite" = "$OWN" ]; then
    ./dev build release overlayd overlayctl &&
      cpack --config build/release/CPackConfig.cmake -G DEB -B "$WORK/$suite" >/dev/null
    return
  fi
  local root=$WORK/$suite-build
  if [ ! -e "$root/made" ]; then
    rm -rf "$root"
    printf 'ID=debian\nVERSION_ID=%s\n' "$([ "$suite" = bookworm ] && echo 12 || echo 13)" >"$release"
    # cpack asks `file` what it packs.
    packages=$(OVERLAY_OS_RELEASE=$release scripts/setup.sh --list build | paste -sd,),file
    scripts/debian_root.sh "$suite" "$root" --include="$packages" || return
    mkdir -p "$root/src" "$root/cache" "$root/out"
    touch "$root/made"
  fi
  inside "$root" sh -euc "
    export CCACHE_DIR=/cache CCACHE_BASEDIR=/src CCACHE_NOHASHDIR=1
    cd /src
    cmake --preset release -B /out -DBUILD_TESTING=OFF >/out/configure.log
    cmake --build /out -j $JOBS --target overlayd overlayctl
    cpack --config /out/CPackConfig.cmake -G DEB -B /out/package >/dev/null" || return
  mv "$root"/out/package/*.deb "$WORK/$suite/"
  rm -rf "$root/out/package"
}

# What the package does to a fresh system of SUITE.
try() {
  local suite=$1 root=$WORK/$1-fresh
  rm -rf "$root"
  scripts/debian_root.sh "$suite" "$root" --include=systemd || return
  cp "$WORK/$suite"/*.deb "$root/tmp/overlayd.deb"
  cp /etc/resolv.conf "$root/etc/resolv.conf"
  cp scripts/package/try.sh "$root/tmp/try.sh"
  inside "$root" sh /tmp/try.sh "$VERSION" || return
  rm -rf "$root"
}

export OVERLAY_SOURCE=$PWD OVERLAY_CACHE=${CCACHE_DIR:-$HOME/.cache/ccache}
mkdir -p "$OVERLAY_CACHE"
for suite in $SUITES; do
  began=$SECONDS
  echo "package: building for $suite (log: $WORK/$suite.log)"
  build "$suite" >"$WORK/$suite.log" 2>&1 || {
    tail -n 40 "$WORK/$suite.log" >&2
    die "the build for $suite failed"
  }
  built=$SECONDS
  try "$suite" >>"$WORK/$suite.log" 2>&1 || {
    tail -n 40 "$WORK/$suite.log" >&2
    die "the package does not do in a fresh $suite"
  }
  echo "package: $(echo "$WORK/$suite"/*.deb), $(($(stat -c %s "$WORK/$suite"/*.deb) / 1000)) kB; built in" \
    "$((built - began)) s; installed, tried, removed and purged in a fresh $suite in $((SECONDS - built)) s"
done
