#!/bin/sh
# The packages whose libraries the programs among its arguments load, one a line: what an image must install to
# run them. Found, not listed, so that no name of a library's version can go stale.
set -eu
libraries=$(ldd "$@" | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | sort -u | xargs realpath)
# Packages from before the merge of /lib into /usr know their files by the old names.
# shellcheck disable=SC2086 # words are meant to split
owners=$(dpkg-query -S $libraries $(echo "$libraries" | sed 's/^\/usr//') 2>/dev/null || true)
for library in $libraries; do
  owner=$(echo "$owners" | awk -v path="$library" -v old="${library#/usr}" '
    $NF == path || $NF == old { sub(/:.*/, "", $1); print $1; exit }')
  [ -n "$owner" ] || {
    echo "runtime_packages: no package has $library" >&2
    exit 1
  }
  echo "$owner"
done | sort -u
