/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>

#include "tests/torture/guest_mm/round.h"

/* A device: pins its zone, and does DMA to what it has pinned. */

/* Every word of a pin: check it, or write it. */
static bool dma(const struct guest_mm_pin *pin, uint64_t value, bool write)
{
	for (unsigned int i = 0; i < pin->iov_count; i++) {
		uint64_t *word = pin->iov[i].iov_base;

		for (uint64_t left = pin->iov[i].iov_len / 8; left; left--, word++) {
			if (write)
				__atomic_store_n(word, value, __ATOMIC_RELAXED);
			else if (__atomic_load_n(word, __ATOMIC_RELAXED) != value)
				return false;
		}
	}
	return true;
}

/* Another pin on top: of something that is changed all the time. */
static void pin_counters(struct round *round)
{
	struct guest_mm_pin pin;
	int ret;

	ret = guest_mm_pin(round->windows.mm, zone_home(&round->counter_zone), PAGE, false, &pin);
	if (!ret)
		guest_mm_unpin(&pin);
	else if (ret != -EAGAIN && ret != -EFAULT && !tally_excuses(&round->tally, ret))
		tally_wrong(&round->tally.wrong_answer, "second pin: %d", ret);
}

/* @value: in every word of the zone. */
static void use_pin(struct actor *device, const struct guest_mm_pin *pin, uint64_t *value)
{
	struct tally *tally = &device->round->tally;

	if (!dma(pin, *value, false))
		tally_wrong(&tally->wrong_bytes, "device %u lost its bytes", device->index);
	*value = *value * 3 + 1;
	dma(pin, *value, true);
	if (dice_throw(&device->dice, 4) == 0)
		pin_counters(device->round);
	actor_delay(device);
	if (!dma(pin, *value, false))
		tally_wrong(&tally->wrong_bytes, "device %u: bytes changed under its pin",
			    device->index);
}

void *actor_device(void *arg)
{
	struct actor *device = arg;
	struct round *round = device->round;
	struct zone *zone = &round->dma_zone[device->index];
	uint64_t value = 0;

	while (round_goes_on(round)) {
		uint32_t seq = zone_seq(zone);
		struct guest_mm_pin pin;
		int ret = guest_mm_pin(round->windows.mm, zone_home(zone), zone->pages * PAGE, true,
				       &pin);

		if (!ret) {
			use_pin(device, &pin, &value);
			guest_mm_unpin(&pin);
			count(&round->tally.pins);
		} else if (!(ret == -EFAULT && (seq & 1 || seq != zone_seq(zone))) &&
			   !tally_excuses(&round->tally, ret)) {
			tally_wrong(&round->tally.wrong_answer, "pin: %d", ret);
		}
		actor_delay(device);
	}
	return NULL;
}
