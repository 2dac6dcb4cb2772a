# SPDX-License-Identifier: GPL-2.0-or-later
"""A discrete-event engine: processes, lines that are handed around, gates.

A process is a generator that yields what it wants next:

    ("delay", ns)            time passes
    ("line", line, ns)       a locked instruction on a cache line: ns when the line is here already,
                             the time of the transfer besides when another CPU had it last; who comes
                             while the line is in use queues, first come, first served
    ("wait", gate)           sleep until gate.open() is called

Events at the same time happen in the order in which they were scheduled, so a run depends on its seed
and on nothing else.
"""

import heapq


class Line:
    """A cache line, or anything else that serves one at a time. Counts who was served."""

    __slots__ = ("owner", "free_at", "served", "moved", "busy")

    def __init__(self):
        self.owner = None
        self.free_at = 0.0
        self.served = self.moved = 0
        self.busy = 0.0


class Gate:
    """What processes wait for."""

    __slots__ = ("engine", "waiting")

    def __init__(self, engine):
        self.engine = engine
        self.waiting = []

    def open(self):
        """Let all go that wait now."""
        waiting, self.waiting = self.waiting, []
        for process in waiting:
            self.engine.schedule(self.engine.now, process)


class Engine:
    def __init__(self, transfer_ns):
        """transfer_ns(from_cpu, to_cpu): of a line"""
        self.now = 0.0
        self.transfer_ns = transfer_ns
        self.events = []
        self.count = 0
        self.cpu_of = {}

    def schedule(self, at, process):
        self.count += 1
        heapq.heappush(self.events, (at, self.count, process))

    def start(self, process, cpu):
        self.cpu_of[process] = cpu
        self.schedule(self.now, process)

    def run(self, until_ns=float("inf"), done=lambda: False):
        """Until nothing happens any more, that time, or done()."""
        events, cpu_of = self.events, self.cpu_of
        while events and not done():
            if events[0][0] > until_ns:
                self.now = until_ns
                return
            self.now, _, process = heapq.heappop(events)
            try:
                want = next(process)
            except StopIteration:
                continue
            if want[0] == "delay":
                self.schedule(self.now + want[1], process)
            elif want[0] == "line":
                line, ns, cpu = want[1], want[2], cpu_of[process]
                if line.owner is not None and line.owner != cpu:
                    ns += self.transfer_ns(line.owner, cpu)
                    line.moved += 1
                line.free_at = max(self.now, line.free_at) + ns
                line.owner = cpu
                line.served += 1
                line.busy += ns
                self.schedule(line.free_at, process)
            else:
                want[1].waiting.append(process)
