// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The virtio-mmio devices, part of the DSDT. How many there are is not known before the VM is, and
 * changes: a port for each slot tells, and _STA looks. (Debian's kernel takes virtio-mmio devices
 * from ACPI alone: drivers/virtio/virtio_mmio.c, "LNRO0005".)
 *
 * They are in a Module Device (ACPI 6.4, 9.12) since Linux has no hotplug of LNRO0005 itself, but
 * looks through such a container when it is told to by a bus check (drivers/acpi/scan.c,
 * acpi_scan_bus_check(); container.c). _STA reads no guest-physical address: ACPICA's mapping of it
 * lingers, write-back, and the driver, which comes at once, could not map it uncached.
 */
#include "virtio_slots.h"

Scope (\_SB)
{
	// Whether a slot has a device.
	Method (VSTA, 1, Serialized)
	{
		OperationRegion (PORT, SystemIO, VIRTIO_SLOTS_PORT + Arg0, 1)
		Field (PORT, ByteAcc, NoLock, Preserve)
		{
			HERE, 8
		}
		If (HERE == 1)
		{
			Return (0x0f)
		}
		Return (0)
	}

	// Its resources.
	Method (VCRS, 1, Serialized)
	{
		Name (BUFF, ResourceTemplate ()
		{
			Memory32Fixed (ReadWrite, 0, VIRTIO_SLOT_BYTES, MEMR)
			Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive, , , IRQR) { 0 }
		})
		CreateDWordField (BUFF, MEMR._BAS, BASE)
		CreateDWordField (BUFF, IRQR._INT, LINE)
		BASE = VIRTIO_SLOT_GPA + Arg0 * VIRTIO_SLOT_BYTES
		LINE = VIRTIO_SLOT_GSI + Arg0
		Return (BUFF)
	}

	Device (VIOB)
	{
		Name (_HID, "ACPI0004")
		Name (_UID, "virtio")

		Device (VIO0)
		{
			Name (_HID, "LNRO0005")
			Name (_UID, 0)
			Method (_STA) { Return (VSTA (0)) }
			Method (_CRS) { Return (VCRS (0)) }
		}

		Device (VIO1)
		{
			Name (_HID, "LNRO0005")
			Name (_UID, 1)
			Method (_STA) { Return (VSTA (1)) }
			Method (_CRS) { Return (VCRS (1)) }
		}

		Device (VIO2)
		{
			Name (_HID, "LNRO0005")
			Name (_UID, 2)
			Method (_STA) { Return (VSTA (2)) }
			Method (_CRS) { Return (VCRS (2)) }
		}

		Device (VIO3)
		{
			Name (_HID, "LNRO0005")
			Name (_UID, 3)
			Method (_STA) { Return (VSTA (3)) }
			Method (_CRS) { Return (VCRS (3)) }
		}

		Device (VIO4)
		{
			Name (_HID, "LNRO0005")
			Name (_UID, 4)
			Method (_STA) { Return (VSTA (4)) }
			Method (_CRS) { Return (VCRS (4)) }
		}

		Device (VIO5)
		{
			Name (_HID, "LNRO0005")
			Name (_UID, 5)
			Method (_STA) { Return (VSTA (5)) }
			Method (_CRS) { Return (VCRS (5)) }
		}

		Device (VIO6)
		{
			Name (_HID, "LNRO0005")
			Name (_UID, 6)
			Method (_STA) { Return (VSTA (6)) }
			Method (_CRS) { Return (VCRS (6)) }
		}

		Device (VIO7)
		{
			Name (_HID, "LNRO0005")
			Name (_UID, 7)
			Method (_STA) { Return (VSTA (7)) }
			Method (_CRS) { Return (VCRS (7)) }
		}
	}

	// Tells that a device has come or gone (5.6.9): look at all of them (5.6.6, bus check).
	Device (VGED)
	{
		Name (_HID, "ACPI0013")
		Name (_UID, "virtio")
		Name (_CRS, ResourceTemplate ()
		{
			Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { VIRTIO_SLOTS_GSI }
		})
		Method (_EVT, 1)
		{
			Notify (\_SB.VIOB, 0)
		}
	}
}
