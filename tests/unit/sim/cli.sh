#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# cli.sh BATON WORKLOADS IMAGES - `baton sim` as people use it: every workload that is shipped, every form of output, and
# what it says about wrong arguments.

set -euo pipefail
baton=$1 workloads=$2 images=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
	echo "cli.sh: $1" >&2
	exit 1
}

# refuses STATUS TEXT ARGUMENT...: ends with that status, and says so on standard error.
refuses() {
	local status=0
	"$baton" sim "${@:3}" >"$work/out" 2>"$work/err" || status=$?
	[ "$status" = "$1" ] || fail "sim ${*:3}: status $status, not $1: $(cat "$work/err")"
	grep -qF -- "$2" "$work/err" || fail "sim ${*:3}: does not say '$2': $(cat "$work/err")"
}

# Every workload runs under every policy that does not refuse it; the same run twice is the same to the byte.
for workload in "$workloads"/*.json; do
	"$baton" sim run --duration 100ms --json "$workload" >"$work/a.json"
	"$baton" sim run --duration 100ms --json "$workload" >"$work/b.json"
	cmp "$work/a.json" "$work/b.json"
	python3 -m json.tool "$work/a.json" >/dev/null
done
"$baton" sim run --duration 100ms --json --seed 2 "$workloads/mix.json" >"$work/b.json"
"$baton" sim run --duration 100ms --json --seed 3 "$workloads/mix.json" >"$work/a.json"
cmp -s "$work/a.json" "$work/b.json" && fail "another seed gives the same run"

# An image is the policy that is built in.
"$baton" sim run --policy bvt "$workloads/mix.json" >"$work/a"
"$baton" sim run --policy "$images/bvt.baton" "$workloads/mix.json" >"$work/b"
cmp "$work/a" "$work/b"

# All that is written.
"$baton" sim compare rr rr:slice_us=1000 bvt "$workloads/mix.json" --html "$work/page.html" >"$work/out"
grep -q '^video  *rr ' "$work/out" || fail "compare shows no row for video under rr"
[ "$(grep -c '<script type="application/json"' "$work/page.html")" = 1 ] || fail "the page has no report in it"
grep -qE '(src|href)=' "$work/page.html" && fail "the page needs other files"
"$baton" sim run --svg "$work/plot.svg" --from 10ms --for 20ms "$workloads/mix.json" >/dev/null
python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' "$work/plot.svg"
for how in live cease; do
	"$baton" sim change rr "$images/bvt.baton" --how $how --at 1s "$workloads/mix.json" >"$work/out"
	grep -q "^rr -> bvt ($how) at 1s: done" "$work/out" || fail "the change was not done: $(cat "$work/out")"
done
cat >"$work/recording" <<'END'
{"baton_recording": 1, "pcpus": 1, "duration": "10ms"}
{"name": "a"}
[0, "at", 1000000, 2000000, "halt"]
{"end": 1}
END
"$baton" sim run --recording "$work/recording" | grep -q '^a  *1  *256  *20.0 %' || fail "the recording was not replayed"

# What is wrong is said, and nothing is written.
refuses 2 "needs run, compare, change" # nothing at all
refuses 2 "did you mean 'compare'" compere
refuses 2 "workload file is missing" run
refuses 1 "No such file" run "$work/none.json"
refuses 1 "there is no policy xyz" run --policy xyz "$workloads/mix.json"
refuses 1 "none.baton" run --policy ./none.baton "$workloads/mix.json"
refuses 1 "out of range" run --policy rr --set slice_us=1 "$workloads/mix.json"
refuses 1 "no parameter" run --policy rr:slices=1 "$workloads/mix.json"
refuses 2 "is not name=number" run --set slice_us "$workloads/mix.json"
refuses 2 "is no time" run --duration 5 "$workloads/mix.json"
refuses 2 "takes one workload file" run rr "$workloads/mix.json"
refuses 2 "2 to" compare rr "$workloads/mix.json"
refuses 2 "behind them" compare rr bvt --set slice_us=1000 "$workloads/mix.json"
refuses 2 "draws one run" compare rr bvt --svg "$work/plot.svg" "$workloads/mix.json"
refuses 2 "needs --at" change rr bvt "$workloads/mix.json"
refuses 2 "before the end" change rr bvt --at 1min "$workloads/mix.json"
refuses 2 "live or cease" change rr bvt --at 1s --how soon "$workloads/mix.json"
refuses 1 "cannot write" run --html "$work/none/page.html" "$workloads/mix.json"
printf '{"pcpus": 1,\n "duration": "1s",\n "vms": [{"name": "a"}]}\n' >"$work/wrong.json"
refuses 1 "wrong.json:3: vms[0]: " run "$work/wrong.json" --html "$work/none.html"
[ ! -e "$work/none.html" ] || fail "a page was written for a workload that is refused"
