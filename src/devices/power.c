/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/power.h"

#define SLEEP_ENABLE	   0x20
#define SLEEP_TYPE_SHIFT   2
#define PORT_I8042_COMMAND 0x64
#define I8042_PULSE_RESET  0xfe
#define PORT_RESET_CONTROL 0xcf9
#define RESET_CONTROL_CPU  0x04

static uint64_t read_zero(void *device, uint64_t offset, unsigned size)
{
	return 0;
}

static enum vcpu_next acpi_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	switch (offset) {
	case POWER_PORT_SLEEP_CONTROL - POWER_PORT_SLEEP_CONTROL:
		if (value & SLEEP_ENABLE && (value >> SLEEP_TYPE_SHIFT & 7) == POWER_S5_TYPE)
			return VCPU_POWER_OFF;
		return VCPU_RESUME;
	case POWER_PORT_RESET - POWER_PORT_SLEEP_CONTROL:
		return (uint8_t)value == POWER_RESET_VALUE ? VCPU_RESET : VCPU_RESUME;
	default:
		return VCPU_RESUME;
	}
}

static enum vcpu_next i8042_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	return (uint8_t)value == I8042_PULSE_RESET ? VCPU_RESET : VCPU_RESUME;
}

static enum vcpu_next reset_control_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	return value & RESET_CONTROL_CPU ? VCPU_RESET : VCPU_RESUME;
}

static const struct io_ops acpi_ops = {.read = read_zero, .write = acpi_write};
/* The status reads as "ready for a command": guests wait for that before they pulse the reset line. */
static const struct io_ops i8042_ops = {.read = read_zero, .write = i8042_write};
static const struct io_ops reset_control_ops = {.read = read_zero, .write = reset_control_write};

int power_register(struct io_space *ports)
{
	int r;

	r = io_register(ports, POWER_PORT_SLEEP_CONTROL, 3, &acpi_ops, NULL);
	if (r == 0)
		r = io_register(ports, PORT_I8042_COMMAND, 1, &i8042_ops, NULL);
	if (r == 0)
		r = io_register(ports, PORT_RESET_CONTROL, 1, &reset_control_ops, NULL);
	return r;
}
