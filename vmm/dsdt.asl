// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a kernel cannot find out by itself (ACPI 6.4, 5.2.11.1): how to switch off, and the devices
 * at fixed ports. Addresses as in vmm/layout.h, with edge-triggered interrupts.
 */
#include "../devices/power_registers.h"

DefinitionBlock ("", "DSDT", 2, "SAMARA", "SAMARA  ", 1)
{
	Name (\_S5, Package () { POWER_SLP_TYP_S5, 0, 0, 0 })

#include "virtio.asl"

	Scope (\_SB)
	{
		Device (COM1)
		{
			Name (_HID, EisaId ("PNP0501"))
			Name (_UID, 1)
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, 0x3f8, 0x3f8, 1, 8)
				Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { 4 }
			})
		}

		Device (RTC0)
		{
			Name (_HID, EisaId ("PNP0B00"))
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, 0x70, 0x70, 1, 2)
				Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { 8 }
			})
		}

		/* pvpanic (QEMU, docs/specs/pvpanic.rst). */
		Device (PEVT)
		{
			Name (_HID, "QEMU0001")
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, 0x505, 0x505, 1, 1)
			})
		}

		/* The power button (4.8.2.2.1.2), and the Generic Event Device (5.6.9) that tells of it. */
		Device (PWRB)
		{
			Name (_HID, EisaId ("PNP0C0C"))
		}

		Device (PGED)
		{
			Name (_HID, "ACPI0013")
			Name (_UID, "power button")
			Name (_CRS, ResourceTemplate ()
			{
				Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { 10 }
			})
			Method (_EVT, 1)
			{
				Notify (\_SB.PWRB, 0x80)
			}
		}
	}
}
