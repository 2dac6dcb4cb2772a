/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The region lock of mm/lock_region.c: readers that publish what they hold in slots of their own, and
 * writers that mark, drain, change and unlock all at once. Checked exhaustively by tests/model/run.
 *
 * Two objects for one region, OLD and NEW: a writer replaces OLD by NEW (as a split or a merge does),
 * a second one only changes what is in the tree. After a grace period OLD is freed.
 *
 * Memory: plain stores go to a buffer per process, oldest first, as on x86; they reach memory at any
 * later moment. xchg, and the store that is SEQ_CST, empty the buffer first. Loads look into the own
 * buffer first. Only readers' slot stores are ever plain here (the clearing; with -DPLAIN_STORE the
 * publishing too): the writers' stores are SEQ_CST.
 *
 * What is asserted:
 *   exclusion   a reader that is in sees no writer in the same region
 *   memory      nothing touches OLD after it was freed, and no reader is in a region that is gone
 *   progress    no deadlock (an invalid end state for spin): who holds never waits for the tree lock
 *
 * Mutants, each of which must be found wrong:
 *   PLAIN_STORE           the slot is published by a plain store, without a fence
 *   NO_DETACHED_CHECK     the reader does not look at detached
 *   DETACHED_AFTER_UNLOCK detached is set after the bulk unlock
 *   NO_DRAIN              the writer does not wait for the slots
 *   NO_GRACE_PERIOD       OLD is freed when the tree is unlocked
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
#define NEST 1 /* slots in use at once, less one: readers that hold try for another */
#endif

#define NONE 0
#define OLD  1
#define NEW  2
#define SLOTS 2

byte seq = 1;
byte lock_seq[3];
bool detached[3];
byte tree = OLD;	/* what a look-up finds */
bool freed[3];

byte slot[4];		/* READERS * SLOTS */

/* Each reader's store buffer: its slots only, in order. */
byte buf_at[4];		/* READERS * 2 entries: which slot */
byte buf_value[4];
byte buf_count[2];

/* Ghosts: who is really in. */
byte inside[3];		/* readers in OLD, NEW */
bool writing[3];

/* The tree lock: fair enough for safety; readers that wait hold nothing. */
bool locked_write;
byte locked_read;

/* RCU: sections that are open. */
byte section[2];
bool waiting_for[2];

#define flush_one(r)                                                     \
	slot[buf_at[2 * r]] = buf_value[2 * r];                          \
	buf_at[2 * r] = buf_at[2 * r + 1];                               \
	buf_value[2 * r] = buf_value[2 * r + 1];                         \
	buf_count[r]--

inline flush(r)
{
	atomic {
		do
		:: buf_count[r] > 0 -> flush_one(r)
		:: else -> buf_at[2 * r] = 0; buf_value[2 * r] = 0; buf_at[2 * r + 1] = 0;
			buf_value[2 * r + 1] = 0; break
		od
	}
}

/* A plain store: a full buffer gives one out first. */
inline store_plain(r, which, value)
{
	atomic {
		if
		:: buf_count[r] == 2 -> flush_one(r)
		:: else
		fi;
		buf_at[2 * r + buf_count[r]] = which;
		buf_value[2 * r + buf_count[r]] = value;
		buf_count[r]++
	}
}

inline xchg(r, which, value)
{
	atomic { flush(r); slot[which] = value }
}

inline publish(r, which, value)
{
#ifdef PLAIN_STORE
	store_plain(r, which, value)
#else
	xchg(r, which, value)
#endif
}

/* region_try_read_lock(): got becomes the region held, or NONE; busy as there. */
inline try_lock(r, which, got, busy)
{
	busy = false;
	section[r] = 1;			/* rcu_read_lock: ordered by liburcu */
	got = tree;
	if
	:: got == NONE -> section[r] = 0
	:: else ->
#ifdef CHECK_BEFORE_PUBLISH
		skip
#else
		publish(r, which, got)
#endif
		;
		assert(!freed[got]);
		seen = lock_seq[got];
		if
		:: seen == seq -> busy = true
		:: else
		fi;
#ifndef NO_DETACHED_CHECK
		if
		:: !busy && detached[got] -> busy = true
		:: else
		fi;
#endif
#ifdef CHECK_BEFORE_PUBLISH
		if
		:: !busy -> publish(r, which, got)
		:: else
		fi;
#endif
		if
		:: busy ->
			store_plain(r, which, NONE);
			section[r] = 0;
			got = NONE
		:: else ->
			inside[got]++;
			section[r] = 0
		fi
	fi
}

inline work(got)
{
	atomic {
		assert(!writing[got]);
		assert(!freed[got]);
		assert(!detached[got])
	}
}

inline unlock(r, which, got)
{
	atomic { inside[got]--; store_plain(r, which, NONE); got = NONE }
}

/* x86: what is in a buffer reaches memory some time. */
active [READERS] proctype buffer()
{
	byte r = _pid;
end:
	do
	:: atomic { buf_count[r] > 0 -> flush_one(r) }
	od
}

active [READERS] proctype reader()
{
	byte r = _pid - READERS;
	byte first = NONE, second = NONE, seen, tries = 0;
	bool busy = false;

	do
	:: tries < 2 ->
		tries++;
		try_lock(r, 2 * r, first, busy);
		if
		:: first == NONE && busy ->
			/* Fall back: wait for the writer, try with the writers kept out. */
			atomic { !locked_write -> locked_read++ };
			try_lock(r, 2 * r, first, busy);
			assert(!busy);
			atomic { locked_read-- }
		:: else
		fi;
		if
		:: first != NONE ->
			work(first);
#if NEST
			/* Nested: try only. */
			try_lock(r, 2 * r + 1, second, busy);
#ifdef BLOCK_WHILE_HOLDING
			if
			:: second == NONE && busy ->
				atomic { !locked_write -> locked_read++ };
				try_lock(r, 2 * r + 1, second, busy);
				atomic { locked_read-- }
			:: else
			fi;
#endif
			if
			:: second != NONE ->
				work(second);
				unlock(r, 2 * r + 1, second)
			:: else
			fi;
			work(first);
#endif
			unlock(r, 2 * r, first)
		:: else
		fi
	:: else -> break
	od
}

/* W2: until no slot names the region. */
inline drain(which)
{
	skip;
#ifndef NO_DRAIN
	i = 0;
	do
	:: i < READERS * SLOTS ->
		slot[i] != which;	/* blocks; a reader's clearing is in sight some time */
		i++
	:: else -> i = 0; break
	od
#endif
}

active [WRITERS] proctype writer()
{
	byte me = _pid - 2 * READERS;
	byte mine, i = 0;
	bool replaces = (me == 0);

	atomic { !locked_write -> locked_write = true };
	locked_read == 0;		/* those that came before it */
	mine = tree;
	lock_seq[mine] = seq;		/* W1: mark */
	drain(mine);
	atomic { writing[mine] = true; assert(inside[mine] == 0) };
	skip;				/* W3: change */
	atomic { assert(inside[mine] == 0); writing[mine] = false };
	if
	:: replaces && mine == OLD ->
#ifndef DETACHED_AFTER_UNLOCK
		detached[mine] = true;
#endif
		tree = NEW
	:: else -> replaces = false
	fi;
#ifdef NO_GRACE_PERIOD
	if
	:: replaces -> freed[mine] = true
	:: else
	fi;
#endif
	seq++;				/* W4: unlocks all */
#ifdef DETACHED_AFTER_UNLOCK
	if
	:: replaces -> detached[mine] = true
	:: else
	fi;
#endif
	locked_write = false;
	if
	:: replaces ->
		/* A grace period: the sections that are open now end. */
		waiting_for[0] = section[0];
		waiting_for[1] = section[1];
		i = 0;
		do
		:: i < READERS ->
			if
			:: waiting_for[i] -> section[i] == 0
			:: else
			fi;
			i++
		:: else -> break
		od;
		atomic { assert(inside[mine] == 0); freed[mine] = true }
	:: else
	fi
}
