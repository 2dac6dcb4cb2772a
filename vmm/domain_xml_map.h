/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_DOMAIN_XML_MAP_H
#define VMM_DOMAIN_XML_MAP_H

#include <libxml/tree.h>

#include <samara/error.h>

#include "vmm/config.h"

/**
 * domain_xml_map() - what a domain in libvirt's canonical form means for samara
 * @document: as virDomainGetXMLDesc() writes it: sizes in KiB, defaults filled in
 * @config: initialized; on failure it holds what was read so far
 *
 * Return: 0, -EOPNOTSUPP (names what can't be done), -EINVAL, -ENOMEM.
 */
int domain_xml_map(xmlDoc *document, struct vm_config *config,
		   void (*warn)(const char *text, void *arg), void *arg, struct samara_error *err);

/**
 * domain_xml_check_foreign() - refuse elements of other namespaces (qemu:commandline and its like)
 * @document: the domain as its author wrote it; the canonical form has lost them
 *
 * Return: 0, -EOPNOTSUPP.
 */
int domain_xml_check_foreign(xmlDoc *document, struct samara_error *err);

#endif
