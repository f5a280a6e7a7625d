/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_monitor.h - a monitor without VMs for tests of its faces: method "echo" gives params back, "slow" answers when
 * fake_monitor_let_go is called, "huge" answers with 8 MiB, "shutdown" is noted; one VM "vm" has a real console.
 */
#ifndef FAKE_MONITOR_H
#define FAKE_MONITOR_H

#include "console/console.h"
#include "monitor/monitor.h"

struct monitor *fake_monitor_new(void);
struct console *fake_monitor_console(struct monitor *m);
/* The VM is destroyed: its console closes, its name is unknown. */
void fake_monitor_lose_vm(struct monitor *m);
void fake_monitor_let_go(struct monitor *m);
/* Blocks until n "slow" requests wait. */
void fake_monitor_wait_slow(struct monitor *m, unsigned n);

#endif
