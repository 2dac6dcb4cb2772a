/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_CHARDEV_H
#define VMM_CHARDEV_H

#include <stddef.h>
#include <stdint.h>

#include <samara/error.h>

#include "vmm/config.h"

/*
 * The host's end of a serial line: nothing, standard input and output, a pseudo-terminal or a file.
 *
 * Output goes through a ring of CHARDEV_RING_BYTES that a thread of its own empties. When the ring
 * is full, a vCPU waits for room, but once the reader has taken nothing for CHARDEV_STALL_MS the
 * oldest bytes are dropped, without further waits, until it reads again. For a pseudo-terminal,
 * which nobody may ever open, the oldest bytes are dropped at once. A write error (a full disk, a
 * pipe whose reader is gone) is reported once on standard error; from then on output is dropped.
 *
 * Input is offered to the peer; what it does not take is kept until chardev_space().
 */
struct chardev;

#define CHARDEV_RING_BYTES (256 * 1024)
#define CHARDEV_STALL_MS   500

/**
 * struct chardev_peer - the device's end
 * @receive: takes bytes, returns how many; called by the input thread
 * @quit: the user asked to end the VM (Ctrl-A x); called by the input thread
 * @arg: for both
 */
struct chardev_peer {
	size_t (*receive)(void *arg, const uint8_t *bytes, size_t count);
	void (*quit)(void *arg);
	void *arg;
};

/**
 * chardev_create() - open it; a pseudo-terminal's name is printed on standard error
 *
 * The order of things: chardev_create(), serial_create() with chardev_transmit and chardev_space,
 * chardev_start(); at the end, when no vCPU runs any more, chardev_stop(), serial_destroy(),
 * chardev_destroy().
 *
 * Return: 0, -errno with the path by name.
 */
int chardev_create(const struct chardev_config *config, struct chardev **out,
		   struct samara_error *err);

/**
 * chardev_start() - start its threads; takes the terminal if it is one
 * @peer: copied
 *
 * Return: 0, -EAGAIN (no thread to be had).
 */
int chardev_start(struct chardev *chardev, const struct chardev_peer *peer,
		  struct samara_error *err);

/**
 * chardev_stop() - write out what is left, end the threads, give the terminal back
 *
 * Context: Sleeps as long as the reader takes bytes, and up to CHARDEV_STALL_MS when it does not.
 * No chardev_transmit() is under way. May be called more than once.
 */
void chardev_stop(struct chardev *chardev);

/* Stops it too. */
void chardev_destroy(struct chardev *chardev);

/**
 * chardev_transmit() - bytes for the host; @chardev is a struct chardev
 *
 * Context: Any thread; sleeps up to CHARDEV_STALL_MS.
 */
void chardev_transmit(void *chardev, const uint8_t *bytes, size_t count);

/**
 * chardev_space() - the peer takes bytes again; @chardev is a struct chardev
 *
 * Context: Any thread; does not sleep.
 */
void chardev_space(void *chardev);

/* The name of the pseudo-terminal, NULL if it is none. */
const char *chardev_pty(const struct chardev *chardev);

#endif
