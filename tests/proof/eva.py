#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Proofs by Frama-C's Eva that parsers stay within the bytes that they were given.

usage: eva.py PROOF [FRAMA_C]

Eva computes, for each variable at each place of the program, a set that holds every
value that the variable can have in any run. From these sets it follows which
accesses are within their memory, which integers do not overflow, and which values
are initialized. What does not follow is an alarm. So no alarm is a proof, for all
values that the driver (PROOF.c) allows; an alarm may be a fault, or only a set
that is too large.

Each alarm must have an answer in answers.txt, and each answer its alarm. Each proof
is run again with faults planted into a copy of the sources, and must then have an
alarm without an answer.

Eva keeps a relation between two variables only if it handles the values of one of
them one by one. Some copies of sources therefore get a comment that asks it to do so
("split"). It changes no set to a smaller one that would lack a value.
"""
import csv
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import time

from proofs import PROOFS

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SPLIT = re.compile(r"/\*@ split [^*]+; \*/ *")
# What Eva has to guess because it has neither code nor contract of a function.
GUESSED = re.compile(r"Neither code nor specification for function \w+")
ALARM = re.compile(r"\[eva:alarm\] ([^:\s]+):(\d+): Warning:\s*(.*(?:\n .*)*)")
# Seconds for one run, on a machine that does other things, too.
TIME_LIMIT = 600


class Failure(Exception):
    """The proof, or a run of Frama-C, has failed."""


def replace(text, old, new, path):
    if old not in text:
        raise Failure(f"{path} has no {old!r} any more")
    return text.replace(old, new)


def sources(proof, directory, plant=None):
    """The paths of the sources; those that are changed are copied."""
    found = []
    for path in proof.sources:
        text = was = (ROOT / path).read_text(encoding="utf-8")
        for split in proof.splits:
            if split.path != path:
                continue
            mark = f"/*@ split {split.term}; */ "
            assert SPLIT.fullmatch(mark), mark
            text = replace(text, split.before, mark + split.before, path)
        if SPLIT.sub("", text) != was:
            raise Failure(f"more than comments would be added to {path}")
        if plant and plant.path == path:
            text = replace(text, plant.old, plant.new, path)
        if text == was:
            found.append(path)
            continue
        copy = pathlib.Path(directory, path)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(text, encoding="utf-8")
        found.append(str(copy))
    return found


def share_of(frama_c):
    """Where Frama-C has the contracts of the C library."""
    done = subprocess.run([frama_c, "-print-share-path"], check=True,
                          capture_output=True, text=True)
    return pathlib.Path(done.stdout.strip()).resolve()


def command(frama_c, name, proof, files, result):
    share = share_of(frama_c)
    # Drivers that need static functions include the source.
    first = pathlib.Path(files[0]).parents[2] if files else ROOT
    include = [f"-I{shlex.quote(str(path))}"
               for path in (first / "src", "src", "include", HERE, share, ".")]
    cpp = " ".join(["-w", "-D_GNU_SOURCE", *include,
                    "-idirafter", shlex.quote(f"{share}/libc"),
                    "-include", shlex.quote(str(HERE / "dialect.h"))])
    slow = [f"{function}:0" for function in proof.joined]
    return [frama_c, "-no-autoload-plugins", "-load-module",
            "eva,inout,scope,report", "-c11", "-machdep", "gcc_x86_64",
            "-no-frama-c-stdlib", f"-cpp-extra-args={cpp}", f"tests/proof/{name}.c",
            *([] if proof.is_included else files),
            "-eva", "-eva-alloc-builtin", "fresh", "-eva-no-alloc-returns-null",
            "-eva-slevel", str(proof.states), "-eva-split-return", "auto",
            "-eva-split-limit", "1000",
            *(["-eva-slevel-function", ",".join(slow)] if slow else []),
            "-eva-msg-key=-initial-state", "-eva-no-print",
            "-eva-no-remove-redundant-alarms", "-eva-no-show-progress",
            *proof.options,
            *(["-then", "-report-csv", result, "-report-no-proven"] if result
              else ["-eva-stop-at-nth-alarm", "1"])]


def run(words):
    try:
        done = subprocess.run(words, cwd=ROOT, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=TIME_LIMIT, check=False)
    except subprocess.TimeoutExpired as late:
        raise Failure(f"Frama-C did not end within {TIME_LIMIT} s") from late
    return done.returncode, done.stdout


def read_alarms(path, directory, share):
    """The alarms as (file, function, property)."""
    found = set()
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            # A contract of a function without code is an assumption. Where it is
            # called, its conditions are properties of their own.
            where = ROOT / row["directory"]
            if (row["directory"].startswith("FRAMAC_SHARE") or
                    where.resolve().is_relative_to(share)):
                continue
            name = f"{row['directory']}/{row['file']}".replace(f"{directory}/", "")
            found.add((name, row["function"],
                       f"{row['property kind']}: {row['property']}"))
    return found


def prove(frama_c, name, proof, plant=None):
    """Run the proof. Return its alarms, and how much was reached."""
    with tempfile.TemporaryDirectory() as directory:
        result = str(pathlib.Path(directory, "result.csv"))
        began = time.monotonic()
        status, log = run(command(frama_c, name, proof,
                                  sources(proof, directory, plant), result))
        if status != 0:
            raise Failure(f"Frama-C ended with {status}:\n{log[-3000:]}")
        if GUESSED.search(log):
            raise Failure(GUESSED.search(log).group())
        alarms = read_alarms(result, directory, share_of(frama_c))
        reached = re.search(r"\d+ statements reached \(out of \d+\)", log)
        return alarms, (f"{reached.group() if reached else 'nothing reached'}, "
                        f"{time.monotonic() - began:.1f} s")


def new_alarm(frama_c, name, proof, plant, answers):
    """Run the proof with a planted fault. Return an alarm without an answer; None:
    there is none."""
    if answers:
        alarms = prove(frama_c, name, proof, plant)[0] - answers
        return next((" | ".join(alarm) for alarm in sorted(alarms)
                     if alarm[1] != "must_be_reached"), None)
    # Without answers the first alarm will do, and takes less time.
    with tempfile.TemporaryDirectory() as directory:
        _, log = run(command(frama_c, name, proof,
                             sources(proof, directory, plant), None))
        for match in ALARM.finditer(log):
            if "'reached'" not in match.group(3):
                return " ".join(match.group(3).split())
        if "[eva:summary]" not in log:
            raise Failure(f"Frama-C did not analyse it:\n{log[-3000:]}")
        return None


def read_answers(name):
    """The answered alarms of a proof."""
    found = set()
    for line in (HERE / "answers.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("#") or not line.strip():
            continue
        words = [word.strip() for word in line.split(" | ")]
        if len(words) != 5 or not words[4]:
            raise Failure(f"answers.txt: not of five parts: {line}")
        if words[0] == name:
            found.add(tuple(words[1:4]))
    return found


def compare(alarms, answers):
    """Return what is wrong, as lines."""
    end = [alarm for alarm in alarms if alarm[1] == "must_be_reached"]
    wrong = [] if end else ["the end of the driver is not reached"]
    rest = alarms - set(end)
    wrong += [f"no answer to: {' | '.join(alarm)}"
              for alarm in sorted(rest - answers)]
    return wrong + [f"did not come up: {' | '.join(answer)}"
                    for answer in sorted(answers - rest)]


class Tap:
    """Prints the cases of a test."""

    def __init__(self, cnt):
        print(f"1..{cnt}", flush=True)
        self.number, self.is_ok = 0, True

    def case(self, what, wrong):
        self.number += 1
        print(f"{'not ok' if wrong else 'ok'} {self.number} - {what}")
        for line in wrong:
            print("#   " + line.replace("\n", "\n#   "))
        sys.stdout.flush()
        self.is_ok = self.is_ok and not wrong


def find_frama_c(path):
    """Return (command, None), or (None, why there is none)."""
    for words in ([path] if path else []) + ["frama-c"]:
        try:
            done = subprocess.run([words, "-version"], capture_output=True, text=True,
                                  check=False)
        except OSError:
            continue
        if done.returncode == 0:
            version = done.stdout.strip()
            # Another version may find other alarms.
            if not version.startswith("25."):
                return None, f"Frama-C is {version}, and the answers are for 25"
            return words, None
    return None, "there is no Frama-C; tools/get-frama-c unpacks it"


def main():
    name, path = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
    frama_c, why = find_frama_c(path)
    if why:
        print(f"1..0 # SKIP {why}")
        return 0
    proof = PROOFS[name]
    tap = Tap(2 + len(proof.plants))
    alarms = answers = set()
    try:
        answers = read_answers(name)
        alarms, reached = prove(frama_c, name, proof)
        print(f"# {reached}; {len(answers)} alarms are answered")
        wrong = compare(alarms, answers)
    except Failure as failure:
        wrong = [str(failure)]
    tap.case("every alarm has an answer, and every answer its alarm", wrong)
    extra = ("src/x.c", "f", "mem_access: \\valid(p)")
    tap.case("a new alarm, an old answer and an end that is not reached are found",
             [f"not found: {what}" for what, found in {
                 "alarm": compare(alarms | {extra}, answers),
                 "answer": compare(alarms, answers | {extra}),
                 "end": compare(set(), set())}.items() if not found])
    for plant in proof.plants:
        try:
            alarm = new_alarm(frama_c, name, proof, plant, answers)
            wrong = [] if alarm else ["no alarm"]
            if alarm:
                print(f"# {alarm}")
        except Failure as failure:
            wrong = [str(failure)]
        what = " ".join(plant.new.split()) or f"without {' '.join(plant.old.split())}"
        tap.case(f"planted: {what}", wrong)
    return 0 if tap.is_ok else 1


if __name__ == "__main__":
    sys.exit(main())
