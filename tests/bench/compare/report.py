# SPDX-License-Identifier: GPL-2.0-or-later
"""What was measured, as a list for machines, a table for people, and data for plot.gp."""

import json
import os
import platform
import statistics
import subprocess
import time

STALL_NS = 1e6  # An access that takes longer is called stalled.


def host(rounds, load):
    """When, where and with what load, in a line."""
    model = platform.machine()
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    try:
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True,
                                text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = "unknown"
    return (f"{time.strftime('%Y-%m-%d %H:%M')}, commit {commit}, {rounds} round{'s' * (rounds > 1)}, "
            f"{len(os.sched_getaffinity(0))} CPUs ({model}), Linux {platform.release()}, "
            f"load {load:.1f} at the beginning, {os.getloadavg()[0]:.1f} at the end")


def share(ordered, part):
    """The value that so large a part of them does not exceed."""
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


class Results:
    def __init__(self, variants):
        self.variants = variants
        self.values = {}  # (workload, metric, unit) -> variant -> values
        self.lines = {}  # (cell, variant) -> [(longest ns, accesses, changes)], one per round
        self.buckets = {}  # variant -> ns -> faults in samara stress, all rounds

    def put(self, workload, variant, metric, unit, value):
        self.values.setdefault((workload, metric, unit), {}).setdefault(variant, []).append(value)

    def add(self, bench, cell, variant, measured):
        workload = f"{'.'.join(bench)}.{cell}"
        if bench[0] == "timeline":
            self._add_line(workload, cell, variant, measured)
            return
        for what, value in measured:
            metric, _, unit = what.rpartition(".")
            self.put(workload, variant, metric or "time", unit, value)
            if bench[0] == "locks":
                # A reader's own time: of those that have no CPU, none counts.
                at_once = min(int(cell.split(".")[0]), len(os.sched_getaffinity(0)))
                self.put(workload, variant, "throughput", "per us", at_once * 1e3 / value)

    def _add_line(self, workload, cell, variant, measured):
        split = {"at": [], "change": []}
        for what, value in measured:
            kind, at_us, _ = what.split(".")
            split[kind].append((int(at_us), value))
        ordered = sorted(ns for _, ns in split["at"])
        for metric, part in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999)):
            self.put(workload, variant, metric, "us", share(ordered, part) / 1e3)
        self.put(workload, variant, "max", "us", ordered[-1] / 1e3)
        self.put(workload, variant, "stalled", "accesses", sum(ns > STALL_NS for ns in ordered))
        self.lines.setdefault((cell, variant), []).append(
            (ordered[-1], split["at"], split["change"]))

    def add_stress(self, variant, said):
        seconds = said["seconds"]
        workload = "stress.hotplug"
        self.put(workload, variant, "operations", "per s", said["operations"] / seconds)
        self.put(workload, variant, "faults", "per s", said["faults"] / seconds)
        for metric in ("p50", "p99", "p999", "max"):
            self.put(workload, variant, f"fault {metric}", "us", said["fault_ns"][metric] / 1e3)
        for kind in ("plug", "unplug", "remap"):
            if said["operation_ns"][kind]["count"]:
                self.put(workload, variant, f"{kind} p50", "us",
                         said["operation_ns"][kind]["p50"] / 1e3)
        own = self.buckets.setdefault(variant, {})
        for largest, count in said["fault_ns"]["buckets"]:
            own[largest] = own.get(largest, 0) + count

    def as_list(self):
        return [{"workload": workload, "variant": variant, "metric": metric, "unit": unit,
                 "values": values, "median": statistics.median(values)}
                for (workload, metric, unit), by_variant in self.values.items()
                for variant, values in by_variant.items()]

    def median(self, variant, *key):
        """The median, or None where it was not measured."""
        values = self.values.get(key, {}).get(variant)
        return statistics.median(values) if values else None

    # ---- Files ----------------------------------------------------------------------------------

    def write(self, folder, where, no_stress):
        with open(f"{folder}/compare.json", "w", encoding="utf-8") as file:
            json.dump(self.as_list(), file, indent=1)
            file.write("\n")
        with open(f"{folder}/compare.txt", "w", encoding="utf-8") as file:
            file.write("\n".join(self._table(where, no_stress)) + "\n")
        with open(f"{folder}/variants.dat", "w", encoding="utf-8") as file:
            file.write("\n".join(self.variants) + "\n")
        with open(f"{folder}/where.dat", "w", encoding="utf-8") as file:
            file.write(where + "\n")
        self._write_distribution(folder)
        self._write_threads(folder)
        self._write_timeline(folder)
        self._write_regions(folder)

    def _table(self, where, no_stress):
        rows = [["", ""] + self.variants]
        for workload, metric, unit in self.values:
            medians = [self.median(variant, workload, metric, unit) for variant in self.variants]
            rows.append([workload, f"{metric}, {unit}"]
                        + ["-" if value is None else f"{value:.4g}" if abs(value) < 1e4
                           else f"{value:.0f}" for value in medians])
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [f"Medians of each variant, measured by turns: {where}"]
        if no_stress:
            lines.append(f"Hotplug under load (samara stress) was skipped: {no_stress}")
        return lines + [""] + ["  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths))).rstrip() for row in rows]

    def _blocks(self, folder, name, blocks):
        """A block for each of @blocks (plot.gp's `index`), with a line at least."""
        with open(f"{folder}/{name}.dat", "w", encoding="utf-8") as file:
            for block in blocks:
                for row in block or [("NaN", "NaN", "NaN")]:
                    file.write(" ".join(str(cell) for cell in row) + "\n")
                file.write("\n\n")

    def _write_distribution(self, folder):
        """us, and the share of accesses that took longer: `samara stress`, then fault, then pin."""
        blocks = []
        for variant in self.variants:
            blocks.append(exceeded(self.buckets.get(variant, {})))
        for cell in ("fault", "pin"):
            for variant in self.variants:
                counts = {}
                for _, accesses, _ in self.lines.get((cell, variant), []):
                    for _, ns in accesses:
                        counts[ns] = counts.get(ns, 0) + 1
                blocks.append(exceeded(counts))
        self._blocks(folder, "distribution", blocks)

    def _write_threads(self, folder):
        """threads, look-ups per us: nobody writes, then a writer in the same region."""
        blocks = []
        for writer in ("quiet", "same"):
            for variant in self.variants:
                medians = ((threads, self.median(variant, f"locks.{threads}.same.{writer}",
                                                 "throughput", "per us"))
                           for threads in (1, 2, 8))
                blocks.append([row for row in medians if row[1] is not None])
        self._blocks(folder, "threads", blocks)

    def _write_timeline(self, folder):
        """ms, the longest access due in it, in ms; of the round whose longest access is the median.
        Then, variant by variant again: when changes began, how long they took, ms."""
        longest, changed = [], []
        for variant in self.variants:
            rounds = sorted(self.lines.get(("pin", variant), []))
            if not rounds:
                longest.append([])
                changed.append([])
                continue
            _, accesses, changes = rounds[len(rounds) // 2]
            by_ms = {}
            for at_us, ns in accesses:
                by_ms[at_us // 1000] = max(by_ms.get(at_us // 1000, 0), ns)
            # None is due while the thread is kept off its CPU.
            longest.append([(at, by_ms.get(at, 0) / 1e6) for at in range(max(by_ms) + 1)])
            changed.append(joined([(at_us / 1e3, ns / 1e6) for at_us, ns in changes]))
        self._blocks(folder, "timeline", longest + changed)

    def _write_regions(self, folder):
        """regions, us: plug, unplug, remap, protect."""
        blocks = []
        for op in ("plug.2M.empty", "unplug.2M.populated", "remap.2M.populated",
                   "protect.2M.populated"):
            for variant in self.variants:
                medians = ((regions, self.median(variant, f"ops.{op}.{regions}", "time", "ns"))
                           for regions in (10, 1000, 1000000))
                blocks.append([(regions, ns / 1e3) for regions, ns in medians if ns is not None])
        self._blocks(folder, "regions", blocks)


def joined(changes):
    """(begin, length) in ms, with those that follow each other at once made one."""
    rows = []
    for at, length in changes:
        if rows and at - sum(rows[-1]) < 0.5:
            rows[-1] = (rows[-1][0], at + length - rows[-1][0])
        else:
            rows.append((at, length))
    return [(f"{at:.3f}", f"{length:.3f}") for at, length in rows]


def exceeded(counts):
    """{ns: count} as rows (us, the share that is at least that long)."""
    total = left = sum(counts.values())
    rows = []
    rounded = {}
    for ns, count in counts.items():
        # Two digits: more cannot be seen, and each round has ends of buckets of its own.
        ns = float(f"{ns:.1e}")
        rounded[ns] = rounded.get(ns, 0) + count
    for ns, count in sorted(rounded.items()):
        rows.append((f"{ns / 1e3:.6g}", f"{left / total:.6g}"))
        left -= count
    return rows
