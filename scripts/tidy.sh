#!/usr/bin/env bash
# usage: scripts/tidy.sh [SECONDS | --all]
# clang-tidy over the C++ files that differ from where this branch left main (on main itself: from the commit
# before). Stops beginning new files after SECONDS (default 240) and says how many it left out.
set -uo pipefail
cd "$(dirname "$0")/.."

SECONDS_MAX=240
ALL=0
case "${1:-}" in
  "") ;;
  --all) ALL=1 SECONDS_MAX=36000 ;;
  *[!0-9]*)
    sed -n '2,4s/^# //p' "$0"
    exit 2
    ;;
  *) SECONDS_MAX=$1 ;;
esac

FOLDER=build/asan
[ -f $FOLDER/compile_commands.json ] || FOLDER=build/release

base() {
  local main
  for main in origin/main main; do
    if git rev-parse -q --verify "$main" >/dev/null; then
      local fork
      fork=$(git merge-base HEAD "$main" 2>/dev/null) || continue
      if [ "$fork" != "$(git rev-parse HEAD)" ]; then
        echo "$fork"
        return
      fi
    fi
  done
  git rev-parse -q --verify HEAD~1 || git hash-object -t tree /dev/null
}

if [ $ALL = 1 ]; then
  mapfile -t changed < <(git ls-files '*.cc')
else
  from=$(base)
  mapfile -t changed < <({
    git diff --name-only --diff-filter=d "$from" -- '*.cc'
    # A header is checked through the source of the same name.
    git diff --name-only --diff-filter=d "$from" -- '*.h' | sed 's/\.h$/.cc/'
  } | sort -u)
fi

files=()
for file in "${changed[@]}"; do
  [ -f "$file" ] && grep -q "/$file\"" $FOLDER/compile_commands.json && files+=("$file")
done
if [ ${#files[@]} = 0 ]; then
  echo "no changed sources to check"
  exit 0
fi

export FOLDER DEADLINE=$((SECONDS_MAX + $(date +%s)))
printf '%s\n' "${files[@]}" | xargs -P "$(nproc)" -I{} bash -c '
  [ "$(date +%s)" -lt "$DEADLINE" ] || { echo "left out: {}"; exit 0; }
  findings=$(clang-tidy -p "$FOLDER" --quiet "{}" 2>/dev/null) && { echo "checked: {}"; exit 0; }
  printf "%s\nfindings in {}\n" "$findings"
  exit 1' >build/log-tidy.txt
result=$?
grep -v '^checked: ' build/log-tidy.txt
echo "$(grep -c '^checked: ' build/log-tidy.txt) of ${#files[@]} changed sources are clean"
# Each release finds other things; Debian 12's decides, as with clang-format.
version=$(clang-tidy --version | sed -n 's/.*version \([0-9]*\).*/\1/p')
if [ "$version" != 14 ]; then
  echo "clang-tidy $version differs from 14, which decides: what it finds is no failure"
  exit 0
fi
exit $result
