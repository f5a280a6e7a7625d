/* SPDX-License-Identifier: Apache-2.0 */
/*
 * power.h - how a guest switches itself off or resets: the ACPI sleep control and reset registers (hardware-reduced
 * ACPI), and the two ways of old PCs, the keyboard controller's pulse and port 0xcf9. It has no state and no lock.
 */
#ifndef DEVICES_POWER_H
#define DEVICES_POWER_H

#include "machine/io.h"

#define POWER_PORT_SLEEP_CONTROL 0x600
#define POWER_PORT_SLEEP_STATUS	 0x601
#define POWER_PORT_RESET	 0x602
#define POWER_RESET_VALUE	 0x01
#define POWER_S5_TYPE		 5 /* SLP_TYP of "off", as \_S5 tells the guest */

/* 0 or what io_register says. */
int power_register(struct io_space *ports);

#endif
