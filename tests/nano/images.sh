#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# images.sh BATOND BATON GUESTS UPLOADER SOURCE.c
#
# From a scheduler's source to a running monitor: built, signed and published with `baton image`, served by an ordinary web
# server, loaded by name under a VM that goes on; then everything that must be refused, and an upload by a service VM.
set -euo pipefail
batond=$(realpath "$1") baton=$(realpath "$2") guests=$(realpath "$3") uploader=$(realpath "$4") source=$(realpath "$5")
[ -w /dev/kvm ] || { echo "skipped: no /dev/kvm here"; exit 77; }
dir=$(mktemp -d /tmp/baton-images-XXXXXX)
monitor='' web=''
cleanup() {
	[ -z "$monitor" ] || kill "$monitor" 2>/dev/null || true
	[ -z "$web" ] || kill "$web" 2>/dev/null || true
	wait 2>/dev/null || true
	rm -rf "$dir"
}
trap cleanup EXIT
cd "$dir"
export BATON_SOCKET=$dir/control.sock no_proxy=127.0.0.1

fail() {
	echo "FAILED: $*"
	[ ! -f batond.log ] || tail -n 20 batond.log
	exit 1
}
refused() { # refused WORD... -- COMMAND: status 1 and every word in what it says
	local words=() out
	while [ "$1" != -- ]; do words+=("$1") && shift; done
	shift
	if out=$("$@" 2>&1); then fail "not refused: $*: $out"; fi
	for word in "${words[@]}"; do
		[[ $out == *"$word"* ]] || fail "$*: no \"$word\" in: $out"
	done
}

# A text of the answer's last object that has one of this name: the change's, unless only the whole has it.
text() { "$baton" sched status --json | sed -n "s/^ *\"$1\": \"\(.*\)\",\{0,1\}\$/\1/p" | tail -n 1; }
active() { text active; }
change() { text "$1"; }

start() { # start OPTION...
	"$batond" --cache "$dir/cache" --state "$dir/state" --images "$dir" "$@" >>batond.log 2>&1 &
	monitor=$!
	for _ in $(seq 600); do
		"$baton" ls >/dev/null 2>&1 && break
		kill -0 "$monitor" 2>/dev/null || fail "batond does not start"
		sleep 0.1
	done
	"$baton" run --name neighbour --kernel "$guests/waker" --memory 4 --cmdline 'beat_ms=5 period_us=1000 work=1' >/dev/null
}
stop() {
	"$baton" shutdown >/dev/null
	wait "$monitor" || fail "batond ends with status $?"
	monitor=''
}

serve() {
	python3 -u -m http.server --bind 127.0.0.1 --directory "$dir/srv" 0 >web.log 2>&1 &
	web=$!
	for _ in $(seq 600); do
		port=$(sed -n 's/.*port \([0-9]*\).*/\1/p' web.log)
		[ -z "$port" ] || break
		sleep 0.1
	done
	[ -n "$port" ] || fail "no web server"
}

# ---- made ----

"$baton" image keys make author >/dev/null
"$baton" image keys make stranger >/dev/null
"$baton" image keys trust keys author.pub >/dev/null
for v in 1.0 1.1 1.2; do
	sed "s/\.version = \"[^\"]*\"/.version = \"$v\"/" "$source" >turns.c
	"$baton" image build turns.c -o "turns-$v.baton" >/dev/null
done
refused "not signed" -- "$baton" image verify turns-1.0.baton
"$baton" image sign turns-1.0.baton --key author.key >/dev/null
"$baton" image sign turns-1.1.baton --key author.key >/dev/null
"$baton" image verify turns-1.0.baton --trusted-keys keys >/dev/null
cp turns-1.2.baton plain.baton
"$baton" image sign turns-1.2.baton --key stranger.key >/dev/null
refused "by no key" -- "$baton" image verify turns-1.2.baton --trusted-keys keys
"$baton" image publish srv turns-1.0.baton turns-1.2.baton >/dev/null
"$baton" image publish srv turns-1.1.baton --channel stable >/dev/null
"$baton" image sign turns-1.1.baton --key stranger.key -o other.baton >/dev/null
refused "never changes" -- "$baton" image publish srv other.baton
tr x y <turns-1.0.baton >altered.baton
refused "altered" -- "$baton" image verify altered.baton
echo "int x;" >broken.c
refused "writable data" -- "$baton" image build broken.c
[ ! -e broken.baton ] || fail "an image that no monitor takes was left"
serve

# ---- only what the author signed ----

start --image-server "http://127.0.0.1:$port" --trusted-keys keys
"$baton" sched load turns@stable >/dev/null
[ "$(active)" = turns ] || fail "turns does not decide"
[[ $(change vouched) == *author* ]] || fail "the report does not say who signed"
[ "$(change digest)" = "$(sha256sum turns-1.1.baton | cut -d' ' -f1)" ] || fail "the report has another digest"
refused "older than 1.1" -- "$baton" sched load turns@1.0
refused "not trusted" -- "$baton" sched load server:turns@1.2
refused "not signed" -- "$baton" sched load "$dir/plain.baton"
refused "nothing" -- "$baton" sched load nothing@stable
refused "altered" -- "$baton" sched load ./altered.baton --older
[ "$(active)" = turns ] || fail "a refused image changed who decides"
stop

# the minimum is known after a restart; the operator may go below it, and then that counts
start --image-server "http://127.0.0.1:$port" --trusted-keys keys
refused "older than 1.1" -- "$baton" sched load turns@1.0
"$baton" sched load turns@1.0 --older >/dev/null
[ "$(cat state/minimum-versions)" = "turns 1.0" ] || fail "the minimum did not follow the operator"
stop

# ---- without a web server: the cache ----

kill "$web"
wait "$web" 2>/dev/null || true
web=''
start --image-server "http://127.0.0.1:$port" --trusted-keys keys
"$baton" sched load turns@stable >/dev/null
[ "$(active)" = turns ] || fail "the cache does not serve"
[[ $(change note) == *away* ]] || fail "nobody is told that the server is away"
stop

# ---- uploads by a service VM ----

embed() { # embed IMAGE GUEST: the uploader with this image in it
	python3 - "$uploader" "$1" "$2" <<'END'
import sys
guest, image = open(sys.argv[1], 'rb').read(), open(sys.argv[2], 'rb').read()
at = guest.index(b'here follow size and image......') + 32
guest = guest[:at] + len(image).to_bytes(8, 'little') + image + guest[at + 8 + len(image):]
open(sys.argv[3], 'wb').write(guest)
END
}
upload() { # upload NAME IMAGE WORDS: its console's output
	embed "$2" "$1"
	"$baton" run --name "$1" --service --kernel "$dir/$1" --memory 4 --cmdline \
		"begin={\"size\":$(stat -c %s "$2"),\"digest\":\"$(sha256sum "$2" | cut -d' ' -f1)\"} $3" >/dev/null
	for _ in $(seq 600); do
		"$baton" ls | grep -E "\\b$1\\b.*\\boff\\b" >/dev/null && break
		sleep 0.1
	done
	sleep 0.2
}
ended() { # the last change has ended
	for _ in $(seq 600); do
		case $(change state) in done | refused) return 0 ;; esac
		sleep 0.1
	done
	fail "the change does not end"
}

start --trusted-keys keys
upload signed turns-1.1.baton ''
ended
[ "$(active)" = turns ] || fail "what the service VM uploaded does not decide: $(change error)"
[[ $(change requester) == *signed* && $(change image) == upload:* ]] || fail "the report does not say who brought it"
upload pieces turns-1.1.baton 'piece=1000'
ended
[ "$(change state)" = "done" ] || fail "an upload in many pieces was refused: $(change error)"
upload wrong turns-1.1.baton 'wrong=1'
ended
[[ $(change error) == *"not uploaded"* ]] || fail "an upload with a hole was taken: $(change error)"
upload unsigned plain.baton ''
ended
[[ $(change error) == *"not signed"* ]] || fail "an unsigned upload was not refused: $(change error)"
stop

start # no keys: the service VM's place vouches for nothing
upload unsigned plain.baton ''
ended
[[ $(change error) == *"not signed"* ]] || fail "an unsigned upload was taken: $(change error)"
"$baton" sched load ./plain.baton >/dev/null || fail "the operator's own file was refused"
"$baton" ls | grep -E "neighbour .*running" >/dev/null || fail "the neighbour is not well"
stop
echo passed
