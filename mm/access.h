/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MM_ACCESS_H
#define MM_ACCESS_H

#include <stdint.h>
#include <string.h>

/*
 * Bytes to and from guest memory. What has 1, 2, 4 or 8 bytes and lies at its natural place in the
 * guest is accessed at once: a guest that writes a ring's index is never seen to have written half
 * of it. Anything else is copied as it comes.
 */
#define ACCESS_IS(type, guest, length) \
	((length) == sizeof(type) && !((uintptr_t)(guest) & (sizeof(type) - 1)))

#define ACCESS_LOAD(type, to, guest)                                                   \
	do {                                                                           \
		type value = __atomic_load_n((const type *)(guest), __ATOMIC_RELAXED); \
		memcpy(to, &value, sizeof(value));                                     \
	} while (0)

#define ACCESS_STORE(type, guest, from)                                     \
	do {                                                                \
		type value;                                                 \
		memcpy(&value, from, sizeof(value));                        \
		__atomic_store_n((type *)(guest), value, __ATOMIC_RELAXED); \
	} while (0)

static inline void access_load(void *to, const void *guest, uint64_t length_bytes)
{
	if (ACCESS_IS(uint64_t, guest, length_bytes))
		ACCESS_LOAD(uint64_t, to, guest);
	else if (ACCESS_IS(uint32_t, guest, length_bytes))
		ACCESS_LOAD(uint32_t, to, guest);
	else if (ACCESS_IS(uint16_t, guest, length_bytes))
		ACCESS_LOAD(uint16_t, to, guest);
	else
		memcpy(to, guest, length_bytes);
}

static inline void access_store(void *guest, const void *from, uint64_t length_bytes)
{
	if (ACCESS_IS(uint64_t, guest, length_bytes))
		ACCESS_STORE(uint64_t, guest, from);
	else if (ACCESS_IS(uint32_t, guest, length_bytes))
		ACCESS_STORE(uint32_t, guest, from);
	else if (ACCESS_IS(uint16_t, guest, length_bytes))
		ACCESS_STORE(uint16_t, guest, from);
	else
		memcpy(guest, from, length_bytes);
}

#endif
