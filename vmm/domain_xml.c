/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From a file to libvirt's canonical form of the domain in it. The test driver is libvirt's parser
 * and validator within this process: nothing is started, no daemon is asked.
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <libxml/parser.h>

#include "vmm/domain_xml.h"
#include "vmm/domain_xml_map.h"

/* A domain XML has some kilobytes. */
#define FILE_BYTES_MAX (1u << 20)

/* The domains of test:///default are one set per process: one reader at a time. */
static pthread_mutex_t driver_lock = PTHREAD_MUTEX_INITIALIZER;

/* libvirt prints errors to standard error unless someone takes them. We fetch the last one. */
static void take_silently(void *arg, virErrorPtr error)
{
	(void)arg;
	(void)error;
}

/* libvirt's reason for the failure just seen, as one line. */
static int set_libvirt_error(struct samara_error *err)
{
	virErrorPtr error = virGetLastError();
	char *c;

	if (!err)
		return -EINVAL;
	samara_error_set(err, -EINVAL, "libvirt: %s",
			 error && error->message ? error->message : "no reason given");
	for (c = err->text; *c; c++)
		if (*c == '\n')
			*c = ' ';
	while (c > err->text && c[-1] == ' ')
		*--c = '\0';
	return -EINVAL;
}

static int read_file(const char *path, char **out, struct samara_error *err)
{
	FILE *file = fopen(path, "re");
	char *text = NULL;
	size_t length;
	int ret = 0;

	if (!file)
		return samara_error_set(err, -errno, "%s", strerror(errno));
	text = malloc(FILE_BYTES_MAX + 1);
	if (!text) {
		ret = samara_error_set(err, -ENOMEM, "out of memory");
		goto close;
	}
	length = fread(text, 1, FILE_BYTES_MAX + 1, file);
	if (ferror(file))
		ret = samara_error_set(err, -errno, "%s", strerror(errno));
	else if (length > FILE_BYTES_MAX)
		ret = samara_error_set(err, -EINVAL, "over 1 MiB, that is no domain XML");
	else if (memchr(text, '\0', length))
		ret = samara_error_set(err, -EINVAL, "not a text file");
	else
		text[length] = '\0';
	if (!ret)
		*out = text;
	else
		free(text);
close:
	fclose(file);
	return ret;
}

/* Take the driver's own domain away: it is called "test", and a user's may be called so too. */
static void remove_default_domain(virConnectPtr connection)
{
	virDomainPtr domain = virDomainLookupByName(connection, "test");

	if (!domain)
		return;
	virDomainDestroy(domain);
	virDomainUndefine(domain);
	virDomainFree(domain);
}

/* The canonical form of @text; to be freed. */
static int canonicalize(const char *text, char **out, struct samara_error *err)
{
	virConnectPtr connection;
	virDomainPtr domain;
	int ret = 0;

	if (virInitialize() < 0)
		return set_libvirt_error(err);
	connection = virConnectOpen("test:///default");
	if (!connection)
		return set_libvirt_error(err);
	remove_default_domain(connection);
	domain = virDomainDefineXMLFlags(connection, text, VIR_DOMAIN_DEFINE_VALIDATE);
	if (!domain) {
		ret = set_libvirt_error(err);
		goto close;
	}
	*out = virDomainGetXMLDesc(domain, VIR_DOMAIN_XML_INACTIVE);
	if (!*out)
		ret = set_libvirt_error(err);
	virDomainUndefine(domain);
	virDomainFree(domain);
close:
	virConnectClose(connection);
	return ret;
}

static xmlDoc *parse(const char *text)
{
	return xmlReadMemory(text, (int)strlen(text), NULL, NULL,
			     XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
}

/* Hand a config that was read to the caller's, and free what that held. */
static void replace(struct vm_config *config, struct vm_config *new)
{
	struct vm_config old = *config;

	*config = *new;
	/* What a domain XML knows nothing of stays. */
	config->qmp_path = old.qmp_path;
	config->start_paused = old.start_paused;
	old.qmp_path = NULL;
	vm_config_free(&old);
}

int domain_xml_read(const char *path, struct vm_config *config,
		    void (*warn)(const char *text, void *arg), void *arg, struct samara_error *err)
{
	char *text = NULL, *canonical = NULL;
	xmlDoc *document = NULL, *original = NULL;
	struct vm_config new;
	int ret;

	vm_config_init(&new);
	ret = read_file(path, &text, err);
	if (ret)
		goto free;
	pthread_mutex_lock(&driver_lock);
	virSetErrorFunc(NULL, take_silently);
	ret = canonicalize(text, &canonical, err);
	virSetErrorFunc(NULL, NULL);
	pthread_mutex_unlock(&driver_lock);
	if (ret)
		goto free;
	original = parse(text);
	document = parse(canonical);
	if (!original || !document) {
		ret = samara_error_set(err, -EINVAL, "libxml2 can't read what libvirt accepted");
		goto free;
	}
	ret = domain_xml_check_foreign(original, err);
	if (!ret)
		ret = domain_xml_map(document, &new, warn, arg, err);
	if (!ret)
		replace(config, &new);
free:
	if (ret) {
		samara_error_prefix(err, "%s", path);
		vm_config_free(&new);
	}
	xmlFreeDoc(document);
	xmlFreeDoc(original);
	free(canonical);
	free(text);
	return ret;
}
