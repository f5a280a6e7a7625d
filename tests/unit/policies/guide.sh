#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Does docs/write-a-scheduler.md keep its word? Follows it from an empty folder: writes each source file that it shows,
# runs the compile commands as they stand there, and lets the images decide.
#
#	guide.sh PROJECT TRY-IMAGE
set -eu

BATON=$1
try_image=$2
guide=$BATON/docs/write-a-scheduler.md
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

# A file is announced by a comment <!-- file: NAME --> before its block.
awk '/^<!-- file: / { name = $3; next }
     /^```/ { if (inside) { inside = 0; close(name); name = "" } else if (name != "") inside = 1; next }
     inside { print > name }' "$guide"
for source in *.c; do
	cmp "$source" "$BATON/docs/examples/$source"
done

grep '^    cc ' "$guide" > commands
[ "$(wc -l < commands)" -ge 2 ]
# shellcheck disable=SC1091 # written above
. ./commands
for source in *.c; do
	"$try_image" "./${source%.c}.baton"
done
