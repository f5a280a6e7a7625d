# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # work comes from inside.sh, which sources this
#
# devices.sh - disks, network and entropy, used by Linux's own drivers; what arrives outside is checked outside.

devices() {
	local port=18080 files=$work/files server sink changes
	mkdir -p "$files" "$work/small"
	dd if=/dev/urandom of="$files/data" bs=64k count=16 2>/dev/null
	dd if=/dev/urandom of="$files/victim" bs=64k count=64 2>/dev/null
	sha256sum <"$files/data" | cut -d' ' -f1 >"$files/data.sum"
	cp "$(dirname "$0")/devices_guest.sh" "$files/test.sh"
	mkfs.ext4 -q -d "$files" "$work/disk.img" 32M
	printf 'read only' >"$work/ro.img" && truncate -s 1M "$work/ro.img"
	# A disk that has less room than it says: on a file system of its own where we may make one.
	mount -t tmpfs -o size=1m small "$work/small"
	truncate -s 8M "$work/small/disk.img"
	truncate -s 1M "$work/short.img"

	python3 -m http.server --bind 127.0.0.1 --directory "$files" "$port" >"$work/server.log" 2>&1 &
	server=$!
	python3 - "$((port + 1))" "$work/uploaded" <<'END' &
import socket, sys
s = socket.create_server(("127.0.0.1", int(sys.argv[1])))
c, _ = s.accept()
with open(sys.argv[2] + ".part", "wb") as f:
    while data := c.recv(65536):
        f.write(data)
import os
os.rename(sys.argv[2] + ".part", sys.argv[2])
END
	sink=$!
	start_monitor
	vm disks devices "baton.exec=\"mount -t ext4 /dev/vda /mnt && cp /mnt/test.sh / && sh /test.sh $port\"" --vcpus 2 \
		--disk "$work/disk.img" --disk "$work/ro.img,ro" --disk "$work/small/disk.img" --disk "$work/short.img" \
		--net "user,host,forward=tcp:127.0.0.1:$((port + 2)):7" --rng --console virtio
	truncate -s 8k "$work/short.img"
	change_for_ever &
	changes=$!
	# A second user of a disk is refused.
	if baton run --name thief --kernel "$build/guests/vmlinux" --disk "$work/disk.img" 2>"$work/thief.log"; then
		return 1
	fi
	grep -q 'in use by another' "$work/thief.log"

	until_true 120 says disks 'guest: (listening|failed|did not)'
	says disks 'guest: listening'
	call "$((port + 2))" "hello from outside"
	until_true 60 says disks '^by hvc0: '
	says disks ",$(seq -s, 390 400).?\$"
	ask '{"method": "console.resize", "params": {"vm": "disks", "columns": 100, "rows": 40}}'
	echo 'typed at the console' | timeout 5 "$build/src/cli/baton" --socket "$work/socket" console disks >/dev/null || true
	until_true 60 is disks state off
	kill "$changes"
	wait "$changes" || true # ended by a signal
	kill "$server" "$sink" 2>/dev/null || true
	says disks 'guest: all passed'
	is disks exit_status 0

	# The changes all went well, with every device at rest.
	baton sched history | grep -cE 'bvt +rr +cease .*done'
	! baton sched history | grep -q refused

	e2fsck -fn "$work/disk.img"
	outside copy | cmp - "$files/data"
	[ "$(outside fresh | sha256sum | cut -d' ' -f1)" = "$(outside fresh.sum)" ]
	outside fresh | cmp - "$work/uploaded"
	# The 4 MiB of the file that was removed went back to the host by fstrim.
	[ "$(du -k "$work/disk.img" | cut -f1)" -lt 16000 ]
	umount "$work/small"
}

# Ceases everything again and again while the guest works.
change_for_ever() {
	while baton sched load bvt --how cease && baton sched default --how cease; do
		sleep 0.5
	done >"$work/changes.log" 2>&1
}

ask() { # ask REQUEST: to the control socket
	python3 - "$work/socket" "$1" <<'END'
import json, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(sys.argv[2].encode() + b"\n")
reply = json.loads(s.makefile().readline())
assert reply["ok"], reply
END
}

outside() { # outside FILE: as it is in the guest's file system
	debugfs -R "cat /$1" "$work/disk.img" 2>/dev/null
}

call() { # call PORT TEXT: until somebody answers the phone
	python3 - "$1" "$2" <<'END'
import socket, sys, time
c = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=20)
c.sendall(sys.argv[2].encode())
c.shutdown(socket.SHUT_WR)
c.recv(1)
END
}
