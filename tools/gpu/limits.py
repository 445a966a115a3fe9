"""How long things may take: a part of the minutes for each stage, a limit for each process, and none that outlives it."""
import collections
import os
import signal
import subprocess
import tempfile
import threading
import time

Done = collections.namedtuple("Done", "status out err seconds")


class Failed(Exception):
    """Why something cannot be done, for people."""


class TimedOut(Failed):
    """A process was killed at its limit; `done` is what it had printed."""

    def __init__(self, why, done=None):
        super().__init__(why)
        self.done = done


class Budget:
    """Seconds until some moment. clock: for tests."""

    def __init__(self, seconds, clock=time.monotonic):
        self.clock, self.end = clock, clock() + seconds

    def left(self):
        return max(0.0, self.end - self.clock())

    def part(self, share):
        """A budget of its own: this share of what is left now."""
        return Budget(share * self.left(), self.clock)

    def limit(self, weight, remaining, least=20):
        """For a process, where those still to come weigh `remaining` together, itself included: twice its share of what is
        left, so that one that hangs leaves the others theirs; at least `least` seconds, at most all there are."""
        left = self.left()
        return min(left, max(least, 2 * left * weight / remaining))


def first_error(text):
    """The line of a program's output that says what went wrong, as far as can be told."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    wrong = [line for line in lines if "error" in line.lower()]
    return (wrong or lines[-1:] or ["no message"])[0]


class Processes:
    """Runs programs, each in a process group of its own that can be ended whole. Several threads may run some at once."""

    KILL_SECONDS = 5  # for a killed process to go; one that hangs in a driver may not

    def __init__(self):
        self.lock, self.running, self.over = threading.Lock(), set(), False

    def start(self, command, **more):
        """A subprocess.Popen; `end` it."""
        with self.lock:
            if self.over:
                raise Failed("interrupted")
            try:
                process = subprocess.Popen(command, start_new_session=True, **more)
            except OSError as why:
                raise Failed(f"{command[0]}: {why.strerror}") from None
            self.running.add(process)
            return process

    def end(self, process):
        """Kills what is left of its group. False: it does not go."""
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        try:
            process.wait(self.KILL_SECONDS)
        except subprocess.TimeoutExpired:
            return False
        finally:
            with self.lock:
                self.running.discard(process)
        return True

    def end_all(self):
        """And none is started any more."""
        with self.lock:
            self.over, running = True, list(self.running)
        for process in running:
            self.end(process)

    def run(self, command, limit, **more):
        """Until it ends; TimedOut after `limit` seconds. Output goes through files: what a grandchild holds open is not
        waited for."""
        begin = time.monotonic()
        if limit <= 0:
            raise TimedOut("the minutes are over (--minutes)", Done(None, "", "", 0.0))
        with tempfile.TemporaryFile("w+", errors="replace") as out, tempfile.TemporaryFile("w+", errors="replace") as err:
            process = self.start(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, **more)
            try:
                status, gone = process.wait(limit), True
            except subprocess.TimeoutExpired:
                status, gone = None, None
            finally:
                ended = self.end(process)
            out.seek(0)
            err.seek(0)
            done = Done(status, out.read(), err.read(), time.monotonic() - begin)
        if gone is None:
            more = "" if ended else ", and it does not go when killed"
            raise TimedOut(f"{short(command)} did not end within {limit:.0f} s{more}", done)
        if self.over:
            raise Failed("interrupted")
        return done

    def must(self, command, limit, **more):
        """What it prints; Failed where its exit status is not 0."""
        done = self.run(command, limit, **more)
        if done.status:
            raise Failed(f"{short(command)}: exit status {done.status}: {first_error(done.out + done.err)}")
        return done.out


def short(command):
    """A command's first words, without folders."""
    words = [os.path.basename(word) if os.sep in word else word for word in map(str, command[:4])]
    return " ".join(words) + (" …" if len(command) > 4 else "")
