# SPDX-License-Identifier: GPL-2.0-or-later
"""The lock designs of mm/lock_*.c, as far as time is concerned.

enter(reader) and leave(reader) are what a reader does besides its look-up; operation(...) is what a writer
does; all are generators for engine.py. What a design writes that others write or read is a Line.
"""

from engine import Gate, Line


class Reader:
    """cpu: its own; region: an index; short: a fault, which spf does not count."""

    def __init__(self, cpu, region, short):
        self.cpu = cpu
        self.region = region
        self.short = short


class Design:
    """What all have: a tree lock that operations hold for writing, and to which readers fall back."""

    per_region_line = False
    cost = None  # of a locked instruction, by its name in costs.json

    def __init__(self, engine, costs, readers, regions):
        self.engine = engine
        self.costs = costs
        self.readers = readers
        self.rmw = costs[self.cost]
        self.lines = [Line() for _ in range(regions if self.per_region_line else 1)]
        self.inside = [0] * regions
        self.marked = [False] * regions
        self.operating = False
        self.over = Gate(engine)
        self.left = Gate(engine)
        self.aborts = 0

    def line(self, reader):
        return self.lines[reader.region if self.per_region_line else 0]

    def fall_back(self):
        """Until no operation is there: the tree lock, for reading."""
        self.aborts += 1
        while self.operating:
            yield ("wait", self.over)

    def drained(self, region):
        while self.inside[region]:
            yield ("wait", self.left)

    def out(self, region):
        self.inside[region] -= 1
        if not self.inside[region]:
            self.left.open()

    def end_operation(self):
        self.operating = False
        self.over.open()


class Single(Design):
    """One reader-writer lock: readers write its line twice; an operation has the tree to itself."""

    cost = "rmw_single"

    def __init__(self, *args):
        super().__init__(*args)
        self.readers_in = 0

    def enter(self, reader):
        yield ("line", self.lines[0], self.rmw)
        if self.operating:
            yield from self.fall_back()
        self.readers_in += 1

    def leave(self, reader):
        yield ("line", self.lines[0], self.rmw)
        self.readers_in -= 1
        if not self.readers_in:
            self.left.open()

    def operation(self, region, length_ns):
        self.operating = True
        while self.readers_in:
            yield ("wait", self.left)
        yield ("delay", length_ns)
        self.end_operation()


class PerRegion(Design):
    """A word in each region that its readers write twice. A cut waits for the readers of the region
    as a whole; those who meet it then wait for the operation."""

    per_region_line = True

    def enter(self, reader):
        if self.marked[reader.region]:
            yield from self.fall_back()
        yield ("line", self.line(reader), self.rmw)
        if self.marked[reader.region]:
            yield ("line", self.line(reader), self.rmw)
            yield from self.fall_back()
        self.inside[reader.region] += 1

    def leave(self, reader):
        yield ("line", self.line(reader), self.rmw)
        self.out(reader.region)

    def operation(self, region, length_ns):
        self.operating = True
        self.marked[region] = True
        yield from self.drained(region)
        # The cut is done: the readers' part is a region of its own.
        self.marked[region] = False
        yield ("delay", length_ns)
        self.end_operation()


class Rwsem(PerRegion):
    cost = "rmw_rwsem"


class Refcount(PerRegion):
    cost = "rmw_refcount"


class Spf(PerRegion):
    """Faults write nothing that is shared; a writer waits for a grace period behind its mark. What is
    no fault counts as in Refcount."""

    cost = "rmw_refcount"

    def enter(self, reader):
        if not reader.short:
            yield from super().enter(reader)
            return
        yield ("delay", self.costs["check_spf"])
        if self.marked[reader.region]:
            yield from self.fall_back()

    def leave(self, reader):
        if not reader.short:
            yield from super().leave(reader)

    def operation(self, region, length_ns):
        self.operating = True
        self.marked[region] = True
        yield ("delay", self.costs["grace_period"])
        yield from self.drained(region)
        self.marked[region] = False
        yield ("delay", length_ns)
        self.end_operation()


class Range(Design):
    """A list of the ranges that are held, under one mutex that everybody takes twice."""

    cost = "section_range"

    def enter(self, reader):
        yield ("line", self.lines[0], self.rmw)

    def leave(self, reader):
        yield ("line", self.lines[0], self.rmw)

    def operation(self, region, length_ns):
        self.operating = True
        yield ("line", self.lines[0], self.rmw)
        yield ("delay", length_ns)
        yield ("line", self.lines[0], self.rmw)
        self.end_operation()


class Region(Design):
    """A slot of the reader's own; a writer looks at all slots, and cuts a region under its readers."""

    cost = "rmw_region"

    def enter(self, reader):
        yield ("delay", self.rmw)

    def leave(self, reader):
        return
        yield

    def scan_ns(self):
        return self.costs["scan_slots"] + self.costs["scan_slot"] * max(0, self.readers - 64)

    def operation(self, region, length_ns):
        self.operating = True
        yield ("delay", self.scan_ns())
        yield ("delay", length_ns)
        self.end_operation()


class RegionMembarrier(Region):
    """The same with plain stores: the writer interrupts every CPU instead. What that costs those who
    are interrupted was not measured and is left out."""

    cost = "rmw_region-membarrier"

    def scan_ns(self):
        return self.costs["membarrier"] + super().scan_ns()


DESIGNS = {
    "single": Single,
    "rwsem": Rwsem,
    "refcount": Refcount,
    "range": Range,
    "spf": Spf,
    "region": Region,
    "region-membarrier": RegionMembarrier,
}
