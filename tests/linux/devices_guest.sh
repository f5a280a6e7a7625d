#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash
#
# devices_guest.sh - the part of the devices test that runs in the guest, from the disk that it tests (see devices.sh).
#
#	/dev/vda  ext4, with this script		/dev/vdb  read-only
#	/dev/vdc  its file has no room for its size	/dev/vdd  its file has become shorter

port=$1
disk=/mnt

must() { # must CMD...
	"$@" || {
		echo "guest: failed: $*"
		exit 1
	}
}

must_not() { # must_not CMD...: an error is what shall come
	if "$@"; then
		echo "guest: did not fail: $*"
		exit 1
	fi
}

sum() {
	sha256sum <"$1" | cut -d' ' -f1
}

echo "guest: disk"
must test "$(sum $disk/data)" = "$(cat $disk/data.sum)"
must cp $disk/data $disk/copy
must dd if=/dev/urandom of=$disk/fresh bs=64k count=16 2>/dev/null
sum $disk/fresh >$disk/fresh.sum
must rm $disk/victim
must sync
echo 3 >/proc/sys/vm/drop_caches
must test "$(sum $disk/copy)" = "$(cat $disk/data.sum)"
must test "$(sum $disk/fresh)" = "$(cat $disk/fresh.sum)"
must fstrim $disk

echo "guest: read-only disk"
must test "$(cat /sys/block/vdb/ro)" = 1
must test "$(dd if=/dev/vdb bs=512 count=1 2>/dev/null | tr -d '\0')" = "read only"
must_not dd if=/dev/zero of=/dev/vdb bs=512 count=1 2>/dev/null

echo "guest: errors"
must_not dd if=/dev/zero of=/dev/vdc bs=64k count=24 conv=fsync 2>/dev/null
must_not dd if=/dev/vdd of=/dev/null bs=4k skip=128 count=1 2>/dev/null
must dd if=/dev/vdd of=/dev/null bs=4k count=1 2>/dev/null
must test "$(sum $disk/data)" = "$(cat $disk/data.sum)"

echo "guest: entropy"
must test "$(cat /sys/class/misc/hw_random/rng_current)" = virtio_rng.0
must dd if=/dev/hwrng of=/tmp/random bs=512 count=8 2>/dev/null
must test "$(wc -c </tmp/random)" = 4096
must test "$(gzip -c /tmp/random | wc -c)" -ge 4096

echo "guest: network"
must ip link set lo up
must ip link set eth0 up
must ip addr add 10.0.2.15/24 dev eth0
must ip route add default via 10.0.2.2
must ping -c 2 -W 5 10.0.2.2
must wget -q -O /tmp/fetched "http://10.0.2.2:$port/data"
must test "$(sum /tmp/fetched)" = "$(cat $disk/data.sum)"
must nc 10.0.2.2 $((port + 1)) <$disk/fresh
echo "guest: listening"
nc -l -p 7 >/tmp/called
must test "$(cat /tmp/called)" = "hello from outside"

echo "guest: console"
echo "by hvc0: $(seq -s, 1 400)" >/dev/hvc0
read -r typed </dev/hvc0
must test "$typed" = "typed at the console"
must test "$(stty size </dev/hvc0)" = "40 100"

must umount $disk
echo "guest: all passed"
