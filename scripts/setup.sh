#!/usr/bin/env bash
# Installs the distribution packages that this project needs and that are missing. See --help.
set -euo pipefail

HELP='usage: ./dev setup [--list [build]] [--for image|k8s|package]

Installs with apt-get what is missing of the packages that this project builds and tests with, and says
what it installs. Debian 12 (bookworm, with its backports suite for ngtcp2, nghttp3) and Debian 13
(trixie). Uses sudo unless it runs as root. Does nothing when all is there. --list prints the packages; with
"build" only those that compiling the programs needs. --for adds what a command needs that few people use.'

# Beside ngtcp2 and nghttp3, which Debian 12 has new enough in its backports only.
BUILD_PACKAGES="
  build-essential cmake ninja-build pkg-config ccache
  protobuf-compiler protobuf-compiler-grpc libprotobuf-dev libgrpc++-dev libabsl-dev
  libgnutls28-dev nettle-dev libc-ares-dev libzstd-dev zlib1g-dev libssl-dev
  libspdlog-dev libfmt-dev libtomlplusplus-dev prometheus-cpp-dev libcivetweb-dev"
PACKAGES="$BUILD_PACKAGES
  git clang llvm clang-tidy clang-format lld libgtest-dev libgmock-dev libbenchmark-dev
  python3 python3-yaml python3-grpcio python3-grpc-tools python3-venv openssl iproute2 dnsmasq-base util-linux procps
  ca-certificates file prometheus chromium chromium-driver"
IMAGE_PACKAGES="buildah mmdebstrap"
PACKAGE_PACKAGES="mmdebstrap dpkg-dev"
K8S_PACKAGES="etcd-server"
# Beside the libraries an HTTP/3 client that was not written here, for the tests.
QUIC_BUILD_PACKAGES="libngtcp2-dev libngtcp2-crypto-gnutls-dev libnghttp3-dev"
QUIC_PACKAGES="$QUIC_BUILD_PACKAGES ngtcp2-client"
NGTCP2_WANTED=1.11

die() {
  echo "setup: $*" >&2
  exit 1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "must run as root, or have sudo, to run: $*"
  fi
}

# Names the packages among its arguments that are not installed.
missing_of() {
  dpkg-query -W -f='${db:Status-Status} ${Package}\n' "$@" 2>/dev/null |
    awk -v wanted="$*" '
      $1 == "installed" { have[$2] = 1 }
      END { count = split(wanted, names, " ")
            for (i = 1; i <= count; i++) if (!(names[i] in have)) print names[i] }' || true
}

quic_is_new_enough() {
  [ -z "$(missing_of $QUIC_PACKAGES)" ] &&
    dpkg --compare-versions "$(dpkg-query -W -f='${Version}' libngtcp2-dev)" ge "$NGTCP2_WANTED"
}

# Debian 12 names its backports suite with the host that the machine's own sources name: nothing of a host
# is written here.
add_backports() {
  local suite=$1 target=/etc/apt/sources.list.d/overlayd-backports.sources
  if grep -rqs "$suite" /etc/apt/sources.list /etc/apt/sources.list.d/*.list \
    /etc/apt/sources.list.d/*.sources; then
    return
  fi
  local own=/etc/apt/sources.list.d/debian.sources stanza
  if [ -f "$own" ]; then
    stanza=$(awk '/^[ \t]*$/ { if (seen) exit; next }
                  /^(Types|URIs|Components|Signed-By):/ { print; seen = 1 }' "$own")
  elif [ -f /etc/apt/sources.list ]; then
    stanza=$(awk '$1 == "deb" && $2 !~ /^\[/ {
                    print "Types: deb"; print "URIs: " $2; print "Components: main"; exit }' \
      /etc/apt/sources.list)
    [ -z "$stanza" ] || stanza+=$'\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg'
  fi
  [ -n "${stanza:-}" ] || die "no apt source to copy for $suite: add that suite, then run this again"
  echo "setup: adding the suite $suite in $target"
  printf '%s\nSuites: %s\n' "$stanza" "$suite" | as_root tee "$target" >/dev/null
}

# Packages that enable and start a service, of which only a program is needed here: PACKAGE:SERVICE.
SERVICES="prometheus:prometheus etcd-server:etcd"

# Masks the services of the packages among its arguments beforehand, unless this machine has one already.
mask_services() {
  local entry unit
  for entry in $SERVICES; do
    unit=/etc/systemd/system/${entry#*:}.service
    case " $* " in
      *" ${entry%:*} "*) [ ! -e "$unit" ] && [ ! -L "$unit" ] || continue ;;
      *) continue ;;
    esac
    echo "setup: masking ${entry#*:}.service (systemctl unmask ${entry#*:} undoes it)"
    as_root mkdir -p "${unit%/*}"
    as_root ln -s /dev/null "$unit"
  done
}

# The same for an init that reads rc folders.
unlink_services() {
  local entry
  for entry in $SERVICES; do
    case " $* " in
      *" ${entry%:*} "*) [ ! -e "/etc/init.d/${entry#*:}" ] || as_root update-rc.d "${entry#*:}" disable >/dev/null 2>&1 || true ;;
    esac
  done
}

main() {
  local quiet=0
  case "${1:-}" in
    -h | --help)
      echo "$HELP"
      return
      ;;
    --quiet) quiet=1 ;;
    --for)
      case "${2:-}" in
        image) PACKAGES+=" $IMAGE_PACKAGES" ;;
        package) PACKAGES+=" $PACKAGE_PACKAGES" ;;
        k8s) PACKAGES+=" $K8S_PACKAGES" ;;
        *) die "--for '${2:-}': image, k8s or package" ;;
      esac
      quiet=1
      ;;
    --list)
      case "${2:-}" in
        build)
          PACKAGES=$BUILD_PACKAGES
          QUIC_PACKAGES=$QUIC_BUILD_PACKAGES
          ;;
        "") ;;
        *) die "--list '$2': build, or nothing" ;;
      esac
      ;;
    "") ;;
    *) die "unknown argument '$1': --help says more" ;;
  esac

  local os_release="${OVERLAY_OS_RELEASE:-/etc/os-release}"  # another one in tests
  [ -r "$os_release" ] || die "this system has no $os_release; Debian 12 and 13 are supported"
  local ID="" VERSION_ID="" PRETTY_NAME=""
  # shellcheck disable=SC1090
  . "$os_release"
  local backports="" runtime=""
  case "$ID-$VERSION_ID" in
    debian-12)
      runtime=libclang-rt-14-dev
      backports=bookworm-backports
      ;;
    debian-13) runtime=libclang-rt-19-dev ;;
    *) die "this is ${PRETTY_NAME:-an unknown system}; Debian 12 and 13 are supported" ;;
  esac
  [ "${2:-}" = build ] || PACKAGES+=" $runtime"
  if [ "${1:-}" = --list ]; then
    printf '%s\n' $PACKAGES $QUIC_PACKAGES | sort
    return
  fi

  local missing missing_quic=""
  missing=$(missing_of $PACKAGES)
  quic_is_new_enough || missing_quic=$QUIC_PACKAGES
  if [ -z "$missing$missing_quic" ]; then
    [ $quiet = 1 ] || echo "setup: all packages are there"
    return
  fi

  echo "setup: installing" $missing $missing_quic
  [ -z "$missing_quic" ] || [ -z "$backports" ] || add_backports "$backports"
  mask_services $missing
  export DEBIAN_FRONTEND=noninteractive
  as_root apt-get update -qq
  # shellcheck disable=SC2086
  [ -z "$missing" ] || as_root apt-get install -y -qq --no-install-recommends $missing
  # shellcheck disable=SC2086
  [ -z "$missing_quic" ] ||
    as_root apt-get install -y -qq --no-install-recommends ${backports:+-t $backports} $missing_quic
  quic_is_new_enough || die "libngtcp2-dev is older than $NGTCP2_WANTED after the installation"
  unlink_services $missing
  missing=$(missing_of $PACKAGES)
  [ -z "$missing" ] || die "still missing after the installation:" $missing
}

main "$@"
