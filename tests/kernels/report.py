# SPDX-License-Identifier: MIT
"""Reads the results that a guest prints, prints a summary and keeps logs."""
import json
import re
import time
import xml.etree.ElementTree as ET

# How many lines of a message are shown: as in tools/count-tests.
MESSAGE_LINES = 12
# Lines of TAP to leave out: the plan, and the time that a case took.
NOISE = re.compile(r"1\.\.\d+$|# \d+\.\d s$")
RESULT = re.compile(r"(not ok|ok) \d+ *(?:- )?(.*)")


class Program:
    """One program: its cases and all that it has printed."""

    def __init__(self, name):
        self.name, self.output, self.cases = name, [], []
        self.start = time.monotonic()
        self.seconds, self.status = 0.0, None

    def take(self, line):
        self.output.append(line)
        match = RESULT.match(line)
        if match:
            text, _, reason = match[2].partition(" # SKIP ")
            kind = "skip" if reason and match[1] == "ok" else match[1]
            self.cases.append((kind, text, reason, len(self.output) - 1))

    def end(self, status):
        self.status = status
        self.seconds = time.monotonic() - self.start

    def why_skipped(self):
        """The reason why no case ran, or None if a case did."""
        plan = [line for line in self.output if line.startswith("1..0")]
        if self.status == 77 or plan:
            return (plan or self.output or [""])[-1].rpartition("SKIP ")[2]
        return None

    def results(self):
        """(kind, name, reason) of each case, or of a program without cases."""
        found = [case[:3] for case in self.cases]
        has_failed = self.status != 0 and self.why_skipped() is None
        if has_failed and not any(c[0] == "not ok" for c in found):
            found.append(("not ok", f"status {self.status}", ""))
        return found or [("ok", self.name, "")]

    def message(self, name):
        """The lines that were printed about a case that failed.

        Comments stand before the line of the case (tests/netns) or after it
        (cmocka).
        """
        at = next((c[3] for c in self.cases if c[1] == name), None)
        if at is None:
            return self.output[-MESSAGE_LINES:]
        lines = self.output
        first, last = at, at + 1
        while first > 0 and not RESULT.match(lines[first - 1]):
            first -= 1
        while last < len(lines) and not RESULT.match(lines[last]):
            last += 1
        before = lines[first:at]
        logs = next((i for i, line in enumerate(before)
                     if line.startswith("# log of ")), len(before))
        found = [*before[:logs][:MESSAGE_LINES],
                 *lines[at + 1:last][:MESSAGE_LINES]]
        return [line for line in found if not NOISE.match(line)]


class Report:
    """All programs of a guest."""

    def __init__(self):
        self.programs, self.current = [], None
        self.version, self.has_ended = "", False

    def take(self, line):
        line = line.rstrip("\r\n")
        if line.startswith("@begin "):
            self.current = Program(line[7:])
        elif line.startswith("@end "):
            self.current.end(int(line.split()[1]))
            self.programs.append(self.current)
            self.show(self.current)
            self.current = None
        elif line.startswith("@kernel "):
            self.version = line[8:]
            print(f"# the kernel that runs: {self.version}", flush=True)
        elif line.startswith("guest: status"):
            self.has_ended = True
        elif line.startswith("guest: "):
            print("# " + line, flush=True)
        elif self.current:
            self.current.take(line)

    def end(self, console):
        """The guest has ended. @console has the last lines that it printed."""
        if self.has_ended and self.programs:
            return
        broken = self.current or Program("guest")
        broken.output = console
        broken.cases.append(("not ok", "the guest ended early", "", -1))
        broken.end(1)
        self.programs.append(broken)
        self.show(broken)

    def show(self, program):
        """Print how a program ended, and the differences on this kernel."""
        print(f"# {program.name}: {len(program.cases)} cases, "
              f"status {program.status}, {program.seconds:.0f} s")
        for line in dict.fromkeys(program.output):
            if line.startswith("# DIFFERS: "):
                print(f"#   differs here: {line[11:]}")
        reason = program.why_skipped()
        if reason is not None:
            print(f"#   skipped: {reason}")
        for kind, name, why in program.results():
            if kind == "skip":
                print(f"#   skipped: {name}: {why}")
            elif kind == "not ok":
                print(f"#   FAILED: {name}")
                for line in program.message(name):
                    print("#     " + line)
        print(end="", flush=True)

    def counts(self):
        """Cases that passed, failed and were skipped."""
        counts = {"ok": 0, "not ok": 0, "skip": 0}
        for program in self.programs:
            if program.why_skipped() is not None:
                counts["skip"] += 1
                continue
            for kind, _, _ in program.results():
                counts[kind] += 1
        return counts["ok"], counts["not ok"], counts["skip"]

    def write(self, directory):
        """Write Meson's two logs of results, which tools/count-tests reads."""
        root = ET.Element("testsuites")
        for program in self.programs:
            suite = ET.SubElement(root, "testsuite", name=program.name)
            output = ET.SubElement(suite, "system-out")
            output.text = "\n".join(
                re.sub(r"[^\t\x20-\x7e]", "?", s) for s in program.output)
            if program.why_skipped() is not None:
                suite.set("skipped", "1")
                continue
            for kind, name, _ in program.results():
                case = ET.SubElement(suite, "testcase", name=name)
                if kind != "ok":
                    ET.SubElement(case, "skipped" if kind == "skip"
                                  else "failure")
        directory.mkdir(parents=True, exist_ok=True)
        ET.ElementTree(root).write(directory / "testlog.junit.xml",
                                   encoding="unicode")
        (directory / "testlog.json").write_text("".join(
            json.dumps({"name": program.name,
                        "result": "FAIL" if program.status else "OK",
                        "stdout": "\n".join(program.output)}) + "\n"
            for program in self.programs))
