/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A domain's devices, but those of memory. */
#include <stdlib.h>
#include <string.h>

#include "vmm/domain_xml_reader.h"

static int read_chardev(struct reader *reader, xmlNode *node)
{
	struct chardev_config *serial = &reader->config->serial;

	if (reader_equals(reader, node, "@type", "pty")) {
		serial->kind = CHARDEV_PTY;
	} else if (reader_equals(reader, node, "@type", "stdio")) {
		serial->kind = CHARDEV_STDIO;
	} else if (reader_equals(reader, node, "@type", "null")) {
		serial->kind = CHARDEV_NULL;
	} else if (reader_equals(reader, node, "@type", "file")) {
		serial->kind = CHARDEV_FILE;
		if (reader_equals(reader, node, "source/@append", "on"))
			return reader_refuse(reader, node,
					     "the file is written anew, not appended to");
		return reader_string(reader, node, "string(source/@path)", &serial->path);
	} else {
		return reader_refuse(reader, node,
				     "a serial port goes to pty, stdio, file or null");
	}
	return 0;
}

static int read_serial(struct reader *reader, xmlNode *node)
{
	static const char *const isa = "isa-serial";

	if (reader->serials++)
		return reader_refuse(reader, node, "there is one serial port");
	if (!reader_is_empty(reader, node, "string(target/@type)") &&
	    !reader_equals(reader, node, "target/@type", isa) &&
	    !reader_equals(reader, node, "target/@type", "serial"))
		return reader_refuse(reader, node, "the serial port is an ISA one");
	if (!reader_is_empty(reader, node, "string(target/@port)") &&
	    !reader_equals(reader, node, "target/@port", "0"))
		return reader_refuse(reader, node, "the serial port is number 0");
	if (!reader_is_empty(reader, node, "string(log/@file)"))
		reader_pass_over(reader, node, "its output is not logged besides");
	return read_chardev(reader, node);
}

/* A console on the serial port is libvirt's second name for that port. */
static int read_console(struct reader *reader, xmlNode *node)
{
	if (!reader_is_empty(reader, node, "string(target/@type)") &&
	    !reader_equals(reader, node, "target/@type", "serial"))
		return reader_refuse(reader, node, "a console is on the serial port");
	if (!reader_is_empty(reader, node, "string(../serial/@type)"))
		return 0;
	return read_serial(reader, node);
}

static int read_disk(struct reader *reader, xmlNode *node)
{
	bool has_medium = !reader_equals(reader, node, "string(count(source))", "0");

	if (!has_medium && (reader_equals(reader, node, "@device", "cdrom") ||
			    reader_equals(reader, node, "@device", "floppy")))
		return reader_pass_over(reader, node, "a drive without a medium");
	return reader_refuse(reader, node, "there are no disks");
}

static int read_controller(struct reader *reader, xmlNode *node)
{
	/* libvirt adds these by itself; without a device on one nothing is missed. */
	static const char *const implied[] = {"pci", "usb",  "ide",           "sata",
					      "fdc", "scsi", "virtio-serial", NULL};
	unsigned int i;

	for (i = 0; implied[i]; i++)
		if (reader_equals(reader, node, "@type", implied[i]))
			return 0;
	return reader_pass_over(reader, node, "there is nothing to connect to it");
}

static int read_input(struct reader *reader, xmlNode *node)
{
	/* libvirt adds a PS/2 mouse and keyboard to every domain with graphics. */
	if (reader_equals(reader, node, "@bus", "ps2") ||
	    reader_equals(reader, node, "@bus", "usb") ||
	    reader_equals(reader, node, "@bus", "virtio"))
		return 0;
	return reader_refuse(reader, node, "input devices of the host are not handed on");
}

static int read_video(struct reader *reader, xmlNode *node)
{
	if (reader_equals(reader, node, "model/@type", "none"))
		return 0;
	return reader_pass_over(reader, node,
				"there is no display; the console is on the serial port");
}

static int read_audio(struct reader *reader, xmlNode *node)
{
	if (reader_equals(reader, node, "@type", "none"))
		return 0;
	return reader_pass_over(reader, node, "there is no sound");
}

int domain_xml_read_devices(struct reader *reader, xmlNode *node)
{
	static const struct rule rules[] = {
		{"emulator", PASS, NULL, NULL}, /* samara is it */
		{"memballoon", READ, NULL, domain_xml_read_balloon},
		{"controller", READ, NULL, read_controller},
		{"serial", READ, NULL, read_serial},
		{"console", READ, NULL, read_console},
		{"disk", READ, NULL, read_disk},
		{"input", READ, NULL, read_input},
		{"video", READ, NULL, read_video},
		{"audio", READ, NULL, read_audio},
		{"sound", WARN, "there is no sound", NULL},
		{"hub", WARN, "there is no USB", NULL},
		{"redirdev", WARN, "there is no USB", NULL},
		{"redirfilter", PASS, NULL, NULL},
		{"channel", WARN, "there is no channel to the host, so no guest agent", NULL},
		{"rng", WARN, "the guest takes its entropy from the CPU", NULL},
		{"watchdog", WARN, "nobody acts when the guest hangs", NULL},
		{"panic", WARN, "a panic of the guest is not reported", NULL},
		{"memory", READ, NULL, domain_xml_read_memory_device},
		{"interface", REFUSE, "there is no network", NULL},
		{"graphics", REFUSE, "there is no display", NULL},
		{"hostdev", REFUSE, "devices of the host are not handed on", NULL},
		{"filesystem", REFUSE, "no folders are shared", NULL},
		{"tpm", REFUSE, "there is no TPM", NULL},
		{"vsock", REFUSE, "there is no vsock", NULL},
		{"shmem", REFUSE, "there is no shared memory device", NULL},
		{"iommu", REFUSE, "there is no IOMMU", NULL},
		{"smartcard", REFUSE, "there is no smartcard", NULL},
		{"crypto", REFUSE, "there is no crypto device", NULL},
		{"parallel", REFUSE, "there is no parallel port", NULL},
		{"nvram", REFUSE, "there is no NVRAM", NULL},
		{"lease", REFUSE, "locks of storage are not taken", NULL},
		OTHERWISE,
	};

	return reader_walk(reader, node, rules);
}
