/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "vmm/janitor.h"
#include "vmm/terminal.h"

/*
 * The state of the terminal on standard input.
 *
 * Everything: @lock.
 */
static struct {
	pthread_mutex_t lock;
	bool raw;       /* we made it so */
	bool suspended; /* it was raw when we were stopped */
	struct termios saved, ours;
} terminal = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* From a background process tcsetattr() would stop us; there it is better to fail. */
static int set_attributes(const struct termios *attributes)
{
	sigset_t ttou, before;
	int ret;

	sigemptyset(&ttou);
	sigaddset(&ttou, SIGTTOU);
	pthread_sigmask(SIG_BLOCK, &ttou, &before);
	ret = tcsetattr(STDIN_FILENO, TCSANOW, attributes);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return ret;
}

/* A terminal that is not our controlling one (a test's, or after setsid) has no foreground. */
static bool in_foreground(void)
{
	pid_t group = tcgetpgrp(STDIN_FILENO);

	return group < 0 || group == getpgrp();
}

static void release(void)
{
	if (!terminal.raw)
		return;
	set_attributes(&terminal.saved);
	terminal.raw = false;
	janitor_watch_terminal(NULL, NULL);
}

bool terminal_take(void)
{
	bool raw;

	pthread_mutex_lock(&terminal.lock);
	if (terminal.raw || terminal.suspended || !in_foreground())
		goto out;
	if (tcgetattr(STDIN_FILENO, &terminal.saved))
		goto out;
	terminal.ours = terminal.saved;
	cfmakeraw(&terminal.ours);
	/* The janitor first: whenever we die from here on, it finds the state it waits for or
	 * leaves the terminal alone. */
	janitor_watch_terminal(&terminal.saved, &terminal.ours);
	if (set_attributes(&terminal.ours)) {
		janitor_watch_terminal(NULL, NULL);
		goto out;
	}
	terminal.raw = true;
	/* A driver may have made something else of it. */
	if (!tcgetattr(STDIN_FILENO, &terminal.ours))
		janitor_watch_terminal(&terminal.saved, &terminal.ours);
out:
	raw = terminal.raw && in_foreground();
	pthread_mutex_unlock(&terminal.lock);
	return raw;
}

void terminal_release(void)
{
	pthread_mutex_lock(&terminal.lock);
	release();
	terminal.suspended = false;
	pthread_mutex_unlock(&terminal.lock);
}

void terminal_suspend(void)
{
	pthread_mutex_lock(&terminal.lock);
	terminal.suspended = terminal.raw;
	release();
	pthread_mutex_unlock(&terminal.lock);
}

void terminal_resume(void)
{
	bool again;

	pthread_mutex_lock(&terminal.lock);
	again = terminal.suspended;
	terminal.suspended = false;
	/* A SIGSTOP gave no notice, and the shell has made the terminal its own meanwhile. */
	if (terminal.raw) {
		if (in_foreground())
			set_attributes(&terminal.ours);
		else
			terminal.raw = false;
	}
	pthread_mutex_unlock(&terminal.lock);
	if (again)
		terminal_take();
}
