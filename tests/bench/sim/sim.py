#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Predicts throughput and tail of the lock designs for more vCPUs than this machine has.

    sim.py [--quick] [--seed N] [--out DIR]   predict: DIR/sim.json, sim.dat
    sim.py --check                            the cells that can be measured, beside what was measured

See tests/bench/sim/README.md for the workloads and for what the model leaves out.
"""

import argparse
import json
import os
import random
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from designs import DESIGNS, Reader  # noqa: E402
from engine import Engine, Line  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
VCPUS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]


def load_costs(path=os.path.join(HERE, "costs.json")):
    with open(path) as file:
        data = json.load(file)
    costs = {name: entry["value"] for name, entry in data["costs"].items()}
    costs.update((name, entry["value"]) for name, entry in data["assumed"].items())
    return costs, data["measured"]


def big_machine(costs):
    """Lines cost transfer_near within a socket, transfer_far between two."""
    per_socket = costs["cpus_per_socket"]

    def transfer_ns(a, b):
        return costs["transfer_near" if a // per_socket == b // per_socket else "transfer_far"]

    return transfer_ns


def this_machine(costs):
    return lambda a, b: costs["transfer_here"]


def percentile(ordered, share):
    """The smallest value that at least that share of them does not exceed."""
    if not ordered:
        return None
    at = int(share * len(ordered))
    return ordered[min(len(ordered) - 1, at - (at == share * len(ordered) and at > 0))]


class Run:
    """One design, one workload. After run(): ops, now_ns, latencies (sorted, ns)."""

    def __init__(self, design, vcpus, costs, transfer_ns, seed, same=True):
        self.random = random.Random(f"{seed}/{vcpus}")
        self.costs = costs
        self.engine = Engine(transfer_ns)
        self.vcpus = vcpus
        # One region that all are in, or one for each; the last is nobody's.
        self.regions = (1 if same else vcpus) + 1
        self.same = same
        self.design = DESIGNS[design](self.engine, costs, vcpus, self.regions)
        self.kernel = Line()
        self.begun = self.ended = 0
        self.operations = 0
        self.latencies = []

    def reader(self, cpu, think_ns, hold_ns, fault):
        me = Reader(cpu, 0 if self.same else cpu, fault)
        engine, design, costs = self.engine, self.design, self.costs
        jitter = costs["jitter"]
        if think_ns:
            yield ("delay", self.random.expovariate(1 / think_ns))
        while True:
            began = engine.now
            self.begun += 1
            if fault and think_ns:
                yield ("delay", costs["fault_transport"])
                for _ in range(costs["kernel_rmw"] // 2):
                    yield ("line", self.kernel, costs["rmw_refcount"])
            # Without it two readers fall into step, and never meet or always do.
            yield ("delay", costs["look_up"] * self.random.uniform(1 - jitter, 1 + jitter))
            yield from design.enter(me)
            if hold_ns:
                yield ("delay", hold_ns)
            yield from design.leave(me)
            if fault and think_ns:
                for _ in range(costs["kernel_rmw"] // 2):
                    yield ("line", self.kernel, costs["rmw_refcount"])
            self.ended += 1
            self.latencies.append(engine.now - began)
            if think_ns:
                yield ("delay", self.random.expovariate(1 / think_ns))

    def writer(self, region, length_ns, pause_ns):
        yield ("delay", pause_ns * self.random.random())
        while True:
            yield from self.design.operation(region, length_ns)
            self.operations += 1
            yield ("delay", pause_ns)

    def run(self, think_ns=0, hold_ns=0, fault=False, writer=None, until_ns=float("inf"),
            ops=None):
        """writer: None, "same" (the region that is read) or "elsewhere"."""
        for cpu in range(self.vcpus):
            self.engine.start(self.reader(cpu, think_ns, hold_ns, fault), cpu)
        if writer:
            region = self.regions - 1 if writer == "elsewhere" else 0
            length_ns = self.costs["operation"]
            self.engine.start(self.writer(region, length_ns, length_ns), self.vcpus)
        done = (lambda: self.ended >= ops) if ops else (lambda: False)
        self.engine.run(until_ns, done)
        self.latencies.sort()
        return self


def predict(workload, design, vcpus, costs, seed, quick=False):
    """One point: {"ops_per_us", "p50_us", "p99_us", "p999_us", "max_us"}."""
    run = Run(design, vcpus, costs, big_machine(costs), seed)
    if workload == "hammer":
        run.run(fault=True, ops=(20 if quick else 50) * max(vcpus, 50))
    else:
        # For a 99.9th percentile, however few vCPUs there are.
        until_ns = max(20 * costs["operation"], (5000 if quick else 20000) * costs["think"] / vcpus)
        fault = workload == "fault"
        run.run(think_ns=costs["think"], hold_ns=costs["populate" if fault else "hold"],
                fault=fault, writer="same", until_ns=until_ns)
    point = {"ops_per_us": run.ended / run.engine.now * 1000}
    for name, share in (("p50_us", 0.5), ("p99_us", 0.99), ("p999_us", 0.999), ("max_us", 1.0)):
        value = percentile(run.latencies, share)
        point[name] = None if value is None else value / 1000
    return point


def cell(design, threads, same, costs, ops=5000):
    """ns per operation and CPU, as the bench of the locks has it: threads beyond the two CPUs take
    turns, which a model of cache lines does not see."""
    cpus = min(threads, 2)
    run = Run(design, cpus, costs, this_machine(costs), 1, same).run(fault=True, ops=ops)
    return run.engine.now * cpus / run.ended


def tail(design, costs):
    """p99.9 in us of two threads while a writer sits 1 ms elsewhere."""
    run = Run(design, 2, costs, this_machine(costs), 1, same=False)
    run.run(think_ns=1000, hold_ns=0, writer="elsewhere", until_ns=8 * costs["operation"])
    return percentile(run.latencies, 0.999) / 1000


def check(costs, measured):
    """Lines "WHAT predicted measured quotient". Return: the list of (what, predicted, measured)."""
    found = []
    cells = measured["ns per operation, locks bench"]
    for design, figures in cells.items():
        for where, value in figures.items():
            threads, same = where.split(".")
            found.append((f"{design}.{where}.ns",
                          cell(design, int(threads), same == "same", costs), value))
    tails = measured["p99.9 in us while a writer sits 1 ms elsewhere, KERNEL-FACTS"]
    for design, value in tails.items():
        found.append((f"{design}.elsewhere.p999_us", tail(design, costs), value))
    return found


def main():
    parser = argparse.ArgumentParser(description="Predict what cannot be measured here.")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", default="build/sim")
    args = parser.parse_args()
    costs, measured = load_costs()
    if args.check:
        print(f"{'cell':36} {'predicted':>10} {'measured':>10} {'quotient':>9}")
        for what, predicted, value in check(costs, measured):
            print(f"{what:36} {predicted:10.2f} {value:10.2f} {predicted / value:9.2f}")
        return
    os.makedirs(args.out, exist_ok=True)
    points = []
    with open(os.path.join(args.out, "sim.dat"), "w") as table:
        for workload in ("hammer", "hotplug", "fault"):
            for design in DESIGNS:
                table.write(f'# {workload} {design}\n')
                for vcpus in VCPUS:
                    point = predict(workload, design, vcpus, costs, args.seed, args.quick)
                    points.append({"workload": workload, "variant": design, "vcpus": vcpus,
                                   "prediction": True, **point})
                    table.write(f'{vcpus} {point["ops_per_us"]} {point["p50_us"]} '
                                f'{point["p99_us"]} {point["p999_us"]} {point["max_us"]}\n')
                table.write("\n\n")
                print(f"{workload} {design}: done", file=sys.stderr)
    with open(os.path.join(args.out, "sim.json"), "w") as file:
        json.dump({"note": "A prediction by tests/bench/sim, not a measurement.",
                   "seed": args.seed, "costs": costs, "points": points}, file, indent=1)
    print(f"{'workload':9} {'variant':18}" + "".join(f"{n:>9}" for n in (1, 8, 64, 1024)))
    for workload, key in (("hammer", "ops_per_us"), ("hotplug", "p999_us"), ("fault", "p999_us")):
        for design in DESIGNS:
            row = {p["vcpus"]: p[key] for p in points
                   if p["workload"] == workload and p["variant"] == design}
            print(f"{workload:9} {design:18}" +
                  "".join(f"{row[n]:9.1f}" for n in (1, 8, 64, 1024)) + f"  {key}")


if __name__ == "__main__":
    main()
