/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_LIB_QMP_PEER_H
#define TESTS_LIB_QMP_PEER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>

/*
 * A client of a control socket, by hand: it sends what no decent client would. Whatever goes wrong
 * fails the test. One thread at a time.
 */

/* The socket to connect to; the string stays the caller's. */
void peer_use(const char *path);

/* Connect; a receive that takes two minutes fails. */
int peer_dial(void);

/* Connect and negotiate. */
int peer_greet(void);

void peer_say(int fd, const char *text);

/* The next line, or NULL at the end of the connection; valid until the next call. */
char *peer_hear_line(int fd);

/* The next message, an object to release. */
json_t *peer_hear(int fd);

/* The text at @first.@second of @message; "" if there is none. @second may be NULL. */
const char *peer_text_at(json_t *message, const char *first, const char *second);

/* Send a message, and take the reply (an object to release); events are passed over. */
json_t *peer_ask(int fd, const char *text);

/* Send one that must be accepted; that must be refused, in these words. */
void peer_expect_ok(int fd, const char *text);
void peer_expect_error(int fd, const char *text, const char *error_class, const char *part);

/* Ask what takes no arguments, and must be answered; the result is to be released. */
json_t *peer_query(int fd, const char *command);

/* The next message must be this event, whose data is to be released; none may come for 100 ms. */
json_t *peer_expect_event(int fd, const char *name);
void peer_expect_silence(int fd);

/* Nothing but the rest of what was sent, and the end of the connection. */
void peer_expect_end(int fd);

/* That the server serves others: the test of every hostile client. */
void peer_expect_alive(void);

#endif
