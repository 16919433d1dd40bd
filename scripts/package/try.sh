#!/bin/sh
# Inside a fresh system, as its root: installs /tmp/overlayd.deb, uses what it brings, and takes it away again.
set -eux
version=$1

expect() {
  "$@" || {
    echo "try: not so: $*" >&2
    exit 1
  }
}

apt-get update -qq
apt-get install -y -qq --no-install-recommends /tmp/overlayd.deb
expect test "$(overlayd version | grep -c "$version")" = 1
overlayctl --help >/dev/null
expect test "$(stat -c '%U %a' /etc/overlayd/node.key)" = "overlayd 600"
expect test "$(stat -c '%U:%G %a' /etc/overlayd /var/lib/overlayd | tr '\n' ' ')" = "root:overlayd 750 overlayd:overlayd 750 "
runuser -u overlayd -- overlayd check-config --config /etc/overlayd/overlayd.toml
systemd-analyze verify --man=no overlayd.service
expect test ! -e /etc/systemd/system/multi-user.target.wants/overlayd.service

# It runs as its user, with the packaged configuration but for its network, and goes when it is told.
install -d -m 0750 -o overlayd -g overlayd /run/overlayd
runuser -u overlayd -- overlayd run --config /etc/overlayd/overlayd.toml --peer.listen 127.0.0.1:0 \
  --metrics.listen 127.0.0.1:0 --peers.known "" >/tmp/ready 2>/tmp/log &
daemon=$!
tries=0
until grep -q '^{' /tmp/ready; do
  tries=$((tries + 1))
  expect test $tries -lt 100
  sleep 0.1
done
overlayctl --operator unix:/run/overlayd/operator.sock status >/tmp/status
kill -TERM "$(pgrep -u overlayd -x overlayd 2>/dev/null || awk '{ print $1 }' "/proc/$daemon/task/$daemon/children")"
wait $daemon

# Another installation keeps what was made and changed.
key=$(cat /etc/overlayd/node.key)
sed -i 's/^outbound = .*/outbound = 9/' /etc/overlayd/overlayd.toml
apt-get install -y -qq --reinstall /tmp/overlayd.deb
expect test "$(cat /etc/overlayd/node.key)" = "$key"
expect grep -q '^outbound = 9' /etc/overlayd/overlayd.toml

apt-get remove -y -qq overlayd
expect test ! -e /usr/bin/overlayd
expect test "$(cat /etc/overlayd/node.key)" = "$key"
expect test -e /etc/overlayd/overlayd.toml
apt-get purge -y -qq overlayd
expect test ! -e /etc/overlayd
expect test ! -e /var/lib/overlayd
expect test -z "$(dpkg -l overlayd 2>/dev/null | grep '^[a-z]i' || true)"
