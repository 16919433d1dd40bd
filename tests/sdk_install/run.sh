#!/usr/bin/env bash
# usage: run.sh BUILD_FOLDER SOURCE_FOLDER OVERLAYD COMPILER
# Installs the library to a scratch folder, builds the example against it in both ways, and lets it attach.
set -euo pipefail
build=$1 source=$2 overlayd=$3 compiler=$4
scratch=$(mktemp -d)
daemon=
cleanup() {
  [ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true
  rm -rf "$scratch"
}
trap cleanup EXIT
for variable in "${!OVERLAY_@}"; do unset "$variable"; done

cmake --install "$build" --prefix "$scratch/made" --component sdk >/dev/null
mv "$scratch/made" "$scratch/installed" # it may be moved
test -f "$scratch/installed/share/overlay/proto/overlay/v1/core.proto"

hello=$source/client-sdk/examples/hello.cc
lines=$(wc -l <"$hello")
[ "$lines" -lt 60 ] || { echo "hello.cc has $lines lines, 60 are too many" >&2; exit 1; }
cmake -S "$source/tests/sdk_install/consumer" -B "$scratch/consumer" -G Ninja -DCMAKE_CXX_COMPILER="$compiler" \
  -DCMAKE_PREFIX_PATH="$scratch/installed" -DHELLO="$hello" >/dev/null
cmake --build "$scratch/consumer" >/dev/null

pc=$(find "$scratch/installed" -name overlay.pc)
export PKG_CONFIG_PATH=${pc%/*}
# shellcheck disable=SC2046 # words are meant to split
"$compiler" -std=c++20 "$hello" -o "$scratch/hello" $(pkg-config --cflags --libs overlay)

key=$scratch/key
"$overlayd" keygen --out "$key" >"$scratch/public"
mkfifo "$scratch/ready"
"$overlayd" run --node.key_file "$key" --network.passphrase "sdk test" --peer.listen 127.0.0.1:0 \
  --api.listen "unix:$scratch/core" >"$scratch/ready" 2>"$scratch/log" &
daemon=$!
read -r line <"$scratch/ready" || { cat "$scratch/log" >&2; exit 1; }
grep -q '"event":"ready"' <<<"$line"
for program in "$scratch/consumer/hello" "$scratch/hello"; do
  echo | "$program" "unix:$scratch/core" "sdk test" >"$scratch/out"
  grep -q "attached to $(cat "$scratch/public")" "$scratch/out" || { cat "$scratch/out" >&2; exit 1; }
done
echo "both attached"
