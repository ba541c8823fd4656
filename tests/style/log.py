#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The tables of docs/wiregather.md have each line of the log, and no other.

A line is the format of a call of log_error() and the others. "…" in a table, and a
conversion in a format, stand for any text. A table may name one line of a format
("path to …: MTU is …: it was told"), and may leave out how a line begins ("… removed").
Errors, warnings and events each have a table of their own.
usage: log.py SOURCE_ROOT
"""
import pathlib
import re
import sys

LEVELS = {"log_error": "Errors", "log_error_limited": "Errors", "log_warning": "Warnings",
          "log_event": "Events", "log_limited": "Events"}
CALL = re.compile(r"\b(" + "|".join(LEVELS) + r")\(")
LITERAL = r'"(?:[^"\\]|\\.)*"'
# Literals that the compiler joins. A macro between them, such as PRIu64, belongs to a
# conversion.
JOINED = re.compile(rf"{LITERAL}(?:\s*(?:PRI\w+\s*)?{LITERAL})*")
CONVERSION = re.compile(r"%[-+ #0]*[0-9.*]*(?:hh|ll|[hlzjt])?[a-zA-Z]|%$")
# The rest of a sentence, which other code adds, has its own text.
ANY = "…"


def text_of(literals):
    """The text that a format stands for."""
    joined = re.sub(r'"\s*PRI\w+\s*"', "u", literals)
    text = "".join(literal[1:-1] for literal in re.findall(LITERAL, joined))
    return CONVERSION.sub(ANY, text).replace('\\"', '"')


def arguments(source, start):
    """The text of a call's arguments, from behind its parenthesis."""
    depth, at = 1, start
    while depth:
        if source[at] == '"':
            at = re.compile(LITERAL).match(source, at).end()
            continue
        depth += {"(": 1, ")": -1}.get(source[at], 0)
        at += 1
    return source[start:at - 1]


def split(text):
    """Arguments at the commas between them."""
    parts, depth, at, begun = [], 0, 0, 0
    while at < len(text):
        if text[at] == '"':
            at = re.compile(LITERAL).match(text, at).end()
            continue
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(text[at], 0)
        if text[at] == "," and not depth:
            parts.append(text[begun:at])
            begun = at + 1
        at += 1
    return parts + [text[begun:]]


def lines_of(source):
    """(level, line) of each call in a file. A format that is chosen is several lines."""
    for call in CALL.finditer(source):
        parts = split(arguments(source, call.end()))
        with_format = [part for part in parts if '"' in part]
        if with_format:
            for literals in JOINED.findall(with_format[0]):
                yield LEVELS[call[1]], text_of(literals)


def entries_of(document):
    """(level, line) of each entry of the tables."""
    part = document.split("### What the lines mean", 1)[1]
    level = None
    for line in part.splitlines():
        if match := re.match(r"(Errors|Warnings|Events):|.*stands for.*(Errors):", line):
            level = match[1] or match[2]
        if line.startswith("| `"):
            cell = line.split(" | ")[0]
            for entry in re.findall(r"`([^`]*)`", cell):
                yield level, entry


def has_words(text):
    return bool(re.search(r"[A-Za-z]{2}", text.replace(ANY, "")))


def pattern(text):
    return re.compile(".*".join(re.escape(part) for part in text.split(ANY)))


def is_same(line, entry):
    return bool(pattern(line).fullmatch(entry) or pattern(entry).fullmatch(line))


def is_in(entry, texts):
    """Does the longest part of an entry stand in a text of the sources?"""
    longest = max(entry.split(ANY), key=len).strip(" :,;")
    return any(longest in text for text in texts)


def main():
    root = pathlib.Path(sys.argv[1])
    lines, texts = set(), set()
    for path in sorted(root.glob("src/*/*.c")):
        if path.parent.name in ("ctl", "udpgather"):
            continue
        source = path.read_text(encoding="utf-8")
        texts |= {text_of(literals) for literals in JOINED.findall(source)}
        if path.parent.name != "base":
            lines |= {(path.name, *found) for found in lines_of(source)}
    document = (root / "docs/wiregather.md").read_text(encoding="utf-8")
    entries = list(entries_of(document))
    wrong = []
    for name, level, line in sorted(lines):
        # A format without words gets them as arguments, which are looked for below.
        if has_words(line) and not any(
                level == its and has_words(entry) and is_same(line, entry)
                for its, entry in entries):
            wrong.append(f"{name}: {level}: no entry for: {line}")
    for level, entry in entries:
        if has_words(entry) and not is_in(entry, texts) and not any(
                its == level and is_same(line, entry) for _, its, line in lines):
            wrong.append(f"docs/wiregather.md: {level}: no such line: {entry}")
    for entry in {entry for entry in entries if entries.count(entry) > 1}:
        wrong.append(f"docs/wiregather.md: {entry[0]}: twice: {entry[1]}")
    if len(lines) < 40 or len(entries) < 40:
        wrong.append(f"only {len(lines)} lines and {len(entries)} entries were found")
    print("\n".join(wrong) or f"{len(lines)} lines, {len(entries)} entries")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
