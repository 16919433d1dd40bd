#!/usr/bin/env bash
# ./dev image: builds the image of the Dockerfile without a Docker daemon, and runs it once. See ./dev image --help.
set -euo pipefail
cd "$(dirname "$0")/../.."

BASE=debian:13-slim
SUITE=trixie
TAG=overlayd:dev
PRESET=release
PULL=0
BEYOND_BASE_MB_MAX=80

die() {
  echo "image: $*" >&2
  exit 1
}

while [ $# -gt 0 ]; do
  case "$1" in
    --tag) TAG=${2:?"--tag needs a name"} && shift ;;
    --preset) PRESET=${2:?"--preset needs a name"} && shift ;;
    --pull) PULL=1 ;;
    *) die "unknown argument '$1': ./dev image --help" ;;
  esac
  shift
done
[ "$(id -u)" = 0 ] || die "must run as root: it makes a root file system and network namespaces"

WORK=build/image
mkdir -p "$WORK"
CCACHE=${CCACHE_DIR:-$HOME/.cache/ccache}
mkdir -p "$CCACHE"
VERSION=$(sed -n 's/^project(overlayd VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)
REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)

if [ $PULL = 1 ]; then
  buildah pull "$BASE"
elif ! buildah inspect --type image "$BASE" >/dev/null 2>&1; then
  echo "image: making $BASE from this machine's apt sources"
  rm -f "$WORK/base.tar"
  scripts/debian_root.sh "$SUITE" "$WORK/base.tar"
  base=$(buildah from scratch)
  buildah add -q "$base" "$WORK/base.tar" / >/dev/null
  buildah config --cmd bash "$base"
  buildah commit -q "$base" "$BASE" >/dev/null
  buildah rm "$base" >/dev/null
  rm -f "$WORK/base.tar"
fi

# build TARGET TAG
build() {
  buildah bud --isolation chroot --pull-never --format oci --layers \
    --build-arg BASE="$BASE" --build-arg PRESET="$PRESET" --build-arg JOBS="${JOBS:-$(nproc)}" \
    --build-arg VERSION="$VERSION" --build-arg REVISION="$REVISION" \
    --volume "$(realpath "$CCACHE"):/root/.cache/ccache" --target "$1" --tag "$2" .
}

# The bytes of an image's root, as it lies on a disk.
root_bytes() {
  local container folder
  container=$(buildah from --pull-never "$1")
  folder=$(buildah mount "$container")
  du -s --block-size=1 --apparent-size "$folder" | cut -f1
  buildah umount "$container" >/dev/null
  buildah rm "$container" >/dev/null
}

CORE_TAG=${TAG/overlayd/overlay-demo-core}
[ "$CORE_TAG" != "$TAG" ] || CORE_TAG=$TAG-demo-core
echo "image: building $TAG and $CORE_TAG (log: $WORK/build.log)"
{ build overlayd "$TAG" && build demo-core "$CORE_TAG"; } >"$WORK/build.log" 2>&1 || {
  tail -n 40 "$WORK/build.log" >&2
  die "the build failed"
}

base_bytes=$(root_bytes "$BASE")
image_bytes=$(root_bytes "$TAG")
beyond=$(((image_bytes - base_bytes) / 1000000))
echo "image: $TAG has $((image_bytes / 1000000)) MB, $beyond MB beyond its base (at most $BEYOND_BASE_MB_MAX)"
[ "$beyond" -lt $BEYOND_BASE_MB_MAX ] || die "$TAG is too large"

container=$(buildah from --pull-never "$TAG")
core_container=$(buildah from --pull-never "$CORE_TAG")
trap 'buildah umount "$container" "$core_container" >/dev/null || true; buildah rm "$container" "$core_container" >/dev/null' EXIT
buildah inspect --type image "$TAG" >"$WORK/config.json"
scripts/image/run_image.py "$WORK/config.json" "$(buildah mount "$container")" "$(buildah mount "$core_container")"
echo "image: $TAG and $CORE_TAG are in buildah's storage: buildah push $TAG oci-archive:FILE"
