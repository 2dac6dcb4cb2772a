/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>

#include "tests/torture/guest_mm/round.h"

/* A vCPU: raw accesses to its private zone, the counters and the secret zones. */

#define OWN_WORDS 64
#define SCRATCH   256 /* words after a secret, still in its page: what vCPUs write there */

/**
 * struct vcpu - what a vCPU knows of its private zone
 * @value: what is in each word
 * @generation: how many it has written
 */
struct vcpu {
	struct actor *actor;
	uint64_t value[OWN_WORDS];
	uint64_t generation;
};

static void use_private_word(struct vcpu *vcpu)
{
	struct round *round = vcpu->actor->round;
	unsigned int index = vcpu->actor->index;
	struct zone *zone = &round->private_zone[index];
	unsigned int word = (unsigned int)dice_throw(&vcpu->actor->dice, OWN_WORDS);
	uint64_t old = vcpu->value[word], value;
	uint64_t new =
		(zone_home(zone) << 8) ^ (uint64_t)index << 60 ^ ++vcpu->generation << 16 ^ word;

	if (!zone_read_quietly(zone, word, &value, &round->stop))
		return;
	if (value != old)
		tally_wrong(&round->tally.wrong_bytes,
			    "vCPU %u word %u is %#" PRIx64 ", not %#" PRIx64, index, word, value,
			    old);
	__atomic_store_n(zone_word(zone, word), new, __ATOMIC_RELAXED);
	/* It landed there or in nothing. */
	if (!zone_read_quietly(zone, word, &value, &round->stop))
		return;
	if (value != old && value != new)
		tally_wrong(&round->tally.wrong_bytes, "vCPU %u word %u became %#" PRIx64, index,
			    word, value);
	if (value == old)
		count(&round->tally.strays);
	vcpu->value[word] = value;
}

static void use_counter(struct actor *actor)
{
	struct round *round = actor->round;
	unsigned int i = (unsigned int)dice_throw(&actor->dice, COUNTERS);
	uint64_t was = __atomic_fetch_add(zone_word(&round->counter_zone, i), 1, __ATOMIC_RELAXED);

	if ((was & ~LOW_BITS) == SIGNATURE)
		count(&round->landed[i]);
	else if (was < LOW_BITS)
		count(&round->tally.strays);
	else
		tally_wrong(&round->tally.wrong_bytes, "counter %u was %#" PRIx64, i, was);
}

static void use_secret(struct actor *actor)
{
	struct round *round = actor->round;
	struct zone *zone = &round->secret_zone[dice_throw(&actor->dice, SECRETS)];
	uint64_t epoch = __atomic_load_n(&zone->epoch, __ATOMIC_SEQ_CST);
	unsigned int word = (unsigned int)dice_throw(&actor->dice, SECRET_WORDS);
	uint64_t *at = zone_word(zone, word);
	uint64_t value = __atomic_load_n(at, __ATOMIC_RELAXED);

	if ((value & ~LOW_BITS) == SECRET && (value & LOW_BITS) < epoch)
		tally_wrong(&round->tally.wrong_gone, "epoch %" PRIu64 " still shows in %" PRIu64,
			    value & LOW_BITS, epoch);
	/* Page 0 is the operator's, to see that it comes as zeros. */
	if (word % zone->pages)
		__atomic_store_n(at + SCRATCH, 1, __ATOMIC_RELAXED);
}

void *actor_vcpu(void *arg)
{
	struct vcpu vcpu = {.actor = arg};
	struct actor *actor = arg;

	while (round_goes_on(actor->round)) {
		switch (dice_throw(&actor->dice, 3)) {
		case 0:
			use_private_word(&vcpu);
			break;
		case 1:
			use_counter(actor);
			break;
		default:
			use_secret(actor);
			break;
		}
		count(&actor->round->tally.accesses);
		actor_delay(actor);
	}
	return NULL;
}
