#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Does the policy kit work for somebody who has only an installed Baton? Installs the build into an empty place, makes a
# scheduler there with `baton sched new`, builds it with each compiler and only pkg-config, and lets the image decide.
#
#	kit.sh MESON BUILD-DIRECTORY TRY-IMAGE
set -eu

meson=$1 build=$2 try_image=$3
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

fail() {
	echo "kit.sh: $1" >&2
	exit 1
}

# refuses TEXT CMD...: fails, says one line, and the line has TEXT in it.
refuses() {
	text=$1
	shift
	! "$@" >"$dir/out" 2>&1 || fail "not refused: $*"
	[ "$(wc -l <"$dir/out")" -eq 1 ] || fail "not one line: $* said: $(cat "$dir/out")"
	grep -q -- "$text" "$dir/out" || fail "$* said: $(cat "$dir/out")"
}

"$meson" install -C "$build" --no-rebuild --quiet --destdir "$dir/root"
prefix=$(dirname "$(dirname "$(find "$dir/root" -path '*/bin/baton')")")
baton=$prefix/bin/baton
PKG_CONFIG_PATH=$prefix/share/pkgconfig
export PKG_CONFIG_PATH
for file in bin/batond include/baton/scheduler.h include/baton/kit.h share/man/man1/baton.1 share/man/man8/batond.8 \
	share/bash-completion/completions/baton; do
	[ -f "$prefix/$file" ] || fail "$file is not installed"
done
find "$prefix" -name bvt.baton | grep -q . || fail "no policy images are installed"

# A scheduler of one's own.
mkdir "$dir/work"
cd "$dir/work"
"$baton" sched new turtle
for cc in gcc clang; do
	command -v "$cc" >/dev/null || continue
	make -s -C turtle clean
	make -s -C turtle CC="$cc" CFLAGS='-O2 -Wall -Wextra -Wno-unused-parameter -Werror'
	"$baton" sched info turtle/turtle.baton | grep -q '^turtle 0.1' || fail "info does not know its name"
	"$try_image" turtle/turtle.baton
	"$baton" sched check turtle/turtle.baton --runs 50 | grep -q '^nothing was found' ||
		fail "the template does not pass its own check"
done
"$baton" sched new hare --dir turtle
make -s -C turtle/hare BATON="$baton" all info >"$dir/out"
grep -q 'slice_us *pool *5000 *100 *1000000 *us' "$dir/out" || fail "info does not show the parameter"
"$baton" sched info --json turtle/turtle.baton | python3 -c '
import json, sys
i = json.load(sys.stdin)
assert i["name"] == "turtle" and i["abi"] == 1 and len(i["digest"]) == 64 and "choose" in i["ops"], i
assert {"name": "slice_us", "scope": "pool", "unit": "us", "min": 100, "max": 1000000, "default": 5000}.items() \
    <= i["parameters"][0].items(), i'

# One with a mistake: what fails is said, shrunk, and written to a file that the simulator reads.
sed 's/turtle_wake(r, v, now);$/if (v != 1) &/' turtle/turtle.c >turtle/hare/hare.c
sed -i 's/turtle/hare/g' turtle/hare/hare.c
make -s -C turtle/hare
! "$baton" sched check turtle/hare/hare.baton --runs 50 --out turtle/hare >"$dir/out" || fail "the mistake was not found"
grep -q 'shares  *FAILED' "$dir/out" || fail "the mistake did not show in the shares: $(cat "$dir/out")"
"$baton" sim run --policy turtle/hare/hare.baton turtle/hare/hare-shares.json >/dev/null || fail "the example is not read"
"$baton" sched check turtle/hare/hare.baton --first --json --runs 50 --out turtle/hare >"$dir/out" || :
python3 -c 'import json, sys; assert json.load(open(sys.argv[1]))["passed"] is False' "$dir/out"
refuses "did you mean 'shares'" "$baton" sched check rr --skip shars
refuses 'not a whole number' "$baton" sched check rr --runs 0
refuses 'No such file' "$baton" sched check ./nothing.baton

# What does not work says why, in one line, and leaves nothing behind.
refuses 'there already' "$baton" sched new turtle
for name in '' 9x Turtle ../x a-b 'a b' "$(printf 'x%.0s' $(seq 32))"; do
	refuses 'cannot name a scheduler' "$baton" sched new "$name"
done
refuses 'built-in default' "$baton" sched new rr
refuses 'check --dir' "$baton" sched new x --dir "$dir/nowhere"
refuses 'needs one name' "$baton" sched new
refuses 'No such file' "$baton" sched info nothing.baton
refuses 'not a regular file' "$baton" sched info turtle
refuses 'not an ELF file' "$baton" sched info turtle/turtle.c
head -c 3000 turtle/turtle.baton >cut.baton
refuses 'cut.baton' "$baton" sched info cut.baton
[ "$(ls)" = "$(printf 'cut.baton\nturtle')" ] || fail "something was left behind: $(ls)"

# Without pkg-config's file the Makefile says so.
(PKG_CONFIG_PATH=$dir && ! make -C turtle clean all 2>&1) | grep -q 'install Baton' || fail "no word about pkg-config"

# The manual and the completion know every command.
for command in $("$baton" --help | sed -n '/^Try:/q; s/^  \([a-z]*\) .*/\1/p'); do
	grep -q "^.It Cm $command" "$prefix/share/man/man1/baton.1" || fail "baton.1 does not explain $command"
done
PATH=$prefix/bin:$PATH bash -c '
	. "$1"
	COMP_WORDS=(baton sched inf) COMP_CWORD=2 && _baton && [ "${COMPREPLY[*]}" = info ] || exit 1
	COMP_WORDS=(baton sch) COMP_CWORD=1 && _baton && [ "${COMPREPLY[*]}" = sched ] || exit 1
	COMP_WORDS=(baton sched load --ho) COMP_CWORD=3 && _baton && [ "${COMPREPLY[*]}" = --how ]
' completion "$prefix/share/bash-completion/completions/baton" || fail "the completion does not complete"
