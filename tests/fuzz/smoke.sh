#!/usr/bin/env bash
# usage: smoke.sh PROGRAM SEEDS: fuzzes for OVERLAY_FUZZ_SECONDS (default 5); what it finds is left in the
# working folder. New inputs go to a scratch folder, never into the checkout.
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
folders=("$scratch")
[ ! -d "$2" ] || folders+=("$2")
"$1" -max_total_time="${OVERLAY_FUZZ_SECONDS:-5}" -entropic=0 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
  "${folders[@]}"
