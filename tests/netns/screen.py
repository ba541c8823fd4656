# SPDX-License-Identifier: MIT
"""A terminal for programs that draw: a pty, and what they have drawn on it.

The terminal knows few escape sequences, and its description for ncurses has no others.
A sequence that it does not know is a failure.
"""
import codecs
import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios

import lab
from lab import Failure, check, wait_until

# For tic(1): position, clearing and attributes, and keys with an escape sequence.
DESCRIPTION = r"""lab|terminal of the tests,
	am, cols#80, lines#24,
	clear=\E[H\E[2J, cup=\E[%i%p1%d;%p2%dH, el=\E[K, ed=\E[J,
	bold=\E[1m, smul=\E[4m, rmul=\E[m, rev=\E[7m, sgr0=\E[m,
	kcuu1=\E[A, kcud1=\E[B, khome=\E[1~, kpp=\E[5~, knp=\E[6~,
"""
SEQUENCE = re.compile(r"\x1b\[([0-9;]*)([HJKm])")


class Screen:
    """Characters, and whether each of them is bold."""

    def __init__(self, lines, columns):
        self.lines, self.columns = lines, columns
        self.cells = {}
        self.y = self.x = 0
        self.is_bold = False
        self.rest = ""

    def resize(self, lines, columns):
        self.lines, self.columns = lines, columns
        self.cells = {(y, x): cell for (y, x), cell in self.cells.items()
                      if y < lines and x < columns}
        self.y, self.x = min(self.y, lines - 1), min(self.x, columns - 1)

    def clear(self, is_gone):
        self.cells = {at: cell for at, cell in self.cells.items() if not is_gone(*at)}

    def obey(self, numbers, letter):
        if letter == "H":
            y, x = map(int, numbers.split(";")) if numbers else (1, 1)
            self.y, self.x = y - 1, x - 1
        elif letter == "K":
            self.clear(lambda y, x: y == self.y and x >= self.x)
        elif letter == "J" and numbers == "2":
            self.cells = {}
        elif letter == "J":
            self.clear(lambda y, x: (y, x) >= (self.y, self.x))
        else:
            self.is_bold = numbers == "1" or self.is_bold and numbers != ""

    def put(self, character):
        check(character.isprintable(), f"the program has printed {character!r}")
        # Behind the last column the next character begins a line.
        if self.x == self.columns:
            self.x, self.y = 0, min(self.y + 1, self.lines - 1)
        self.cells[self.y, self.x] = character, self.is_bold
        self.x += 1

    def feed(self, text):
        text = self.rest + text
        self.rest = ""
        while text:
            if text[0] == "\r":
                self.x = 0
                text = text[1:]
                continue
            if text[0] != "\x1b":
                self.put(text[0])
                text = text[1:]
                continue
            match = SEQUENCE.match(text)
            if not match:
                check(re.fullmatch(r"\x1b(\[[0-9;]*)?", text),
                      f"a sequence that is not in the description: {text[:20]!r}")
                self.rest = text
                return
            self.obey(*match.groups())
            text = text[match.end():]

    def rows(self, bold_only=False):
        """The lines, without blanks at their ends."""
        return ["".join(
            cell[0] if cell[1] or not bold_only else " " for cell in (
                self.cells.get((y, x), (" ", False)) for x in range(self.columns))
        ).rstrip() for y in range(self.lines)]


class Terminal:
    """A program on a terminal, which is its controlling one."""

    def __init__(self, l, *words, lines=24, columns=80, term="lab"):
        lab.need("tic")
        lab.run("tic", "-x", "-o", l.directory, "/dev/stdin", stdin=DESCRIPTION)
        self.screen = Screen(lines, columns)
        self.decoder = codecs.getincrementaldecoder("utf-8")()
        self.master, slave = os.openpty()
        l.stack.callback(os.close, self.master)
        self.set_size()
        self.settings = termios.tcgetattr(slave)
        self.process = subprocess.Popen(
            words, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            env={**os.environ, "TERM": term, "TERMINFO": l.directory,
                 "LC_ALL": "C.UTF-8"}, preexec_fn=self.take_terminal)
        l.stack.callback(self.kill)
        # Kept open, so that what the program wrote last is not lost at its end.
        self.slave = slave
        l.stack.callback(os.close, slave)

    @staticmethod
    def take_terminal():
        lab.after_fork()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def set_size(self):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack(
            "HHHH", self.screen.lines, self.screen.columns, 0, 0))

    def resize(self, lines, columns):
        self.rows()
        self.screen.resize(lines, columns)
        self.set_size()

    def key(self, text):
        os.write(self.master, text.encode())

    def rows(self, bold_only=False):
        """What is on the screen now."""
        while select.select([self.master], [], [], 0)[0]:
            self.screen.feed(self.decoder.decode(os.read(self.master, 1 << 16)))
        return self.screen.rows(bold_only)

    def wait_for(self, predicate, what):
        """Wait until the predicate holds for the lines of the screen. It may also be
        the text of an expression that one of them has."""
        if isinstance(predicate, str):
            expression = re.compile(predicate)
            predicate = lambda rows: any(map(expression.search, rows))
        try:
            return wait_until(lambda: predicate(self.rows()), what, 20)
        except Failure as failure:
            raise Failure(f"{failure}; the screen:\n" + "\n".join(self.rows())) from None

    def wait(self):
        """Wait for the program's end. Return its status."""
        def has_ended():
            self.rows()
            return self.process.poll() is not None

        wait_until(has_ended, "the program ends", 20)
        return self.process.returncode

    def is_as_before(self):
        """Does the terminal have the settings that it had before the program?"""
        return termios.tcgetattr(self.slave) == self.settings

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.wait()
