#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# inside.sh - tests that drive batond with Linux guests; runs where /dev/kvm is real (see run beside this file).

set -euo pipefail
build=$1
name=$2
work=$(mktemp -d)
cmdline=$(cat "$build/guests/cmdline")

cleanup() {
	local status=$?
	if [ "$status" -ne 0 ]; then
		echo "---- $name failed; what is there:"
		baton ls || true
		for vm in "$work"/*.console; do
			[ -f "$vm" ] && echo "---- $vm" && tail -n 30 "$vm"
		done
	fi
	kill "$monitor" 2>/dev/null && wait "$monitor" 2>/dev/null
	rm -rf "$work"
	exit "$status"
}

baton() {
	"$build/src/cli/baton" --socket "$work/socket" "$@"
}

start_monitor() {
	"$build/src/control/batond" --socket "$work/socket" --images "$build/src/policies" &
	monitor=$!
	trap cleanup EXIT
	until_true 20 test -S "$work/socket"
}

# vm NAME INITRD WORDS [OPTION...]: starts a guest and keeps its console.
vm() {
	local name=$1 initrd=$2 words=$3
	shift 3
	baton run --name "$name" --kernel "$build/guests/vmlinux" --initrd "$build/guests/$initrd.cpio.gz" --memory 128 \
		--cmdline "$cmdline $words" "$@"
	(sleep 600 | baton console "$name" >"$work/$name.console" 2>&1) &
}

# field NAME FIELD: of `baton ls --json`.
field() {
	baton ls --json | python3 -c 'import json, sys
vm = [v for v in json.load(sys.stdin)["vms"] if v["name"] == sys.argv[1]][0]
print(vm[sys.argv[2]])' "$1" "$2"
}

# until_true SECONDS CMD...: a generous limit for something that must happen; not a timing claim.
until_true() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		[ "$SECONDS" -lt "$end" ] || { echo "never came true: $*"; return 1; }
		sleep 0.5
	done
}

is() { # is NAME FIELD VALUE
	[ "$(field "$1" "$2")" = "$3" ]
}

at_least() { # at_least NAME FIELD NUMBER
	[ "$(field "$1" "$2")" -ge "$3" ]
}

says() { # says NAME REGEX: on its console
	grep -qE "$2" "$work/$1.console"
}

# 4 and 8 vCPUs on 2 pCPUs: all come up, and the guest switches itself off.
smp() {
	start_monitor
	vm four compute "baton.exec=nproc" --vcpus 4
	vm eight compute "baton.exec=nproc" --vcpus 8
	until_true 240 is four state off
	until_true 240 is eight state off
	says four '^4.?$'
	says eight '^8.?$'
}

# Reboots by the guest itself, again and again; and a kernel panic, which is a reboot by triple fault. The neighbour
# does not notice.
reboot() {
	start_monitor
	vm neighbour sleeper "baton.beat=200"
	vm again compute "baton.reboot=1" --vcpus 2
	until_true 120 at_least neighbour heartbeats 3
	until_true 240 at_least again boots 4
	baton destroy again
	vm panics service "baton.exec=\"echo c >/proc/sysrq-trigger\""
	until_true 120 at_least panics boots 2
	baton destroy panics
	is neighbour heartbeat_holes 0
	is neighbour boots 1
	is neighbour state running
}

# The service application in the service VM gets what it asks for; the same program in a guest VM is refused.
service() {
	start_monitor
	local ask="baton-service list && baton-service load bvt --image file:bvt.baton --param allowance_us=2000 --wait"
	ask+=" && baton-service status && baton-service default && baton-service unload bvt"
	vm service service "baton.exec=\"$ask\"" --service
	until_true 200 is service state off
	is service exit_status 0
	says service 'rr -> bvt'
	baton sched history | grep -E 'rr +bvt +live +service VM service +done'
	baton sched history | grep -E 'bvt +rr +live +service VM service +done'

	vm guest service "baton.exec=\"baton-service load bvt --image file:bvt.baton\""
	until_true 120 is guest state off
	[ "$(field guest exit_status)" -ne 0 ]
	says guest 'only the service VM'
	vm outside service "baton.exec=\"baton-service load x --image file:/etc/passwd --wait\"" --service
	until_true 120 is outside state off
	[ "$(field outside exit_status)" -ne 0 ]
	says outside 'without a slash'
	baton sched status | grep -q '^rr decides'
}

# What is typed reaches the guest's shell by the UART, and its answer comes back.
console() {
	start_monitor
	vm shell service "" --service
	until_true 120 says shell 'service# '
	# shellcheck disable=SC2016 # the guest's shell shall count
	echo 'echo six times seven is $((6*7))' | timeout 5 "$build/src/cli/baton" --socket "$work/socket" console shell >/dev/null || true
	until_true 60 says shell 'six times seven is 42'
}

# shellcheck source=tests/linux/devices.sh
source "$(dirname "$0")/devices.sh"

"$name"
echo "passed: $name"
