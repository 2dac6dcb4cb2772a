// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The virtio-mmio devices, part of the DSDT. How many there are is not known before the VM is: a
 * slot whose registers are there has a device, and _STA looks. (Debian's kernel takes virtio-mmio
 * devices from ACPI alone: drivers/virtio/virtio_mmio.c, "LNRO0005".)
 */
#include "virtio_slots.h"

Scope (\_SB)
{
	// Whether a slot has a device.
	Method (VSTA, 1, Serialized)
	{
		OperationRegion (REGS, SystemMemory, VIRTIO_SLOT_GPA + Arg0 * VIRTIO_SLOT_BYTES, 4)
		Field (REGS, DWordAcc, NoLock, Preserve)
		{
			MAGC, 32
		}
		If (MAGC == VIRTIO_SLOT_MAGIC)
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
