/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_DOMAIN_XML_READER_H
#define VMM_DOMAIN_XML_READER_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <libxml/xpath.h>

#include "vmm/domain_xml_map.h"

/*
 * What the files that map a domain have in common: looking things up in it, and the verdicts on its
 * elements. Tables of rules, one per parent element, say which element means what, with a function for
 * each that takes more than a verdict. An element without a rule is refused.
 */

/* State of one mapping; one thread's own. */
struct reader {
	xmlXPathContext *xpath;
	struct vm_config *config;
	void (*warn)(const char *text, void *arg);
	void *arg;
	struct samara_error *err;
	unsigned int serials;
};

enum verdict {
	PASS,   /* says nothing that the guest or the user would miss */
	WARN,   /* passed over; the guest runs without it */
	REFUSE, /* the guest would miss it */
	READ,   /* a function decides */
};

/**
 * struct rule - what is done with an element; immutable
 * @why: for WARN and REFUSE, after "passed over: " or "not possible yet: "
 * @read: for READ; returns 0 or -errno with the error set
 */
struct rule {
	const char *name;
	enum verdict verdict;
	const char *why;
	int (*read)(struct reader *reader, xmlNode *node);
};

#define OTHERWISE                                             \
	{                                                     \
		NULL, REFUSE, "samara does not know it", NULL \
	}

static inline bool is_element(const xmlNode *node)
{
	return node->type == XML_ELEMENT_NODE;
}

static inline const char *node_name(const xmlNode *node)
{
	return (const char *)node->name;
}

/* ---- Looking things up ----------------------------------------------------------------------- */

/* The string value of an XPath expression from @node; to be freed, NULL when out of memory. */
char *reader_get(struct reader *reader, xmlNode *node, const char *expression);

bool reader_equals(struct reader *reader, xmlNode *node, const char *expression, const char *value);

/* Whether the expression finds nothing, or an empty text. */
bool reader_is_empty(struct reader *reader, xmlNode *node, const char *expression);

/* The text of an element, or NULL in *out where it is absent or empty. Return: 0, -ENOMEM. */
int reader_string(struct reader *reader, xmlNode *node, const char *expression, char **out);

/* A whole number, @missing where the expression finds nothing. Return: 0, -EINVAL, -ENOMEM. */
int reader_number(struct reader *reader, xmlNode *node, const char *expression, uint64_t missing,
		  uint64_t *out);

/* A size in bytes; libvirt writes them in KiB. Return: 0, -EINVAL, -ENOMEM. */
int reader_size(struct reader *reader, xmlNode *node, const char *expression, uint64_t missing,
		uint64_t *out);

/* ---- Verdicts -------------------------------------------------------------------------------- */

/* Return: -EOPNOTSUPP, -ENOMEM, with the error set; pass_over: 0, the user is warned. */
int reader_refuse(struct reader *reader, xmlNode *node, const char *why);
int reader_no_memory(struct reader *reader);
int reader_pass_over(struct reader *reader, xmlNode *node, const char *why);

/* Hold every child element of @parent against @rules. Return: 0, or what refused one. */
int reader_walk(struct reader *reader, xmlNode *parent, const struct rule *rules);

/* ---- Elements, each in the file of its subject; for rules ------------------------------------- */

/* domain_xml_memory.c */
int domain_xml_read_memory(struct reader *reader, xmlNode *node);
int domain_xml_read_backing(struct reader *reader, xmlNode *node);
int domain_xml_read_numatune(struct reader *reader, xmlNode *node);
int domain_xml_read_memory_device(struct reader *reader, xmlNode *node);
int domain_xml_read_balloon(struct reader *reader, xmlNode *node);

/* domain_xml_cpu.c */
int domain_xml_read_vcpu(struct reader *reader, xmlNode *node);
int domain_xml_read_cpu(struct reader *reader, xmlNode *node);

/* domain_xml_devices.c */
int domain_xml_read_devices(struct reader *reader, xmlNode *node);

#endif
