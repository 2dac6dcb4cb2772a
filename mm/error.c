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
	size_t used;
	va_list args;
	int length;

	if (!err)
		return 0;
	memcpy(text, err->text, sizeof(text));
	va_start(args, fmt);
	length = vsnprintf(err->text, sizeof(err->text), fmt, args);
	va_end(args);
	used = length < 0 ? 0 : (size_t)length;
	if (used < sizeof(err->text))
		snprintf(err->text + used, sizeof(err->text) - used, ": %s", text);
	return err->code;
}
