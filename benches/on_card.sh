#!/usr/bin/env bash
# On a machine with an NVIDIA card: is it right, then how fast. Needs the program alone.
#   cargo build --release -p genesis-train && benches/on_card.sh target/release/genesis OUT
set -uo pipefail
genesis=$1
out=$2
mkdir -p "$out"
run() {
    local name=$1
    shift
    echo "== $name: $*"
    timeout 240 "$genesis" "$@" > "$out/$name.json" 2> "$out/$name.log" || echo "$name FAILED ($?): $(tail -n 1 "$out/$name.log")"
}
"$genesis" devices | tee "$out/devices.txt"
run selftest selftest --device cuda:0 --json
for precision in f32 bf16; do
    for batch in 2 6; do
        run "step-$precision-$batch" bench step --device cuda:0 --precision $precision --shape ${batch}x64x64x32 --json
        run "forward-$precision-$batch" bench forward --device cuda:0 --precision $precision --shape ${batch}x64x64x32 --json
    done
    run "kernels-$precision" bench --device cuda:0 --precision $precision --shape 6x64x64x32 --json
done
run demo demo --device cuda:0 --out "$out/demo" --json
python3 - "$out" <<'PY'
import json, pathlib, sys
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.json")):
    try:
        report = json.loads(path.read_text())
    except ValueError:
        continue
    if "seconds_per_step" in report:
        print(f"{path.stem}: {report['seconds_per_step']:.4f} s, {report['gflops']:.0f} GFLOP/s, ceilings {report['ceilings']}")
    elif "failed" in report and "passed" in report:
        print(f"{path.stem}: {report['passed']} passed, {report['failed']} failed")
    for total in report.get("totals", []):
        print(f"{path.stem}: {total['operation']} {total['direction']}: {total['gflops']:.0f} GFLOP/s, {100 * total['share_of_peak']:.0f} % of peak")
PY
