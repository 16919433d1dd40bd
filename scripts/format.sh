#!/usr/bin/env bash
# ./dev fmt: formats the C++ files of the checkout, or with --check names those that are not formatted.
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
  "" | --check) ;;
  *)
    echo "fmt: unknown argument '$1'" >&2
    exit 2
    ;;
esac

mapfile -t files < <(git ls-files --cached --others --exclude-standard -- '*.h' '*.cc' |
  while read -r file; do [ ! -f "$file" ] || echo "$file"; done)

if [ "${1:-}" = --check ]; then
  # Releases of clang-format differ in details; Debian 12's decides.
  version=$(clang-format --version | sed 's/.*version \([0-9]*\).*/\1/')
  if [ "$version" != 14 ]; then
    echo "clang-format $version differs from 14, which decides: nothing checked"
    exit 0
  fi
  bad=$(printf '%s\0' "${files[@]}" |
    xargs -0 -P "$(nproc)" -n 16 clang-format --dry-run 2>&1 |
    sed -n 's/^\([^:]*\):[0-9]*:[0-9]*: warning.*/\1/p' | sort -u)
  if [ -n "$bad" ]; then
    echo "not formatted (./dev fmt does it):"
    echo "$bad"
    exit 1
  fi
  echo "${#files[@]} files are formatted"
else
  printf '%s\0' "${files[@]}" | xargs -0 scripts/wrap_comments.py
  printf '%s\0' "${files[@]}" | xargs -0 -P "$(nproc)" -n 16 clang-format -i
fi
