/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * LOCK=region, mm/lock_region.c and mm/region_cut.c: readers that publish what they hold in slots of
 * their own, by range; writers that cut regions under them, mark, drain, change and unlock all at
 * once. Checked exhaustively by tests/model/run.
 *
 * Two addresses, 0 and 1. At first OLD covers both. Writer 0 wants address 1: it puts A and B in the
 * place of OLD, changes what is at 1, and then takes B out, or unites A and B to WHOLE, or leaves it at
 * that. Writer 1 wants the whole region that 0 is in, and takes it out or not. What is over is freed
 * after a grace period, when no slot names it.
 *
 * Memory: plain stores go to a buffer per process, oldest first, as on x86; they reach memory at any
 * later moment. xchg empties the buffer first. Loads look into memory: no reader loads its own slot.
 * The writers' stores are SEQ_CST. With MEMBARRIER readers publish plainly, and a writer has all
 * buffers emptied between its marks and its scan.
 *
 * With RANGE_LOCK it is LOCK=range, mm/lock_range.c: the slots are the entries of the list, and a
 * reader adds its own only if no writer's meets it, both in one step: there is a mutex around them.
 *
 * What is asserted:
 *   exclusion   who holds an address sees no writer at it, and a writer finds no holder there
 *   gone        nobody holds an address that was taken out
 *   memory      no reader touches a region that was freed
 *   look-up     who finds a region detached and looks up again does not find it again
 *   progress    no deadlock (an invalid end state for spin): who holds never waits for the tree lock,
 *               and a cut never waits for who holds something else
 *
 * Mutants, each of which must be found wrong:
 *   PLAIN_STORE           the slot is published by a plain store, without a fence or a membarrier
 *   NO_DETACHED_CHECK     the reader does not look at detached
 *   DETACHED_AFTER_UNLOCK detached is set after the bulk unlock
 *   DETACHED_FIRST        a cut detaches the old region before the new ones are stored
 *   NO_DRAIN              the writer does not wait for the slots
 *   BY_POINTER            the writer waits for slots that name the region that it marked, not by range
 *   RANGE_LAST            a slot's range is stored after its region
 *   NO_GRACE_PERIOD       what is over is freed when the tree is unlocked, if no slot names it
 *   FREE_WHILE_NAMED      ... is freed after a grace period, whether a slot names it or not
 *   CHECK_BEFORE_PUBLISH  the reader looks at the mark first, and publishes then
 *   BLOCK_WHILE_HOLDING   a reader that holds waits for the tree lock when its next try fails
 */
#ifndef READERS
#define READERS 2
#endif
#ifndef WRITERS
#define WRITERS 2
#endif
#ifndef NEST
#define NEST 0 /* 1: readers that hold try for another */
#endif
#ifndef TRIES
#define TRIES 1
#endif

#define NONE  0
#define OLD   1
#define A     2
#define B     3
#define WHOLE 4
#define SLOTS (NEST + 1)

/* The addresses of a region, as bits. */
#define covers(region) ((region == A) -> 1 : ((region == B) -> 2 : 3))
#define bit(address)   (1 << (address))

byte seq = 1;
byte lock_seq[5];
bool detached[5];
bool freed[5];
byte tree[2] = OLD; /* what a look-up finds at each address */

byte slot[8]; /* READERS * SLOTS: the range, then the region */

/* Each reader's store buffer, in order: field (slot * 2, + 1 for the region) and value. */
byte buf_field[8], buf_value[8]; /* READERS * 4 */
byte buf_count[2];

byte writer_range; /* RANGE_LOCK: the writer's entry in the list */

/* Ghosts: who is really in. */
byte inside[2];
bool writing[2];
bool gone[2];

/* The tree lock: fair enough for safety; readers that wait hold nothing. */
bool locked_write;
byte locked_read;

/* RCU: sections that are open. */
byte section[2];

#define flush_one(r)                                               \
	slot[buf_field[4 * r]] = buf_value[4 * r];                  \
	buf_field[4 * r] = buf_field[4 * r + 1];                   \
	buf_value[4 * r] = buf_value[4 * r + 1];                   \
	buf_field[4 * r + 1] = buf_field[4 * r + 2];               \
	buf_value[4 * r + 1] = buf_value[4 * r + 2];               \
	buf_field[4 * r + 2] = buf_field[4 * r + 3];               \
	buf_value[4 * r + 2] = buf_value[4 * r + 3];               \
	buf_field[4 * r + 3] = 0;                                  \
	buf_value[4 * r + 3] = 0;                                  \
	buf_count[r]--

inline flush(r)
{
	d_step {
		do
		:: buf_count[r] > 0 -> flush_one(r)
		:: else -> break
		od
	}
}

/* A plain store: a full buffer gives one out first. */
inline store_plain(r, field, value)
{
	d_step {
		if
		:: buf_count[r] == 4 -> flush_one(r)
		:: else
		fi;
		buf_field[4 * r + buf_count[r]] = field;
		buf_value[4 * r + buf_count[r]] = value;
		buf_count[r]++
	}
}

inline xchg(r, field, value)
{
	d_step {
		do
		:: buf_count[r] > 0 -> flush_one(r)
		:: else -> break
		od;
		slot[field] = value
	}
}

inline publish(r, which, range, region)
{
#ifdef RANGE_LAST
	xchg(r, 2 * (which) + 1, region);
	store_plain(r, 2 * (which), range)
#else
	store_plain(r, 2 * (which), range);
#if defined(PLAIN_STORE) || defined(MEMBARRIER)
	store_plain(r, 2 * (which) + 1, region)
#else
	xchg(r, 2 * (which) + 1, region)
#endif
#endif
}

inline clear(r, which)
{
#ifdef RANGE_LOCK
	slot[2 * (which) + 1] = NONE
#else
	store_plain(r, 2 * (which) + 1, NONE)
#endif
}

inline enter(range)
{
	d_step {
		if
		:: range & 1 -> inside[0]++; assert(!writing[0] && !gone[0])
		:: else
		fi;
		if
		:: range & 2 -> inside[1]++; assert(!writing[1] && !gone[1])
		:: else
		fi
	}
}

inline leave(range)
{
	d_step {
		if
		:: range & 1 -> inside[0]--
		:: else
		fi;
		if
		:: range & 2 -> inside[1]--
		:: else
		fi
	}
}

/* region_try_read_lock_range(): got and range become what is held, or NONE; busy as there. */
inline try_lock(r, which, address, want, got, range, busy)
{
	busy = false;
	lookups = 0;
	before = NONE;
	section[r] = 1; /* rcu_read_lock: ordered by liburcu */
	do
	:: true ->
		got = tree[address];
		if
		:: got == NONE -> break
		:: else
		fi;
		assert(got != before);
		range = want & covers(got);
		assert(!freed[got]);
#ifdef RANGE_LOCK
		d_step {
			busy = (writer_range & range) != 0;
			if
			:: !busy -> slot[2 * (which)] = range; slot[2 * (which) + 1] = got
			:: else
			fi
		};
#elif defined(CHECK_BEFORE_PUBLISH)
		busy = (lock_seq[got] == seq);
		publish(r, which, range, got);
#else
		publish(r, which, range, got);
		seen = lock_seq[got];
		busy = (seen == seq);
#endif
		if
		:: busy -> got = NONE; break
		:: else
		fi;
#ifdef NO_DETACHED_CHECK
		break;
#endif
		if
		:: !detached[got] -> break
		:: else -> before = got; lookups++
		fi;
		if
		:: lookups == 2 -> busy = true; got = NONE; break
		:: else
		fi
	od;
	if
	:: got == NONE -> clear(r, which)
	:: else -> enter(range)
	fi;
	section[r] = 0
}

inline work(got, range)
{
	d_step {
		assert(!freed[got]);
		assert(!(range & 1) || !writing[0]);
		assert(!(range & 2) || !writing[1])
	}
}

inline unlock(r, which, got, range)
{
	leave(range);
	clear(r, which);
	got = NONE
}

/* x86: what is in a buffer reaches memory some time. */
active [READERS] proctype buffer()
{
	byte r = _pid;
end:
	do
	:: d_step { buf_count[r] > 0 -> flush_one(r) }
	od
}

active [READERS] proctype reader()
{
	byte r = _pid - READERS;
	byte first = NONE, first_range = 0, second = NONE, second_range = 0;
	byte seen = 0, before = NONE, lookups = 0, tries = 0, address = 0, other = 0, want = 0;
	bool busy = false;

	do
	:: tries < TRIES ->
		tries++;
		if
		:: address = 0; want = 1
		:: address = 1; want = 2
		:: address = 0; want = 3
		fi;
		try_lock(r, SLOTS * r, address, want, first, first_range, busy);
		if
		:: busy ->
			/* Fall back: wait for the writer, try with the writers kept out. */
			atomic { !locked_write -> locked_read++ };
			try_lock(r, SLOTS * r, address, want, first, first_range, busy);
			assert(!busy);
			locked_read--
		:: else
		fi;
		if
		:: first != NONE ->
			work(first, first_range);
#if NEST
			/* Nested: try only. */
			other = 1 - address;
			try_lock(r, SLOTS * r + 1, other, 3, second, second_range, busy);
#ifdef BLOCK_WHILE_HOLDING
			if
			:: busy ->
				atomic { !locked_write -> locked_read++ };
				try_lock(r, SLOTS * r + 1, other, 3, second, second_range, busy);
				locked_read--
			:: else
			fi;
#endif
			if
			:: second != NONE ->
				work(second, second_range);
				unlock(r, SLOTS * r + 1, second, second_range)
			:: else
			fi;
			work(first, first_range);
#endif
			unlock(r, SLOTS * r, first, first_range)
		:: else
		fi
	:: else -> break
	od
}

/* W2: the slots one after the other, each until it is not in the way. The two loads are apart. */
inline drain(range, which)
{
#ifdef MEMBARRIER
	flush(0);
#if READERS == 2
	flush(1);
#endif
#endif
	i = 0;
#ifndef NO_DRAIN
	do
	:: i == READERS * SLOTS -> break
	:: else ->
		seen = slot[2 * i + 1];
		if
#ifdef BY_POINTER
		:: seen != which -> i++
#else
		:: seen == NONE -> i++
#endif
		:: else ->
			if
#ifdef BY_POINTER
			:: slot[2 * i + 1] != which -> i++
#else
			:: !(slot[2 * i] & range) -> i++
			:: slot[2 * i + 1] == NONE -> i++
#endif
			fi
		fi
	od;
	i = 0
#endif
}

inline set_writing(range, value)
{
	d_step {
		if
		:: range & 1 -> writing[0] = value; assert(!inside[0])
		:: else
		fi;
		if
		:: range & 2 -> writing[1] = value; assert(!inside[1])
		:: else
		fi
	}
}

/* A grace period, and then until no slot names it. */
inline free_region(which)
{
	i = 0;
	do
	:: i == READERS -> break
	:: else -> waiting = section[i];
		if
		:: waiting -> section[i] == 0
		:: else
		fi;
		i++
	od;
	/* What a section stored is in sight once a grace period after it is over: RCU's promise. */
	flush(0);
#if READERS == 2
	flush(1);
#endif
	free_now(which)
}

inline free_now(which)
{
	i = 0;
#ifndef FREE_WHILE_NAMED
	do
	:: i == READERS * SLOTS -> break
	:: else -> slot[2 * i + 1] != which; i++
	od;
#endif
	i = 0;
	freed[which] = true
}

active [WRITERS] proctype writer()
{
	byte me = _pid - 2 * READERS;
	byte mine, range, i = 0, over = NONE, over2 = NONE, seen = 0;
	bool waiting = false;

	atomic { !locked_write -> locked_write = true };
	locked_read == 0; /* those that came before it */
	if
	:: me == 0 && tree[0] == OLD ->
		/* W0: cut. B is marked before it can be found. */
		d_step { lock_seq[B] = seq; writer_range = covers(B) };
#ifdef DETACHED_FIRST
		detached[OLD] = true;
#endif
		tree[1] = B;
		tree[0] = A;
		detached[OLD] = true;
		over = OLD;
		mine = B
	:: else ->
		mine = tree[0];
		d_step { /* W1 */
			lock_seq[mine] = seq;
			writer_range = (mine == NONE -> 0 : covers(mine))
		}
	fi;
	if
	:: mine == NONE -> goto let_go
	:: else
	fi;
	range = covers(mine);
	drain(range, mine);
	set_writing(range, true); /* W3 */
	set_writing(range, false);
	if
	:: true ->
		/* Take it out. */
#ifndef DETACHED_AFTER_UNLOCK
		detached[mine] = true;
#endif
		d_step {
			if
			:: range & 1 -> tree[0] = NONE; gone[0] = true
			:: else
			fi;
			if
			:: range & 2 -> tree[1] = NONE; gone[1] = true
			:: else
			fi
		}
		over2 = mine
	:: mine == B ->
		/* Unite: WHOLE is not marked. */
		d_step { tree[0] = WHOLE; tree[1] = WHOLE };
		detached[A] = true;
		detached[B] = true;
		over2 = A
	:: true
	fi;
let_go:	skip; /* spin lets nobody jump into a d_step */
#ifdef NO_GRACE_PERIOD
	if
	:: over != NONE -> free_now(over); over = NONE
	:: else
	fi;
#endif
	d_step { writer_range = 0; seq++ }; /* W4: unlocks all */
#ifdef DETACHED_AFTER_UNLOCK
	if
	:: over2 != NONE -> detached[over2] = true
	:: else
	fi;
#endif
	locked_write = false;
	if
	:: over != NONE -> free_region(over)
	:: else
	fi;
	if
	:: over2 != NONE -> free_region(over2)
	:: else
	fi
}
