#!/usr/bin/env bash
# What a GPU has to show, for a host that is at hand for minutes and reaches no network. See
# benchmarks/README.md for how it is used.
#
#   benchmarks/on_gpu_host.sh prepare DATA MAPS [FUSED_SSIM]     before, where there is a network
#   benchmarks/on_gpu_host.sh evidence OUT [SECONDS [STEP...]]   there: 470 seconds; all steps, or those named
#   benchmarks/on_gpu_host.sh training OUT [SECONDS [ARGUMENT...]]   there: 530 seconds; gpu_train's arguments
#   benchmarks/on_gpu_host.sh rehearse OUT                       here: both of them, on a CPU, tiny
#
# OUT gets results.tar.gz (logs, tables, rows), table.txt, *.csv and the weights, brought up to date
# after every step; both parts together are at most 8 files, none in a folder of OUT. The exit status
# is the number of steps that failed. BENCHMARK_COMMIT names the commit where there is no repository;
# PYTHON is the interpreter.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
python=${PYTHON:-python3}
rehearsal=${REHEARSAL:-}
failures=0
only='' # steps, where some are named

begin() { # out seconds
  out=$1 deadline=$((SECONDS + $2))
  mkdir -p "$out" && out=$(cd "$out" && pwd) || exit 1
  scratch=$(mktemp -d)
  logs=$scratch/logs table=$out/table.txt
  mkdir "$logs" && : >"$table"
  pack_results
  trap 'rm -rf "$scratch"' EXIT
  # the installed package goes before the checkout, which has no compiled half; a second call on the
  # same host finds it, and what was compiled, again
  site=$PWD/build/gpu-host/site
  [ -z "$rehearsal" ] || site=$scratch/site
  mkdir -p "$site"
  export PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1 PYTHONPATH=$site:$PWD
}

pack_results() { # all but the weights in one file, whole whenever it is looked at
  cp "$table" "$out"/*.csv "$logs" 2>/dev/null
  tar -czf "$scratch/results.tar.gz" -C "$scratch" logs && cp "$scratch/results.tar.gz" "$out/results.new" &&
    mv "$out/results.new" "$out/results.tar.gz"
}

note() { # name result seconds remark
  printf '%-12s %-10s %5ss  %s\n' "$1" "$2" "$3" "$4" | tee -a "$table"
  pack_results
}

left() { echo $((deadline - SECONDS)); }

asked() { # name: whether the step is to be taken; without host, wheels and build there is no other
  [ -z "$only" ] || [[ " host pack wheels build $only " == *" $1 "* ]]
}

step() { # name limit command...: its output in a log; ends when the limit or the deadline is reached
  local name=$1 limit=$2 start=$SECONDS status result
  shift 2
  asked "$name" || return 0
  [ "$limit" -le "$(left)" ] || limit=$(left)
  if [ "$limit" -lt 3 ]; then
    note "$name" 'not run' 0 'no time was left'
    return 1
  fi
  timeout --kill-after=5 "$limit" "$@" >"$logs/$name.log" 2>&1
  status=$?
  case $status in
    0) result=ok ;;
    124 | 137) result='timed out' ;;
    *) result="exit $status" ;;
  esac
  [ "$status" = 0 ] || failures=$((failures + 1))
  note "$name" "$result" $((SECONDS - start)) "$(grep -av '^[[:space:]]*$' "$logs/$name.log" | tail -n 1 | cut -c1-90)"
  return "$status"
}

skip() { # name reason: what a rehearsal cannot do
  ! asked "$1" || note "$1" skipped 0 "$2"
}

finish() { # log...: the logs' ends, then the table
  for log in "$@"; do
    [ ! -f "$logs/$log.log" ] || { printf '\n== %s\n' "$log" && tail -n 45 "$logs/$log.log"; }
  done
  printf '%s seconds, %s steps failed\n' "$SECONDS" "$failures" >>"$table"
  pack_results
  printf '\n' && cat "$table"
  exit "$failures"
}

installed() { # [folder]: its wheels and those of the package, and the package for the GPU at hand
  local pip=("$python" -m pip install -q --disable-pip-version-check --no-index --no-deps --no-compile)
  local wheels=() wheel
  for wheel in .whl/*.whl ${1:+"$1"/*.whl}; do
    [ ! -f "$wheel" ] || wheels+=("$wheel")
  done
  if [ -n "$rehearsal" ]; then
    if [ ${#wheels[@]} -gt 0 ]; then
      step wheels 60 "${pip[@]}" --target "$scratch/wheels" --only-binary=:all: --python-version 3.12 --implementation cp \
        --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 "${wheels[@]}"
    else
      skip wheels 'there are no wheels here yet: run prepare'
    fi
    skip build 'the package of this environment is used'
    return
  fi
  step wheels 60 "${pip[@]}" --upgrade --target "$site" "${wheels[@]}"
  export CMAKE_ARGS=-DCMAKE_CUDA_ARCHITECTURES=90-real
  step build 150 "${pip[@]}" --upgrade --no-build-isolation --target "$site" .
}

evidence() {
  local pytest=("$python" -m pytest --import-mode=importlib -v -p no:cacheprovider --timeout 60)
  local carried=.carry/evidence device=cuda peer='' tools=() name
  local pack=$carried/brains.zip
  local selection=contiguous-1x2x7x13x17 kernels=(--seconds 60) chain=(--seconds 80) profile=() filter=()
  if [ -n "$rehearsal" ]; then
    device=cpu pack=$scratch/brains.zip
    selection='hybrid and contiguous-1x1x1x1x1'
    kernels=(--sides 20 24 28 --repeats 1 --seconds 3)
    profile=(--device cpu --sides 20 24 28)
    chain=(--sides 32 40 32 --voxel-mm 2 --scans 1 --sick 1 --workers 1 --seconds 100)
    step pack 60 "$python" -m benchmarks.gpu_pack "$pack" --synthetic 6
    skip host 'needs a GPU'
  else
    step host 20 bash -c 'nvidia-smi; nvcc --version; '"$python"' -m pip list 2>/dev/null; nproc; free -g'
    if asked kernels && [ -d "$carried/fused-ssim" ]; then # built beside our own package
      CUDA_ARCHITECTURES=90 timeout --kill-after=5 150 "$python" -m pip install -q --no-index --no-deps \
        --no-build-isolation --target "$scratch/peer" "$carried/fused-ssim" >"$logs/fused-ssim.log" 2>&1 &
      peer=$!
    fi
  fi
  installed "$carried/peers"
  if [ -z "$rehearsal" ]; then
    DAL_FAST_ENGINES=cuda step conformance 90 "${pytest[@]}" -n 12 tests/conformance/test_conformance.py
    DAL_FAST_ENGINES=cuda,triton step gpu 90 "${pytest[@]}" tests/gpu
  else
    export DAL_FAST_ENGINES=portable
    step conformance 90 "${pytest[@]}" tests/conformance/test_conformance.py -k "$selection"
    step gpu 60 "${pytest[@]}" tests/gpu
  fi
  step chain 140 "$python" -m benchmarks.gpu_chain --device "$device" --out "$out" --pack "$pack" "${chain[@]}"
  if [ -n "$peer" ]; then
    wait "$peer" || note fused-ssim 'not built' 0 "$(tail -n 1 "$logs/fused-ssim.log" | cut -c1-90)"
    export PYTHONPATH=$PYTHONPATH:$scratch/peer
  fi
  step kernels 120 "$python" -m benchmarks.gpu_run --device "$device" --out "$out" "${kernels[@]}"
  if [ -z "$rehearsal" ]; then # whose kernels are compiled now: neighbours in the table go to one process
    DAL_FAST_ENGINES=triton step triton 60 "${pytest[@]}" -n 12 --dist worksteal tests/conformance/test_conformance.py
  else
    skip triton 'needs a GPU'
  fi
  step profile 30 "$python" -m benchmarks.gpu_profile times "${profile[@]}"
  for name in goals stages; do # ncu prints when all is done: our own kernels and few sections, or nothing comes back
    if [ -z "$rehearsal" ]; then
      step "$name" 30 ncu --profile-from-start off --clock-control none --csv --page details \
        --kernel-name-base demangled --kernel-name regex:dal:: \
        --section SpeedOfLight --section LaunchStats --section Occupancy --section WarpStateStats \
        "$python" -m benchmarks.gpu_profile "$name"
    else
      skip "$name" 'needs a GPU'
    fi
  done
  export DAL_FAST_ENGINES=cuda PYTORCH_NO_CUDA_MEMORY_CACHING=1
  if [ -z "$rehearsal" ]; then # our kernels alone, where this release can be asked for that
    filter=(--kernel-regex kns=dal)
    ! compute-sanitizer "${filter[@]}" true 2>&1 | grep -qiE 'unrecogni[sz]ed|unknown|invalid|usage' || filter=()
  fi
  for name in memcheck racecheck initcheck synccheck; do
    ! asked "$name" || tools+=("$name")
  done
  for i in "${!tools[@]}"; do # the time that is left, in equal parts
    if [ -n "$rehearsal" ]; then
      skip "${tools[i]}" 'needs a GPU'
    else
      step "${tools[i]}" $(($(left) / (${#tools[@]} - i))) compute-sanitizer --tool "${tools[i]}" "${filter[@]}" \
        --error-exitcode 9 "${pytest[@]}" tests/conformance/test_conformance.py -k "$selection"
    fi
  done
  finish profile kernels chain
}

training() { # gpu_train's arguments...
  local pack=.carry/brains.zip device=cuda reserve=20 # seconds to load and to write
  if [ -n "$rehearsal" ]; then
    pack=$scratch/brains.zip device=cpu reserve=60
    step pack 60 "$python" -m benchmarks.gpu_pack "$pack" --synthetic 6
  fi
  installed
  step training $(($(left) - 2)) "$python" -m benchmarks.gpu_train --pack "$pack" --out "$out" --device "$device" \
    --log "$logs/log.csv" --seconds $(($(left) - reserve)) "$@"
  finish training
}

prepare() { # data maps [fused-ssim]
  local platforms=()
  for name in manylinux_2_28 manylinux_2_27 manylinux_2_17 manylinux2014 manylinux1; do
    platforms+=(--platform "${name}_x86_64")
  done
  local evidence=.carry/evidence
  rm -rf .whl .carry
  local pip=("$python" -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp
    "${platforms[@]}")
  "${pip[@]}" -d .whl -r benchmarks/gpu_wheels.txt && "${pip[@]}" -d $evidence/peers -r benchmarks/gpu_peers.txt || exit 1
  "$python" -m benchmarks.gpu_pack .carry/brains.zip --data "$1" --maps "$2" &&
    "$python" -m benchmarks.gpu_pack $evidence/brains.zip --pack .carry/brains.zip || exit 1
  if [ -n "${3:-}" ]; then # the source of the peer that is compiled there
    mkdir $evidence/fused-ssim
    cp -r "$3"/{LICENSE,setup.py,pyproject.toml,fused_ssim} "$3"/*.{cpp,cu,h} $evidence/fused-ssim || exit 1
  fi
  "$python" -m benchmarks.gpu_prepare
}

rehearse() { # out
  local status=0
  export REHEARSAL=1 OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive
  "$0" evidence "$1/evidence" 200 || status=$?
  "$0" training "$1/training" 90 --widths 4 8 || status=$((status + $?))
  exit "$status"
}

part=${1:-}
case $part in
  prepare)
    if [ $# -ge 3 ]; then
      prepare "${@:2}"
      exit
    fi
    ;;
  evidence) [ $# -ge 2 ] && only=${*:4} && begin "$2" "${3:-470}" && evidence ;;
  training) [ $# -ge 2 ] && begin "$2" "${3:-530}" && training "${@:4}" ;;
  rehearse) [ $# -eq 2 ] && rehearse "$2" ;;
esac
sed -n '/^# /s/^# //p' "$0" | head -n 13 >&2
exit 2
