#!/usr/bin/env bash
# Makes the root of a fresh Debian in a folder or an archive, from where this machine's own apt gets its packages.
# usage: scripts/debian_root.sh SUITE TARGET [OPTIONS OF MMDEBSTRAP]    SUITE: bookworm, trixie
# A target that ends in .tar is an archive, else it is a folder that must not be there. Debian 12 comes with its
# backports.
set -euo pipefail

SUITE=$1
TARGET=$2
shift 2

die() {
  echo "debian_root: $*" >&2
  exit 1
}

# This machine's apt sources, with another suite's name for its own: no host is written here.
sources() {
  local VERSION_CODENAME=""
  # shellcheck disable=SC1091
  . /etc/os-release
  [ -n "$VERSION_CODENAME" ] || die "this system does not say which suite it is"
  local own=""
  for own in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list /etc/apt/sources.list.d/*.sources; do
    [ ! -f "$own" ] || ! grep -q "\b$VERSION_CODENAME\b" "$own" || break
    own=""
  done
  [ -n "$own" ] || die "no apt source of this machine names $VERSION_CODENAME, to copy it for $SUITE"
  if [ "${own##*.}" = sources ]; then
    grep -v '^#' "$own" | sed "s/\b$VERSION_CODENAME\b/$SUITE/g"
    [ "$SUITE" != bookworm ] || {
      echo
      awk '/^[ \t]*$/ { if (seen) exit; next } /^(Types|URIs|Components|Signed-By):/ { print; seen = 1 }' "$own"
      echo "Suites: bookworm-backports"
    }
  else
    grep '^deb ' "$own" | grep -v backports | sed "s/\b$VERSION_CODENAME\b/$SUITE/g"
    [ "$SUITE" != bookworm ] ||
      awk '$1 == "deb" && $2 !~ /^\[/ { print "deb", $2, "bookworm-backports main"; exit }' "$own"
  fi
}

# Debian 12's own ngtcp2 is too old: that of its backports shall win.
PINS=()
if [ "$SUITE" = bookworm ]; then
  PINS=(--setup-hook='mkdir -p "$1/etc/apt/preferences.d" && printf "%s\n" "Package: libngtcp2* libnghttp3*" \
    "Pin: release n=bookworm-backports" "Pin-Priority: 600" >"$1/etc/apt/preferences.d/overlayd"')
fi

# As the slim images are: no manuals, no translations. Copyright files stay.
exec mmdebstrap --variant=minbase --quiet \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' \
  "${PINS[@]}" "$@" "$SUITE" "$TARGET" - < <(sources)
