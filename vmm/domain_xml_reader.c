/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/domain_xml_reader.h"

/* ---- Looking things up ----------------------------------------------------------------------- */

char *reader_get(struct reader *reader, xmlNode *node, const char *expression)
{
	xmlXPathObject *object;
	xmlChar *text = NULL;

	reader->xpath->node = node;
	object = xmlXPathEvalExpression((const xmlChar *)expression, reader->xpath);
	if (object)
		text = xmlXPathCastToString(object);
	xmlXPathFreeObject(object);
	return (char *)text;
}

bool reader_equals(struct reader *reader, xmlNode *node, const char *expression, const char *value)
{
	char *text = reader_get(reader, node, expression);
	bool equal = text && !strcmp(text, value);

	free(text);
	return equal;
}

bool reader_is_empty(struct reader *reader, xmlNode *node, const char *expression)
{
	return reader_equals(reader, node, expression, "");
}

int reader_no_memory(struct reader *reader)
{
	return samara_error_set(reader->err, -ENOMEM, "out of memory");
}

int reader_string(struct reader *reader, xmlNode *node, const char *expression, char **out)
{
	char *text = reader_get(reader, node, expression);

	if (!text)
		return reader_no_memory(reader);
	if (!*text) {
		free(text);
		text = NULL;
	}
	free(*out);
	*out = text;
	return 0;
}

int reader_number(struct reader *reader, xmlNode *node, const char *expression, uint64_t missing,
		  uint64_t *out)
{
	char *text = reader_get(reader, node, expression), *end;
	int ret = 0;

	if (!text)
		return reader_no_memory(reader);
	if (!*text) {
		*out = missing;
	} else {
		errno = 0;
		*out = strtoull(text, &end, 10);
		if (errno || *end || *text == '-')
			ret = samara_error_set(reader->err, -EINVAL, "%s: '%.32s' is no number",
					       expression, text);
	}
	free(text);
	return ret;
}

int reader_size(struct reader *reader, xmlNode *node, const char *expression, uint64_t missing,
		uint64_t *out)
{
	char unit[64];
	uint64_t size_kib;
	int ret;

	ret = reader_number(reader, node, expression, UINT64_MAX, &size_kib);
	if (ret)
		return ret;
	if (size_kib == UINT64_MAX) {
		*out = missing;
		return 0;
	}
	snprintf(unit, sizeof(unit), "%s/@unit", expression);
	if (!reader_equals(reader, node, unit, "KiB"))
		return samara_error_set(reader->err, -EINVAL, "%s: not in KiB", expression);
	if (size_kib > UINT64_MAX / 1024)
		return samara_error_set(reader->err, -EINVAL, "%s: over 64 bits", expression);
	*out = size_kib * 1024;
	return 0;
}

/* ---- Verdicts -------------------------------------------------------------------------------- */

/* "devices/disk 'vda'": an element as its author would look for it. */
static void describe(struct reader *reader, xmlNode *node, char *text, size_t text_bytes)
{
	const char *parent = node_name(node->parent);
	char *which = reader_get(
		reader, node, "string((self::disk/target/@dev | @type | @model | @name)[last()])");
	bool top = !strcmp(parent, "domain");

	snprintf(text, text_bytes, "%s%s%s%s%.48s%s", top ? "" : parent, top ? "" : "/",
		 node_name(node), which && *which ? " '" : "", which ? which : "",
		 which && *which ? "'" : "");
	free(which);
}

int reader_refuse(struct reader *reader, xmlNode *node, const char *why)
{
	char text[128];

	describe(reader, node, text, sizeof(text));
	return samara_error_set(reader->err, -EOPNOTSUPP, "%s: not possible yet: %s", text, why);
}

int reader_pass_over(struct reader *reader, xmlNode *node, const char *why)
{
	char text[128], line[320];

	if (!reader->warn)
		return 0;
	describe(reader, node, text, sizeof(text));
	snprintf(line, sizeof(line), "%s: passed over: %s", text, why);
	reader->warn(line, reader->arg);
	return 0;
}

static int apply(struct reader *reader, xmlNode *node, const struct rule *rules)
{
	const struct rule *rule;

	for (rule = rules; rule->name; rule++)
		if (!strcmp(rule->name, node_name(node)))
			break;
	switch (rule->verdict) {
	case PASS:
		return 0;
	case WARN:
		return reader_pass_over(reader, node, rule->why);
	case REFUSE:
		return reader_refuse(reader, node, rule->why);
	case READ:
		return rule->read(reader, node);
	}
	return -EINVAL;
}

int reader_walk(struct reader *reader, xmlNode *parent, const struct rule *rules)
{
	xmlNode *node;
	int ret;

	for (node = parent->children; node; node = node->next) {
		if (!is_element(node))
			continue;
		ret = apply(reader, node, rules);
		if (ret)
			return ret;
	}
	return 0;
}
