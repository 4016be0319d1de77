#!/usr/bin/env bash
# Everything that a GPU has to show, in one go: build, conformance, streams and graphs, four sanitizers,
# benchmark. Prints a table at the end; the exit status is the number of steps that failed.
#
#   benchmarks/on_gpu_host.sh [OUT]      logs and result rows go to OUT (default: out/gpu)
#
# On a host without a network put the wheels it lacks into .whl/ first (see CONTRIBUTING.md).
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:-out/gpu}
site=$(mktemp -d)
mkdir -p "$out"
trap 'rm -rf "$site"' EXIT
# the installed package goes before the checkout, which has no compiled half
export PYTHONSAFEPATH=1 PYTHONPATH=$site:$PWD
pytest=(python3 -m pytest --import-mode=importlib -q -p no:cacheprovider)
failures=0
table=""

step() { # name, command...: runs it with its output in a log, notes how it ended
  local name=$1 start=$SECONDS status
  shift
  "$@" >"$out/$name.log" 2>&1
  status=$?
  [ "$status" = 0 ] || failures=$((failures + 1))
  table+=$(printf '%-12s %-7s %5ds  %s' "$name" "$([ "$status" = 0 ] && echo ok || echo "exit $status")" \
    $((SECONDS - start)) "$(tail -n 1 "$out/$name.log" | cut -c1-90)")$'\n'
}

sanitized() { # tool: the small volumes of the table under compute-sanitizer
  PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool "$1" --error-exitcode 9 \
    "${pytest[@]}" tests/conformance/test_conformance.py -k 'contiguous-1x2x7x13x17'
}

compgen -G '.whl/*.whl' >/dev/null &&
  step wheels python3 -m pip install -q --no-index --no-deps --no-compile --target "$site" .whl/*.whl
step build python3 -m pip install -q --no-build-isolation --no-deps --no-index --target "$site" .
export DAL_FAST_ENGINES=cuda,triton
step conformance "${pytest[@]}" tests/conformance/test_conformance.py
step gpu "${pytest[@]}" tests/gpu
export DAL_FAST_ENGINES=cuda
for tool in memcheck racecheck initcheck synccheck; do step "$tool" sanitized "$tool"; done
step benchmark python3 -m benchmarks.run --device cuda --repeats 30
cp benchmarks/results/*.csv "$out"/ 2>/dev/null
tail -n 60 "$out/benchmark.log"
printf '\n%s' "$table"
exit "$failures"
