// SPDX-License-Identifier: GPL-2.0-or-later
/* The second serial port, where a machine has one (vmm/layout.h). */
DefinitionBlock ("", "SSDT", 2, "SAMARA", "SERIAL2 ", 1)
{
	Device (\_SB.COM2)
	{
		Name (_HID, EisaId ("PNP0501"))
		Name (_UID, 2)
		Name (_CRS, ResourceTemplate ()
		{
			IO (Decode16, 0x2f8, 0x2f8, 1, 8)
			Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { 3 }
		})
	}
}
