/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The lock designs that hold a region as a whole, by a word in it: LOCK=rwsem (mm/lock_rwsem.c, with
 * -DRWSEM), LOCK=refcount (mm/lock_refcount.c), LOCK=spf (mm/lock_spf.c, with -DSPF: readers are
 * faults, or with a count, as they choose). Checked exhaustively by tests/model/run.
 *
 * One address. OLD is there at first; a writer may put NEW in its place (as a cut or a merge does), or
 * take it out, or only change what it guards. A region that is over is freed after a grace period.
 *
 * Memory: the counts are changed by locked instructions only, and the marks are SEQ_CST stores: every
 * step is one in memory. A section of RCU is ordered by liburcu.
 *
 * What is asserted:
 *   exclusion   who holds a region sees no writer in it, and a writer finds no holder there
 *   gone        nobody holds a region that was taken out or replaced
 *   memory      nobody touches a region that was freed; not even the end of a hold
 *   progress    no deadlock (an invalid end state for spin): a writer that sleeps is woken
 *
 * Mutants, each of which must be found wrong:
 *   NO_RECHECK        the reader does not look at the mark again once it holds
 *   NO_DETACHED_CHECK the reader does not look at detached
 *   NO_DRAIN          the writer does not wait
 *   NO_GRACE_PERIOD   a region that is over is freed when the tree is unlocked
 *   NO_WAKE           refcount: the last reader does not wake the writer
 *   TOUCH_AFTER_PUT   refcount: a reader looks into the region after it gave its count back, to wake
 *                     the writer (Linux 6.15)
 *   NO_SECTION        rwsem: the end of a hold is no read-side section
 *   NO_SYNCHRONIZE    spf: the writer does not wait for a grace period
 */
#ifndef READERS
#define READERS 2
#endif
#ifndef WRITERS
#define WRITERS 2
#endif

#define NONE 0
#define OLD  1
#define NEW  2

byte seq = 1;
byte lock_seq[3];
bool detached[3], freed[3];
byte tree = OLD;
byte count[3];		/* readers */
bool writer_in[3];	/* refcount: WRITER; rwsem: a writer is there or waits */
bool asleep[3];		/* refcount: the writer sleeps */

byte inside[3];
bool writing[3];
bool locked_write;
byte locked_read;
byte section[2];

/* One more reader, unless a writer is there. */
inline get(which, got_in)
{
	d_step {
		assert(!freed[which]);
#ifdef SPF
		got_in = true;
		count[which]++
#else
		if
		:: writer_in[which] -> got_in = false
		:: else -> got_in = true; count[which]++
		fi
#endif
	}
}

inline put(which)
{
#ifdef RWSEM
	/* Two accesses: the lock is let go, and then the writer's bit is looked at, to wake it. */
#ifndef NO_SECTION
	section[r]++;
#endif
	d_step { assert(!freed[which]); count[which]-- };
	assert(!freed[which]);
#ifndef NO_SECTION
	section[r]--
#endif
#else
	d_step {
		assert(!freed[which]);
		count[which]--;
		last = (count[which] == 0 && writer_in[which])
	};
#ifdef TOUCH_AFTER_PUT
	assert(!freed[which]);
#endif
#ifndef NO_WAKE
	if
	:: last -> asleep[which] = false
	:: else
	fi
#endif
#endif
}

inline try_lock(got, busy)
{
	busy = false;
	got_in = false;
	section[r]++;
	got = tree;
	if
	:: got != NONE ->
		assert(!freed[got]);
		seen = lock_seq[got];
		busy = (seen == seq);
		if
		:: !busy && !fault -> get(got, got_in); busy = !got_in
		:: else
		fi;
#ifndef NO_RECHECK
		if
		:: !busy -> seen = lock_seq[got]; busy = (seen == seq)
		:: else
		fi;
#endif
#ifndef NO_DETACHED_CHECK
		if
		:: !busy && detached[got] -> busy = true
		:: else
		fi;
#endif
		if
		:: busy && got_in -> put(got)
		:: else
		fi;
		if
		:: busy -> got = NONE
		:: else -> d_step { inside[got]++; assert(!writing[got]) }
		fi
	:: else
	fi;
	/* A fault stays in its section for as long as it works. */
	if
	:: fault && got != NONE
	:: else -> section[r]--
	fi
}

active [READERS] proctype reader()
{
	byte r = _pid;
	byte got = NONE, seen = 0;
	bool busy = false, got_in = false, fault = false, last = false;

#ifdef SPF
	if
	:: fault = true
	:: fault = false
	fi;
#endif
	try_lock(got, busy);
	if
	:: busy ->
		atomic { !locked_write -> locked_read++ };
		try_lock(got, busy);
		assert(!busy);
		locked_read--
	:: else
	fi;
	if
	:: got != NONE ->
		d_step { assert(!writing[got]); assert(!freed[got]) };
		d_step { assert(!writing[got]); assert(!freed[got]); assert(!detached[got]); inside[got]-- };
		if
		:: fault -> section[r]--
		:: else -> put(got)
		fi
	:: else
	fi
}

inline grace_period()
{
	i = 0;
	do
	:: i == READERS -> break
	:: else ->
		if
		:: section[i] > 0 -> section[i] == 0
		:: else
		fi;
		i++
	od;
	i = 0
}

inline drain(which)
{
	skip;
#ifndef NO_DRAIN
#ifdef SPF
#ifndef NO_SYNCHRONIZE
	grace_period();
#endif
	count[which] == 0
#else
#ifdef RWSEM
	writer_in[which] = true;
	count[which] == 0;
	writer_in[which] = false
#else
	writer_in[which] = true;
	do
	:: count[which] == 0 -> break
	:: else ->
		/* futex: sleeps only if the word is as it was read. */
		d_step {
			if
			:: count[which] != 0 -> asleep[which] = true
			:: else
			fi
		};
		!asleep[which]
	od;
	writer_in[which] = false
#endif
#endif
#endif
}

active [WRITERS] proctype writer()
{
	byte mine, over = NONE, i = 0;

	atomic { !locked_write -> locked_write = true };
	locked_read == 0;
	mine = tree;
	if
	:: mine != NONE ->
		lock_seq[mine] = seq;
		drain(mine);
		d_step { writing[mine] = true; assert(!inside[mine]) };
		d_step { assert(!inside[mine]); writing[mine] = false };
		if
		:: mine == OLD -> tree = NEW; detached[mine] = true; over = mine
		:: true -> detached[mine] = true; tree = NONE; over = mine
		:: true
		fi
	:: else
	fi;
#ifdef NO_GRACE_PERIOD
	if
	:: over != NONE -> freed[over] = true; over = NONE
	:: else
	fi;
#endif
	seq++;
	locked_write = false;
	if
	:: over != NONE -> grace_period(); freed[over] = true
	:: else
	fi
}
