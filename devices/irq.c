/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdint.h>
#include <unistd.h>

#include "devices/irq.h"

void irq_trigger(const struct irq *irq)
{
	const uint64_t one = 1;
	ssize_t written;

	if (irq->eventfd < 0)
		return;
	/* It fails only when 2^64 - 2 edges wait already: then one more tells nothing new. */
	written = write(irq->eventfd, &one, sizeof(one));
	(void)written;
}
