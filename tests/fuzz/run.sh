#!/bin/bash
# run.sh: fuzzes each target for FUZZ_SECONDS (60), beginning from the seeds of seeds.sh and what earlier runs found.
# With stable Rust and a C++ compiler: libFuzzer needs the compiler's coverage instrumentation, which rustc passes on to LLVM,
# and no sanitizer (what is fuzzed has no unsafe code). cargo-fuzz does the same with a nightly toolchain.
# A finding is left in <target dir>/fuzz/artifacts, with the command that repeats it, and ends the run with an error.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
cd "$here"
seconds=${FUZZ_SECONDS:-60}
targets=("$@")
[ $# -gt 0 ] || targets=(manifest name position)
work=$(readlink -m "${CARGO_TARGET_DIR:-../../target}")/fuzz
triple=$(rustc -vV | sed -n 's/^host: //p')
instrument=(-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
  -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg=fuzzing)

say() { printf '%s %s\n' "$(date +%T)" "$*" >&2; }

say "building the fuzz targets (the first time 1 min on 2 cores)"
# The target is named so that build scripts and procedural macros are built without.
CARGO_TARGET_DIR=$work RUSTFLAGS="${instrument[*]}" \
  "${CARGO:-cargo}" build --quiet --locked --release --target "$triple" "${targets[@]/#/--bin=}"
./seeds.sh "$work/seeds"
for target in "${targets[@]}"; do
  mkdir -p "$work/corpus/$target" "$work/artifacts/$target"
  say "fuzzing $target for $seconds s"
  log=$work/$target.log
  if ! "$work/$triple/release/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$work/artifacts/$target/" "$work/corpus/$target" "$work/seeds/$target" 2>"$log"; then
    tail -n 40 "$log" >&2
    say "$target failed; the whole log is $log"
    exit 1
  fi
  say "$target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") executions, none failed"
done
