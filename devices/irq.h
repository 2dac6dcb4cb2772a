/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DEVICES_IRQ_H
#define DEVICES_IRQ_H

/*
 * An edge-triggered interrupt line: an eventfd, which the VMM joins to a GSI by KVM_IRQFD. Devices
 * know the eventfd alone.
 */
struct irq {
	int eventfd; /* immutable; -1: not connected */
};

/**
 * irq_trigger() - one edge
 *
 * Context: Does not sleep, any thread.
 */
void irq_trigger(const struct irq *irq);

#endif
