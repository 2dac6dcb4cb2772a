/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stands for domain_xml.c in a build with LIBVIRT=0. */
#include <errno.h>

#include "vmm/domain_xml.h"

int domain_xml_read(const char *path, struct vm_config *config,
		    void (*warn)(const char *text, void *arg), void *arg, struct samara_error *err)
{
	(void)config;
	(void)warn;
	(void)arg;
	return samara_error_set(
		err, -EOPNOTSUPP,
		"%s: this samara was built without libvirt (LIBVIRT=0) and reads no "
		"domain XML",
		path);
}
