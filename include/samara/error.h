/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef SAMARA_ERROR_H
#define SAMARA_ERROR_H

/**
 * struct samara_error - why a call failed, for a person to read
 * @code: negative errno, 0 while nothing has failed
 * @text: one line without a newline that names the thing and the reason
 *
 * Functions that take a ``struct samara_error *`` accept NULL, and write to it only when they fail.
 */
struct samara_error {
	int code;
	char text[248];
};

/**
 * samara_error_set() - record a failure
 * @err: where to record it, or NULL
 * @code: negative errno
 * @fmt: printf format of the text; a text that is too long is cut
 *
 * Context: Any thread, takes no lock.
 * Return: @code, so that a caller can return samara_error_set(...).
 */
int samara_error_set(struct samara_error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/**
 * samara_error_prefix() - put what was being done before the reason
 * @err: a recorded failure, or NULL
 * @fmt: printf format of the words to put before "``: ``" and the text that is there
 *
 * Context: Any thread, takes no lock.
 * Return: the code that @err holds, 0 for NULL.
 */
int samara_error_prefix(struct samara_error *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif
