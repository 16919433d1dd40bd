#!/usr/bin/env bash
# ./dev test: the stages that CI runs. Each is timed and logged; a summary ends the output.
set -uo pipefail
cd "$(dirname "$0")/.."

export CI="${CI:-true}"  # a skipped test is a failure (tests/support/test_main.cc)
JOBS="${JOBS:-$(nproc)}"
FUZZ_SECONDS="${FUZZ_SECONDS:-15}"
TIDY_SECONDS="${TIDY_SECONDS:-240}"

QUICK=0
case "${1:-}" in
  "") ;;
  --quick) QUICK=1 ;;
  *)
    echo "test: unknown argument '$1': ./dev test --help says more" >&2
    exit 2
    ;;
esac

LOG=build/log
mkdir -p "$LOG"
SUMMARY=()
PASSED=0
FAILED=0
STARTED=$SECONDS

# Adds up the tests that a log reports: ctest's closing lines and Google Test's.
count_tests() {
  awk '
    /tests passed, [0-9]+ tests failed out of [0-9]+/ {
      match($0, /, [0-9]+ tests failed/); failed_now = substr($0, RSTART + 2) + 0
      match($0, /out of [0-9]+/); total = substr($0, RSTART + 7) + 0
      passed += total - failed_now; failed += failed_now }
    /^\[  PASSED  \] [0-9]+ tests?\./ { passed += $4 }
    /^\[  FAILED  \] [0-9]+ tests?, listed below/ { failed += $4 }
    END { print passed + 0, failed + 0 }' "$1"
}

# stage NAME COMMAND...: one line when it passes, the end of its log when not.
stage() {
  local name=$1 begin=$SECONDS result=ok passed failed
  shift
  printf '== %s\n' "$name"
  if ! "$@" >"$LOG/$name.log" 2>&1 </dev/null; then result=FAILED; fi
  read -r passed failed < <(count_tests "$LOG/$name.log")
  PASSED=$((PASSED + passed))
  FAILED=$((FAILED + failed))
  if [ $result = FAILED ]; then
    [ "$failed" -gt 0 ] || FAILED=$((FAILED + 1))
    tail -n 80 "$LOG/$name.log"
  elif [ "$passed" = 0 ]; then
    PASSED=$((PASSED + 1))  # the stage itself
    tail -n 1 "$LOG/$name.log"
  fi
  SUMMARY+=("$(printf '%-22s %-7s %5d s  %s' "$name" "$result" $((SECONDS - begin)) \
    "$([ $((passed + failed)) = 0 ] || echo "$passed passed, $failed failed")")")
  [ $result = ok ]
}

not_run() {
  FAILED=$((FAILED + 1))
  SUMMARY+=("$(printf '%-22s not run: %s' "$1" "$2")")
}

run_ctest() {  # PRESET, further arguments of ctest
  ctest --test-dir "build/$1" --output-on-failure --no-tests=error "${@:2}"
}

# Unit tests side by side, then, one after the other, those that measure time or use the whole machine; then those in
# network namespaces, side by side again, because they wait more than they work.
tests_of() {
  local worst=0
  run_ctest "$1" -j "$JOBS" -LE 'integration|fuzz|network' || worst=1
  if ctest --test-dir "build/$1" -N -L integration | grep 'Total Tests: [1-9]' >/dev/null; then
    run_ctest "$1" -L integration || worst=1
    run_ctest "$1" -j 4 -L network || worst=1
  fi
  return $worst
}

# What the sanitizer build is for: every unit test and the fuzz targets. The programs that
# integration tests start, and the simulator, which takes minutes there, are left to the release
# build: `./dev build asan sim_test` makes it.
sanitized_targets() {
  ninja -C "build/$1" -t targets all | sed -n 's/^\([a-z0-9_]*_\(test\|fuzz\)\): phony$/\1/p' |
    grep -v 'integration\|cmake_object\|sim_test' | sort -u
}

build_sanitized() {
  cmake --preset "$1" || return 1
  local targets
  mapfile -t targets < <(sanitized_targets "$1")
  [ ${#targets[@]} -gt 0 ] || return 1
  ./dev build "$1" "${targets[@]}"
}

# Each test program in four parts, as many of them at once as there are processors. ctest starts a
# process for every test; with sanitizers, to start one takes longer than most of the tests do.
PARTS=4
part_of() {  # PROGRAM PART
  GTEST_TOTAL_SHARDS=$PARTS GTEST_SHARD_INDEX=$2 timeout 1200 "$1" >"$PARTS_LOG/$(basename "$1").$2" 2>&1 ||
    touch "$PARTS_LOG/$(basename "$1").$2.failed"
}

whole_programs() {  # PRESET
  export PARTS PARTS_LOG=$LOG/parts
  export -f part_of
  rm -rf "$PARTS_LOG"
  mkdir -p "$PARTS_LOG"
  local programs program part log failed=0
  mapfile -t programs < <(sanitized_targets "$1" | sed -n "s|.*_test$|build/$1/tests/&|p" |
    xargs --no-run-if-empty ls -S)  # the largest take longest
  [ ${#programs[@]} -gt 0 ] || return 1
  for program in "${programs[@]}"; do
    for ((part = 0; part < PARTS; ++part)); do printf '%s %s\n' "$program" "$part"; done
  done | xargs -P "$JOBS" -n 2 bash -c 'part_of "$@"' part_of || failed=1
  grep -ha '^\[  PASSED  \]' "$PARTS_LOG"/*
  for log in "$PARTS_LOG"/*.failed; do
    [ -e "$log" ] || continue
    failed=1
    log=${log%.failed}
    echo "-- $log: $(grep -a '^\[ RUN' "$log" | tail -n 1) was the last"
    grep -av '^\[ RUN\|^\[       OK\|^\[---\|^\[  PASSED' "$log" | tail -n 60
  done
  return $failed
}

fuzz_of() {
  if ! ctest --test-dir "build/$1" -N -L fuzz | grep 'Total Tests: [1-9]' >/dev/null; then
    echo "no fuzz targets"
    return 1
  fi
  OVERLAY_FUZZ_SECONDS=$FUZZ_SECONDS run_ctest "$1" -L fuzz -j "$JOBS"
}

# The parts with threads, and those alone: everything else is one thread's.
thread_tests() {
  local targets=() worst=0 target
  for target in transport_test server_test http3_test; do
    # All of it is read: a pipe that is closed early would count as a failure of ninja's.
    ninja -C build/tsan -t targets all | grep "^$target:" >/dev/null && targets+=("$target")
  done
  if [ ${#targets[@]} -ne 3 ]; then
    echo "the build has not the test programs with threads: ${targets[*]}"
    return 1
  fi
  ./dev build tsan "${targets[@]}" || return 1
  # The sanitizer's memory layout does not get along with every kernel's randomisation.
  local fixed_layout=()
  setarch -R true 2>/dev/null && fixed_layout=(setarch -R)
  for target in "${targets[@]}"; do
    # Of transport and the HTTP/3 window only these parts are used by more than one thread.
    local filter='*'
    [ "$target" != transport_test ] || filter='EventLoop*:Mailbox*:UdpSocket*'
    [ "$target" != http3_test ] || filter='Http3Server*'
    TSAN_OPTIONS="suppressions=$PWD/tests/tsan.supp halt_on_error=1 second_deadlock_stack=1" \
      "${fixed_layout[@]}" "build/tsan/tests/$target" --gtest_brief=1 --gtest_filter="$filter" || worst=1
  done
  return $worst
}

simulate() {
  local sim
  sim=$(find build/release -name overlay_sim -type f -perm -u+x -print -quit)
  if [ -z "$sim" ]; then
    echo "the release build has no overlay_sim"
    return 1
  fi
  "$sim" --seed 1 --seeds 8
}

echo "logs are in $LOG"
stage setup ./dev setup
stage format ./dev fmt --check
stage layout tests/layering_test
stage layout-self-test tests/layering_test --self-test
stage mutants-list scripts/mutants.py --check

if stage release-build ./dev build release; then
  stage release-tests tests_of release
  stage release-fuzz-replay fuzz_of release
  stage simulator simulate
else
  not_run release-tests "its build failed"
fi

if [ $QUICK = 0 ]; then
  if stage asan-build build_sanitized asan; then
    export ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1
    export LSAN_OPTIONS="suppressions=$PWD/tests/lsan.supp:print_suppressions=0"
    stage asan-tests whole_programs asan
    stage fuzz-smoke fuzz_of asan
  else
    not_run asan-tests "its build failed"
  fi
  stage tsan-configure cmake --preset tsan && stage tsan-tests thread_tests
  stage tidy scripts/tidy.sh "$TIDY_SECONDS"
fi

echo
printf '%s\n' "${SUMMARY[@]}"
printf 'total %d s\n' $((SECONDS - STARTED))
echo "$PASSED passed, $FAILED failed"
[ "$FAILED" = 0 ]
