/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_DOMAIN_XML_H
#define VMM_DOMAIN_XML_H

#include <samara/error.h>

#include "vmm/config.h"

/**
 * domain_xml_read() - take a VM's configuration from a libvirt domain XML
 * @path: the file
 * @config: initialized; what the domain names is replaced, the rest stays
 * @warn: hears, one line each, of what is passed over without harm; may be NULL
 *
 * libvirt's own parser reads and validates it (test:///default, no daemon). What the guest would
 * miss is refused by name; docs/domain-xml.md lists item by item what is done with what.
 *
 * Context: May sleep. While it runs, libvirt's messages on standard error are switched off for the
 * whole process.
 * Return: 0, -ENOENT and the like (the file), -EINVAL (no valid domain), -EOPNOTSUPP (it asks for
 * what can't be done, or samara was built without libvirt), -ENOMEM. The config is unchanged then.
 */
int domain_xml_read(const char *path, struct vm_config *config,
		    void (*warn)(const char *text, void *arg), void *arg, struct samara_error *err);

#endif
