#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# fuzz.sh TARGET SEEDS: runs a libFuzzer target for FUZZ_SECONDS (60) from the images in SEEDS. What it finds is kept in
# the build directory beside the target (crash-*), the corpus too.
set -eu
target=$1 seeds=$2
corpus=$(dirname "$target")/corpus-$(basename "$target")
mkdir -p "$corpus"
exec "$target" -max_total_time="${FUZZ_SECONDS:-60}" -max_len=32768 -artifact_prefix="$(dirname "$target")/" \
	-print_final_stats=1 "$corpus" "$seeds"
