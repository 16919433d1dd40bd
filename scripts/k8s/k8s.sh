#!/usr/bin/env bash
# ./dev k8s: builds a Kubernetes control plane from its Go modules and applies k8s/ to it. See ./dev k8s --help.
set -euo pipefail
cd "$(dirname "$0")/../.."

GO_WANTED=1.26
KWOK=sigs.k8s.io/kwok
KWOK_VERSION=v0.8.0
WORK=$PWD/build/k8s

die() {
  echo "k8s: $*" >&2
  exit 1
}

[ $# = 0 ] || die "unknown argument '$1': ./dev k8s --help"
command -v go >/dev/null || die "needs Go $GO_WANTED or later, and there is none"
version=$(go env GOVERSION)
dpkg --compare-versions "${version#go}" ge "$GO_WANTED" || die "needs Go $GO_WANTED or later, this is $version"
mkdir -p "$WORK/bin"
scripts/setup.sh --for k8s

# Built again only when its sources have changed: Go knows.
began=$SECONDS
echo "k8s: building API server, controller manager, scheduler and kwok (log: $WORK/build.log)"
{
  (cd scripts/k8s/programs && go build -trimpath -o "$WORK/bin/kube" .) &&
    { [ -x "$WORK/bin/kwok" ] || GOBIN=$WORK/bin go install -trimpath "$KWOK/cmd/kwok@$KWOK_VERSION"; } &&
    # How simulated nodes and pods behave is said in files beside it.
    rm -rf "$WORK/stages" && mkdir "$WORK/stages" &&
    cp "$(go env GOMODCACHE)/$KWOK@$KWOK_VERSION/kustomize/stage"/{node/fast/node,node/heartbeat-with-lease/node,pod/fast/pod}-*.yaml \
      "$WORK/stages"
} >"$WORK/build.log" 2>&1 || {
  tail -n 20 "$WORK/build.log" >&2
  die "the build failed"
}
echo "k8s: built in $((SECONDS - began)) s"
exec /usr/bin/python3 tests/k8s/environment.py "$WORK" scripts/k8s/apply.py "$WORK"
