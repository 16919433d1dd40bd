#!/usr/bin/env bash
# A network of two versions: today's overlayd, and the one of an older commit. See --help.
set -euo pipefail
cd "$(dirname "$0")/.."

# The first commit whose daemons and cores made a network.
FIRST=08875fd

HELP="usage: ./dev upgrade [COMMIT]

Builds overlayd as of COMMIT (default: $FIRST, the first that ran a network) below build/upgrade, and runs a network in
which odd nodes run it and even nodes run today's: all must close the same ledgers, hear every vote and include
every transaction. Then the same old daemon, made to speak a later version of the protocol alone, must be refused by
today's, and both must say so. Takes some ten minutes the first time."

case "${1:-}" in
  -h | --help)
    echo "$HELP"
    exit 0
    ;;
esac
commit=$(git rev-parse --verify --quiet "${1:-$FIRST}^{commit}") || {
  echo "upgrade: no commit \"${1:-$FIRST}\" here: a whole clone is needed" >&2
  exit 2
}

./dev build release overlayd overlay-demo-core overlayctl
old=$PWD/build/upgrade/$commit
if [ ! -x "$old/overlayd" ] || [ ! -x "$old/overlayd-later" ]; then
  rm -rf "$old"
  mkdir -p "$old"
  git archive "$commit" | tar -x -C "$old"
  # What that commit built with, in the words of its own presets.
  (cd "$old" && cmake --preset release >configure.log && ninja -C build/release overlayd >build.log) || {
    tail -n 20 "$old/build.log" >&2
    exit 1
  }
  cp "$old/build/release/server/overlayd" "$old/overlayd"
  sed -i 's/\(kProtocolVersion = \)1;/\12;/' "$old"/flood/base/*.h
  (cd "$old" && ninja -C build/release overlayd >build.log)
  cp "$old/build/release/server/overlayd" "$old/overlayd-later"
  rm -rf "$old/build"
fi

echo "== a network of both"
scripts/run --nodes 4 --seconds 20 --tps 100 --other-daemon "$old/overlayd"
echo "== a version that is refused"
TEST_OVERLAYD=$PWD/build/release/server/overlayd TEST_OVERLAYCTL=$PWD/build/release/client-sdk/overlayctl/overlayctl \
  TEST_OTHER_OVERLAYD=$old/overlayd-later PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=tests/integration \
  /usr/bin/python3 -W ignore::ResourceWarning -m unittest -v tests/upgrade/refused_version_test.py
