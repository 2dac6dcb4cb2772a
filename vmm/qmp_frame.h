/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_QMP_FRAME_H
#define VMM_QMP_FRAME_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Cuts a client's byte stream into JSON messages. QMP has no framing but JSON's own: clients end
 * their messages with CRLF, with LF, or with nothing, so brackets and strings are followed. What
 * the client can make us hold is bounded in length and depth.
 */
#define QMP_MESSAGE_BYTES_MAX (256u * 1024u)
#define QMP_MESSAGE_DEPTH_MAX 32u

enum qmp_frame {
	QMP_FRAME_MORE,     /* all taken, no message is complete */
	QMP_FRAME_MESSAGE,  /* message and length_bytes hold one */
	QMP_FRAME_GARBAGE,  /* can't begin or go on a message; the rest of its line is skipped */
	QMP_FRAME_TOO_LONG, /* these two are final: the stream can't be followed any more */
	QMP_FRAME_TOO_DEEP,
	QMP_FRAME_NO_MEMORY,
};

/**
 * struct qmp_framer - state of one stream; all zero is the start; its owner's lock guards it
 * @message: bytes of the message so far, owned
 */
struct qmp_framer {
	char *message;
	size_t length_bytes, capacity_bytes;
	unsigned int depth;
	bool in_string, escaped, skip_line, complete;
};

/**
 * qmp_framer_push() - take bytes up to the end of one message
 * @taken: how many of @data were used; call again with the rest
 *
 * Context: Does not sleep but for memory.
 * Return: what the stream has come to.
 */
enum qmp_frame qmp_framer_push(struct qmp_framer *framer, const char *data, size_t length_bytes,
			       size_t *taken);

/* Free what it holds, not @framer itself. */
void qmp_framer_free(struct qmp_framer *framer);

#endif
