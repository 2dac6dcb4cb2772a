/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DEVICES_POWER_REGISTERS_H
#define DEVICES_POWER_REGISTERS_H

/*
 * Offsets and values of struct power's registers. Nothing but #defines: iasl includes it too.
 */
#define POWER_SLEEP_CONTROL 0
#define POWER_SLEEP_STATUS  1
#define POWER_RESET         2
#define POWER_PORTS         4

/* The RESET_VALUE of the FADT. */
#define POWER_RESET_VALUE   0x5a

/* SLP_TYP of soft off: what the _S5 object of the DSDT says. */
#define POWER_SLP_TYP_S5    5

#endif
