# SPDX-License-Identifier: GPL-2.0-or-later
"""The programs that are compared: a bench of one lock design (tests/bench/cell.h), `samara stress`."""

import json
import os
import signal
import subprocess
import threading

LIMIT_S = 600  # of one measurement that hangs; a busy host takes seconds for what takes milliseconds


class Failed(Exception):
    """A contestant did not do what it had to; the text says which, and what."""


class Contestant:
    """A bench in one lock design: measures a cell when told to. Speaks as tests/bench/cell.h says."""

    def __init__(self, name, command):
        self.name = name
        try:
            # In a session of its own: Ctrl-C is for compare alone, which then ends them all.
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            text=True, start_new_session=True)
        except OSError as error:
            raise Failed(f"{name}: {command[0]}: {error.strerror}") from error
        self.cells = self._hear()

    def _hear(self):
        watch = threading.Timer(LIMIT_S, self.process.kill)
        # An interrupt may come before it can be cancelled: the interpreter would wait for it.
        watch.daemon = True
        watch.start()
        lines = []
        try:
            for line in self.process.stdout:
                line = line.rstrip("\n")
                if line == ".":
                    return lines
                lines.append(line)
        finally:
            late = not watch.is_alive()
            watch.cancel()
        raise Failed(f"{self.name}: " + (f"took more than {LIMIT_S} s" if late else "ended early"))

    def measure(self, cell):
        """Measure once. Return: a list of (what, value), what being "UNIT" or "METRIC.UNIT"."""
        if cell not in self.cells:
            raise Failed(f"{self.name}: has no cell {cell}")
        try:
            self.process.stdin.write(f"{self.cells.index(cell)}\n")
            self.process.stdin.flush()
        except OSError as error:
            raise Failed(f"{self.name}: ended early") from error
        values = []
        for line in self._hear():
            what, value = line.rsplit(" ", 1)
            values.append((what.removeprefix(cell + "."), float(value)))
        return values

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def run_stress(name, command, path):
    """One run of `samara stress`. Return: what it says of itself by --json."""
    try:
        process = subprocess.Popen(command + ["--no-live", "--json", path],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True, start_new_session=True)
    except OSError as error:
        raise Failed(f"{name}: {command[0]}: {error.strerror}") from error
    try:
        said, _ = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{name}: took more than {LIMIT_S} s") from error
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode:
        raise Failed(f"{name}: exit status {process.returncode}\n{said[-2000:]}")
    with open(path, encoding="utf-8") as file:
        return json.load(file)
