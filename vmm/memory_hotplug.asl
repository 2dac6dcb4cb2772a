// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Memory devices (ACPI 6.4, 9.11) over the registers of struct memory_hotplug, and a Generic Event
 * Device (5.6.9) that says when one of them has something to tell.
 */
#include "../devices/memory_hotplug_registers.h"

/*
 * The C preprocessor goes over this file before iasl, whose own knows no macros. A slot's device;
 * methods of MHPC do the work.
 */
#define MEMORY_DEVICE(NAME, INDEX)                            \
	Device (NAME)                                         \
	{                                                     \
		Name (_HID, EisaId ("PNP0C80"))               \
		Name (_UID, INDEX)                            \
		Method (_STA) { Return (MSTA (INDEX)) }       \
		Method (_CRS) { Return (MCRS (INDEX)) }       \
		Method (_PXM) { Return (MPXM (INDEX)) }       \
		Method (_EJ0, 1) { MEJ0 (INDEX) }             \
		Method (_OST, 3) { MOST (INDEX, Arg0, Arg1) } \
	}
#define NOTIFY_DEVICE(NAME, INDEX) \
	If (Arg0 == INDEX) { Notify (NAME, Arg1) }

DefinitionBlock ("", "SSDT", 2, "SAMARA", "MEMHP   ", 1)
{
	Device (\_SB.MHPC)
	{
		/* Motherboard resources: nobody else shall take the ports. */
		Name (_HID, EisaId ("PNP0C02"))
		Name (_UID, "memory hotplug")
		Name (_CRS, ResourceTemplate ()
		{
			IO (Decode16, MEMORY_HOTPLUG_PORT, MEMORY_HOTPLUG_PORT, 1, MEMORY_HOTPLUG_BYTES)
		})

		OperationRegion (MREG, SystemIO, MEMORY_HOTPLUG_PORT, MEMORY_HOTPLUG_BYTES)
		Field (MREG, DWordAcc, NoLock, WriteAsZeros)
		{
			SLOT, 32,
			NEXT, 32,
			GPAL, 32,
			GPAH, 32,
			SIZL, 32,
			SIZH, 32,
			NODE, 32,
			STAT, 32,
			OSTE, 32,
			OSTS, 32
		}

		/* Whoever has selected a slot keeps it until done. */
		Mutex (MLCK, 0)

		Method (MSTA, 1, Serialized)
		{
			Acquire (MLCK, 0xffff)
			SLOT = Arg0
			Local0 = STAT & MEMORY_HOTPLUG_ENABLED
			Release (MLCK)
			/* Present, enabled, shown, functioning; or not there at all (6.3.7). */
			If (Local0) { Return (0x0f) }
			Return (0)
		}

		Method (MCRS, 1, Serialized)
		{
			Name (RSRC, ResourceTemplate ()
			{
				QWordMemory (ResourceConsumer, PosDecode, MinFixed, MaxFixed, Cacheable, ReadWrite,
					0, 0, 0xfffffffffffffffe, 0, 0xffffffffffffffff, , , RANG)
			})
			CreateQWordField (RSRC, RANG._MIN, FRST)
			CreateQWordField (RSRC, RANG._MAX, LAST)
			CreateQWordField (RSRC, RANG._LEN, SIZE)

			Acquire (MLCK, 0xffff)
			SLOT = Arg0
			FRST = (GPAH << 32) | GPAL
			SIZE = (SIZH << 32) | SIZL
			Release (MLCK)
			LAST = FRST + SIZE - 1
			Return (RSRC)
		}

		Method (MPXM, 1, Serialized)
		{
			Acquire (MLCK, 0xffff)
			SLOT = Arg0
			Local0 = NODE
			Release (MLCK)
			Return (Local0)
		}

		Method (MEJ0, 1, Serialized)
		{
			Acquire (MLCK, 0xffff)
			SLOT = Arg0
			STAT = MEMORY_HOTPLUG_EJECT
			Release (MLCK)
		}

		Method (MOST, 3, Serialized)
		{
			Acquire (MLCK, 0xffff)
			SLOT = Arg0
			OSTE = Arg1
			OSTS = Arg2
			Release (MLCK)
		}

		/* Tell of every slot that has something to tell: device check, or eject request (5.6.6). */
		Method (MSCN, 0, Serialized)
		{
			Acquire (MLCK, 0xffff)
			Local0 = NEXT
			While (Local0 != MEMORY_HOTPLUG_NONE)
			{
				If (STAT & MEMORY_HOTPLUG_INSERTING)
				{
					STAT = MEMORY_HOTPLUG_INSERTING
					MNFY (Local0, 1)
				}
				Else
				{
					STAT = MEMORY_HOTPLUG_REMOVING
					MNFY (Local0, 3)
				}
				Local0 = NEXT
			}
			Release (MLCK)
		}

		MEMORY_DEVICE (M000, 0)
		MEMORY_DEVICE (M001, 1)
		MEMORY_DEVICE (M002, 2)
		MEMORY_DEVICE (M003, 3)
		MEMORY_DEVICE (M004, 4)
		MEMORY_DEVICE (M005, 5)
		MEMORY_DEVICE (M006, 6)
		MEMORY_DEVICE (M007, 7)
		MEMORY_DEVICE (M008, 8)
		MEMORY_DEVICE (M009, 9)
		MEMORY_DEVICE (M010, 10)
		MEMORY_DEVICE (M011, 11)
		MEMORY_DEVICE (M012, 12)
		MEMORY_DEVICE (M013, 13)
		MEMORY_DEVICE (M014, 14)
		MEMORY_DEVICE (M015, 15)
		MEMORY_DEVICE (M016, 16)
		MEMORY_DEVICE (M017, 17)
		MEMORY_DEVICE (M018, 18)
		MEMORY_DEVICE (M019, 19)
		MEMORY_DEVICE (M020, 20)
		MEMORY_DEVICE (M021, 21)
		MEMORY_DEVICE (M022, 22)
		MEMORY_DEVICE (M023, 23)
		MEMORY_DEVICE (M024, 24)
		MEMORY_DEVICE (M025, 25)
		MEMORY_DEVICE (M026, 26)
		MEMORY_DEVICE (M027, 27)
		MEMORY_DEVICE (M028, 28)
		MEMORY_DEVICE (M029, 29)
		MEMORY_DEVICE (M030, 30)
		MEMORY_DEVICE (M031, 31)

		Method (MNFY, 2)
		{
			NOTIFY_DEVICE (M000, 0)
			NOTIFY_DEVICE (M001, 1)
			NOTIFY_DEVICE (M002, 2)
			NOTIFY_DEVICE (M003, 3)
			NOTIFY_DEVICE (M004, 4)
			NOTIFY_DEVICE (M005, 5)
			NOTIFY_DEVICE (M006, 6)
			NOTIFY_DEVICE (M007, 7)
			NOTIFY_DEVICE (M008, 8)
			NOTIFY_DEVICE (M009, 9)
			NOTIFY_DEVICE (M010, 10)
			NOTIFY_DEVICE (M011, 11)
			NOTIFY_DEVICE (M012, 12)
			NOTIFY_DEVICE (M013, 13)
			NOTIFY_DEVICE (M014, 14)
			NOTIFY_DEVICE (M015, 15)
			NOTIFY_DEVICE (M016, 16)
			NOTIFY_DEVICE (M017, 17)
			NOTIFY_DEVICE (M018, 18)
			NOTIFY_DEVICE (M019, 19)
			NOTIFY_DEVICE (M020, 20)
			NOTIFY_DEVICE (M021, 21)
			NOTIFY_DEVICE (M022, 22)
			NOTIFY_DEVICE (M023, 23)
			NOTIFY_DEVICE (M024, 24)
			NOTIFY_DEVICE (M025, 25)
			NOTIFY_DEVICE (M026, 26)
			NOTIFY_DEVICE (M027, 27)
			NOTIFY_DEVICE (M028, 28)
			NOTIFY_DEVICE (M029, 29)
			NOTIFY_DEVICE (M030, 30)
			NOTIFY_DEVICE (M031, 31)
		}
	}

	Device (\_SB.MGED)
	{
		Name (_HID, "ACPI0013")
		Name (_UID, "memory hotplug")
		Name (_CRS, ResourceTemplate ()
		{
			Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { MEMORY_HOTPLUG_GSI }
		})

		Method (_EVT, 1)
		{
			\_SB.MHPC.MSCN ()
		}
	}
}
