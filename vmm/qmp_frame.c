/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "vmm/qmp_frame.h"

static enum qmp_frame append(struct qmp_framer *framer, char byte)
{
	if (framer->length_bytes == QMP_MESSAGE_BYTES_MAX)
		return QMP_FRAME_TOO_LONG;
	if (framer->length_bytes == framer->capacity_bytes) {
		size_t capacity_bytes = framer->capacity_bytes ? framer->capacity_bytes * 2 : 512;
		char *message = realloc(framer->message, capacity_bytes);

		if (!message)
			return QMP_FRAME_NO_MEMORY;
		framer->message = message;
		framer->capacity_bytes = capacity_bytes;
	}
	framer->message[framer->length_bytes++] = byte;
	return QMP_FRAME_MORE;
}

static void start_over(struct qmp_framer *framer)
{
	framer->length_bytes = 0;
	framer->depth = 0;
	framer->in_string = false;
	framer->escaped = false;
	framer->complete = false;
}

static enum qmp_frame garbage(struct qmp_framer *framer, char byte)
{
	start_over(framer);
	framer->skip_line = byte != '\n';
	return QMP_FRAME_GARBAGE;
}

static bool is_space(char byte)
{
	return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n';
}

static enum qmp_frame push_string(struct qmp_framer *framer, char byte)
{
	/* JSON has no line break inside a string (RFC 8259, 7): the quote was never closed. */
	if (byte == '\n')
		return garbage(framer, byte);
	if (framer->escaped)
		framer->escaped = false;
	else if (byte == '\\')
		framer->escaped = true;
	else if (byte == '"')
		framer->in_string = false;
	return append(framer, byte);
}

static enum qmp_frame push(struct qmp_framer *framer, char byte)
{
	enum qmp_frame result;

	if (framer->skip_line) {
		framer->skip_line = byte != '\n';
		return QMP_FRAME_MORE;
	}
	if (framer->in_string)
		return push_string(framer, byte);
	if (!framer->depth) {
		if (is_space(byte))
			return QMP_FRAME_MORE;
		if (byte != '{' && byte != '[')
			return garbage(framer, byte);
	}
	result = append(framer, byte);
	if (result != QMP_FRAME_MORE)
		return result;
	if (byte == '"') {
		framer->in_string = true;
	} else if (byte == '{' || byte == '[') {
		if (++framer->depth > QMP_MESSAGE_DEPTH_MAX)
			return QMP_FRAME_TOO_DEEP;
	} else if (byte == '}' || byte == ']') {
		/* Which closes which is the JSON parser's business. */
		if (!--framer->depth) {
			framer->complete = true;
			return QMP_FRAME_MESSAGE;
		}
	}
	return QMP_FRAME_MORE;
}

enum qmp_frame qmp_framer_push(struct qmp_framer *framer, const char *data, size_t length_bytes,
			       size_t *taken)
{
	enum qmp_frame result = QMP_FRAME_MORE;

	if (framer->complete)
		start_over(framer);
	for (*taken = 0; *taken < length_bytes && result == QMP_FRAME_MORE; (*taken)++)
		result = push(framer, data[*taken]);
	return result;
}

void qmp_framer_free(struct qmp_framer *framer)
{
	free(framer->message);
	memset(framer, 0, sizeof(*framer));
}
