/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <samara/error.h>

int samara_error_set(struct samara_error *err, int code, const char *fmt, ...)
{
	va_list args;

	if (!err)
		return code;
	err->code = code;
	va_start(args, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, args);
	va_end(args);
	return code;
}

int samara_error_prefix(struct samara_error *err, const char *fmt, ...)
{
	char text[sizeof(err->text)];
	size_t used, left;
	va_list args;

	if (!err)
		return 0;
	memcpy(text, err->text, sizeof(text));
	va_start(args, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, args);
	va_end(args);
	used = strlen(err->text);
	left = sizeof(err->text) - used - 1;
	strncat(err->text, ": ", left);
	if (left > 2)
		strncat(err->text, text, left - 2);
	return err->code;
}
