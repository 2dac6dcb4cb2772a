#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""make compare: the same workloads in every lock design, by turns; docs/comparison.md."""

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import report  # noqa: E402
from contestant import Contestant, Failed, run_stress  # noqa: E402

# (bench and its arguments, cells, how often per round). A cell of a few ms is measured more often.
LOCKS = [f"{threads}.same.{writer}" for threads in (1, 2, 8) for writer in ("quiet", "same")]
OPS = [f"{op}.2M.{state}.{regions}" for op, state in (("plug", "empty"), ("unplug", "populated"),
                                                      ("remap", "populated"), ("protect", "populated"))
       for regions in (10, 1000, 1000000)]
STALL = ["fault.quiet", "fault.churn", "fault.control", "pin.quiet", "pin.churn", "pin.control"]
PLAN = [
    (["locks"], LOCKS, 5),
    (["stall"], STALL, 2),
    (["timeline"], ["fault", "pin"], 1),
    (["ops"], OPS, 1),
    (["loads", "touch"], ["seq"], 1),
    (["loads", "faults"], ["same.1", "same.8", "own.8", "own.8.listed"], 1),
    (["loads", "start"], ["100", "100.listed"], 1),
    (["loads", "pool"], ["8", "8.listed"], 1),
    (["loads", "zerocopy"], ["4", "4.listed"], 1),
]
# The least that gives each plot something to draw: whether compare works, not how fast anything is.
TINY = [
    (["locks"], ["1.same.quiet", "1.same.same"], 1),
    (["timeline"], ["pin"], 1),
    (["ops"], [cell for cell in OPS if cell.endswith(".10")], 1),
    (["loads", "pool"], ["8"], 1),
]
STRESS = ["--file", "share/stress/hotplug.json", "--cpus", "2", "--stranger-size", "64M"]


def why_no_stress(variants):
    """Why hotplug under load cannot run here; None when it can."""
    if not os.path.exists("/dev/kvm"):
        return "there is no /dev/kvm"
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "/dev/kvm may not be used by this user"
    for variant in variants:
        if not os.path.exists(f"build/{variant}/samara"):
            return f"build/{variant}/samara is not built"
    return None


class Comparison:
    def __init__(self, options, scratch):
        self.options = options
        self.variants = options.variants.split()
        self.plan = TINY if options.tiny else PLAN
        self.scratch = scratch
        self.results = report.Results(self.variants)
        self.no_stress = why_no_stress(self.variants)
        self.contestants = {}

    def start(self, stack):
        for bench, _, _ in self.plan:
            for variant in self.variants:
                command = [f"build/{variant}/tests/bench/{bench[0]}"] + bench[1:]
                one = Contestant(f"{variant}: {' '.join(bench)}", command)
                stack.callback(one.end)
                self.contestants[variant, bench[-1]] = one

    def by_turns(self, turn):
        """The variants, beginning with another one each time."""
        turn %= len(self.variants)
        return self.variants[turn:] + self.variants[:turn]

    def round(self, number):
        turn = number
        for bench, cells, times in self.plan:
            for cell in cells * times:
                for variant in self.by_turns(turn):
                    measured = self.contestants[variant, bench[-1]].measure(cell)
                    self.results.add(bench, cell, variant, measured)
                turn += 1
        if self.no_stress:
            return
        for variant in self.by_turns(turn):
            # The same choices for each of them, others in each round.
            command = [f"build/{variant}/samara", "stress"] + STRESS
            command += ["--seconds", str(self.options.stress_seconds), "--seed", str(number + 1)]
            # A stranger's long operation would be waited for at the end.
            command += ["--strangers", "0"] if self.options.tiny else []
            self.results.add_stress(variant, run_stress(f"{variant}: samara stress", command,
                                                        f"{self.scratch}/stress.json"))

    def run(self):
        began = time.monotonic()
        with contextlib.ExitStack() as stack:
            self.start(stack)
            for number in range(self.options.rounds):
                round_began = time.monotonic()
                self.round(number)
                now = time.monotonic()
                print(f"compare: round {number + 1} done, {now - began:.0f} s so far", flush=True)
                if now - began + (now - round_began) > self.options.seconds:
                    break
        return number + 1


def arguments():
    parser = argparse.ArgumentParser(prog="compare", description=__doc__)
    parser.add_argument("--variants", required=True, help="lock designs, built before")
    parser.add_argument("--out", default="build/compare", help="where the results go")
    parser.add_argument("--seconds", type=float, default=1200, help="no round that ends later")
    parser.add_argument("--rounds", type=int, default=21, help="at most so many")
    parser.add_argument("--stress-seconds", type=int, default=5, help="of each samara stress")
    parser.add_argument("--tiny", action="store_true", help="few cells: to test compare itself")
    parser.add_argument("--no-plots", action="store_true", help="go without gnuplot")
    options = parser.parse_args()
    if not options.variants.split() or options.rounds < 1 or options.stress_seconds < 1:
        parser.error("at least one variant, one round and one second of stress")
    return options


def main():
    options = arguments()
    if not options.no_plots and not shutil.which("gnuplot"):
        print("compare: gnuplot is not installed, the plots need it: apt-get install gnuplot-nox, "
              "or go without by --no-plots", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.makedirs(options.out, exist_ok=True)
    # All is made in here and moved to its place when it is whole.
    with tempfile.TemporaryDirectory(prefix=".new-", dir=options.out) as scratch:
        comparison = Comparison(options, scratch)
        if comparison.no_stress:
            print(f"compare: hotplug under load is skipped: {comparison.no_stress}")
        load = os.getloadavg()[0]
        rounds = comparison.run()
        comparison.results.write(scratch, report.host(rounds, load), comparison.no_stress)
        if not options.no_plots:
            subprocess.run(["gnuplot", "-e", f"folder='{scratch}'", "tests/bench/compare/plot.gp"],
                           check=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{scratch}/stress.json")
        # The list last: where there is one, the rest belongs to it.
        for name in sorted(os.listdir(scratch), key=lambda name: name == "compare.json"):
            os.replace(f"{scratch}/{name}", f"{options.out}/{name}")
    with open(f"{options.out}/compare.txt", encoding="utf-8") as file:
        print(file.read(), end="")
    print(f"compare: {options.out} has compare.txt, compare.json"
          + ("" if options.no_plots else ", and plots as SVG and PNG"))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("compare: interrupted, nothing was written", file=sys.stderr)
        sys.exit(130)
    except (Failed, OSError, subprocess.CalledProcessError) as failure:
        print(f"compare: {failure}", file=sys.stderr)
        sys.exit(1)
