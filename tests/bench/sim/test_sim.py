#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests of the simulation: what must be true of it whatever the costs are. Speaks TAP."""

import json
import math
import os
import random
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import sim  # noqa: E402
from designs import DESIGNS  # noqa: E402
from engine import Engine, Gate, Line  # noqa: E402

COSTS, MEASURED = sim.load_costs()
TESTS = []


def test(function):
    TESTS.append(function)
    return function


def near(what, value, expected, share):
    assert abs(value - expected) <= share * abs(expected), f"{what}: {value}, expected {expected}"


def queue(rate, mean_ns, customers, seed, line):
    """Customers that come at random to one Line. Return: their mean time in the system, the end."""
    engine = Engine(lambda a, b: 0)
    arrivals = random.Random(seed)
    times = []

    def customer():
        began = engine.now
        yield ("line", line, arrivals.expovariate(1 / mean_ns))
        times.append(engine.now - began)

    def source():
        for i in range(customers):
            yield ("delay", arrivals.expovariate(rate))
            engine.start(customer(), i)

    engine.start(source(), -1)
    engine.run()
    assert len(times) == customers, "a customer was lost"
    return sum(times) / customers, engine.now


@test
def mm1_queue():
    """M/M/1: mean time in the system is s / (1 - rho); utilization is rho"""
    for rho in (0.3, 0.6, 0.8):
        line = Line()
        mean, end = queue(rho / 10, 10, 60000, 7, line)
        near(f"time at rho {rho}", mean, 10 / (1 - rho), 0.06)
        near(f"utilization at rho {rho}", line.busy / end, rho, 0.02)


@test
def machine_repair():
    """closed queue, N customers that think: throughput as by mean value analysis"""
    think, service = 100.0, 10.0
    for customers in (1, 4, 12, 40):
        engine, line, served = Engine(lambda a, b: 0), Line(), [0]
        rng = random.Random(customers)

        def run():
            while True:
                yield ("delay", rng.expovariate(1 / think))
                yield ("line", line, rng.expovariate(1 / service))
                served[0] += 1

        for cpu in range(customers):
            engine.start(run(), cpu)
        engine.run(until_ns=5e5)
        length = 0.0
        for n in range(1, customers + 1):
            throughput = n / (think + service * (1 + length))
            length = throughput * service * (1 + length)
        near(f"{customers} customers", served[0] / engine.now, throughput, 0.05)


@test
def lines_move():
    """a line that alternates costs its transfer each time, one that stays costs none"""
    for cpus, per_use in ((1, 5), (2, 55)):
        engine, line = Engine(lambda a, b: 50), Line()

        def run():
            for _ in range(100):
                yield ("line", line, 5)

        for cpu in range(cpus):
            engine.start(run(), cpu)
        engine.run()
        near(f"{cpus} CPUs", engine.now, 100 * cpus * per_use, 0.02)


@test
def gates():
    """who waits goes on when the gate opens, all at once, and not before"""
    engine = Engine(lambda a, b: 0)
    gate, passed = Gate(engine), []

    def waits():
        yield ("wait", gate)
        passed.append(engine.now)

    def opens():
        yield ("delay", 30)
        gate.open()

    for i in range(3):
        engine.start(waits(), i)
    engine.start(opens(), 9)
    engine.run()
    assert passed == [30, 30, 30], passed


def run_of(design, vcpus=8, seed=1, **how):
    run = sim.Run(design, vcpus, COSTS, sim.big_machine(COSTS), seed)
    return run.run(think_ns=3000, hold_ns=500, until_ns=5e6, **how)


@test
def conservation():
    """every access that began has ended or is under way; readers inside are those"""
    for design in DESIGNS:
        run = run_of(design, writer="same")
        under_way = run.begun - run.ended
        assert 0 <= under_way <= run.vcpus, (design, run.begun, run.ended)
        assert len(run.latencies) == run.ended and run.ended > 1000, (design, run.ended)
        assert run.operations in (1, 2, 3), (design, run.operations)
        assert 0 <= sum(run.design.inside) <= under_way, (design, run.design.inside)


@test
def determinism():
    """the same seed gives the same run to the last bit, another one does not"""
    for design in DESIGNS:
        first, again, other = (run_of(design, seed=s, writer="same").latencies for s in (1, 1, 2))
        assert first == again, design
        assert first != other, design


@test
def little():
    """Little's law: accesses under way on average are throughput times time"""
    for design in DESIGNS:
        run = run_of(design)
        mean = sum(run.latencies) / run.ended
        near(design, run.ended * (mean + 3000) / run.engine.now, run.vcpus, 0.05)


@test
def exclusion():
    """with one lock nobody is inside during an operation; with a slot per reader nobody waits"""
    single, region = run_of("single", writer="same"), run_of("region", writer="same")
    assert max(single.latencies) >= 0.9 * COSTS["operation"], max(single.latencies)
    assert max(region.latencies) < 0.01 * COSTS["operation"], max(region.latencies)
    assert single.design.aborts > 0 and region.design.aborts == 0


@test
def bounds():
    """no design serves faster than its line or its readers can; own lines scale"""
    for vcpus in (16, 256):
        for design in DESIGNS:
            point = sim.predict("hammer", design, vcpus, COSTS, 1, quick=True)
            # Look-ups take at least (1 - jitter) of their cost, by chance in a short run.
            assert point["ops_per_us"] <= vcpus / COSTS["look_up"] * 1000 * 1.1, (design, point)
        one = sim.predict("hammer", "region", 1, COSTS, 1, quick=True)["ops_per_us"]
        many = sim.predict("hammer", "region", vcpus, COSTS, 1, quick=True)["ops_per_us"]
        near("region scales", many, one * vcpus, 0.1)
        shared = sim.predict("hammer", "refcount", vcpus, COSTS, 1, quick=True)["ops_per_us"]
        assert shared <= 1000 / (2 * COSTS["transfer_near"]) * 1.5, shared


@test
def percentiles():
    """are values that occurred, in the right place"""
    values = list(range(1, 1001))
    assert sim.percentile(values, 0.5) == 500
    assert sim.percentile(values, 0.999) == 999
    assert sim.percentile(values, 1.0) == 1000
    assert sim.percentile([5], 0.999) == 5 and sim.percentile([], 0.5) is None


@test
def agrees_with_measurements():
    """at 1 and 2 threads within a third of what was measured, but for range's sleeping mutex"""
    for what, predicted, measured in sim.check(COSTS, MEASURED):
        design, cell = what.split(".", 1)
        if what == "single.elsewhere.p999_us":
            near(what, predicted, measured, 0.1)
        elif cell.startswith("elsewhere"):
            # The model has neither interrupts nor the cost of reading the clock.
            assert predicted <= measured, (what, predicted, measured)
        elif design != "range" and not cell.startswith("8"):
            near(what, predicted, measured, 0.34)


@test
def sources():
    """each cost names where it was measured, each assumption why it is made"""
    with open(os.path.join(sim.HERE, "costs.json")) as file:
        data = json.load(file)
    assert all(entry["from"] for entry in data["costs"].values())
    assert all(entry["why"] for entry in data["assumed"].values())
    assert not math.isnan(sum(COSTS.values()))
    assert data["assumed"]["cpus_per_socket"]["value"] > 1


def main():
    print(f"1..{len(TESTS)}")
    for number, function in enumerate(TESTS, 1):
        try:
            function()
            print(f"ok {number} - {function.__name__}: {function.__doc__}", flush=True)
        except AssertionError as error:
            print(f"not ok {number} - {function.__name__}: {function.__doc__}\n# {error}",
                  flush=True)


main()
