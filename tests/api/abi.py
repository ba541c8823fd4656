#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Programs that were built with version 1.0 run with this library.

usage: abi.py test CC LIBRARY HEADER DIRECTORY
       abi.py reference CC LIBRARY HEADER DIRECTORY

"test" compares the library with the reference, which is in DIRECTORY:
libudpgather.abi, the functions and types, and constants.txt, the constants of the
header. What may change stands in docs/udpgather.md: symbols may be added, so may
constants, and so may members at the end of a struct whose size the program tells.
abidiff(1), of Debian's package abigail-tools, looks for all other changes of functions
and types. It does not look at the structs that may grow (abi.suppr): their members are
compared here.

Libraries made of the header alone, with functions that do nothing, show that the
comparison notices changes. As the header is, such a library must pass. With each of
the changes below, it must pass or fail as the table says.

"reference" writes the reference anew, by abidw(1): `make abi-reference`.

The reference is one for x86-64 and glibc. Elsewhere, and without abidiff, the test
skips (status 77).
"""
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET

# Structs that may grow. abi.suppr names them, too.
GROWING = ("ug_options", "ug_report", "ug_send_stats", "ug_receive_stats", "ug_train",
           "ug_received", "ug_error", "ug_socket_stats")

# (what, a pattern that the header has, its replacement, is it compatible?)
CHANGES = (
    ("a struct with another member in front",
     r"^struct ug_view {$", r"\g<0>\n\tuint64_t other;", False),
    ("a struct with two members that change places",
     r"^(\tuint32_t n_iov;\n)(\tuint8_t tos;\n)", r"\2\1", False),
    ("a struct without a size that grows",
     r"^struct ug_view {\n[^}]*", r"\g<0>\tuint64_t other;\n", False),
    ("a member of another type",
     r"^\tuint16_t segment_len;", "\tuint8_t segment_len;", False),
    ("a constant of an enum with another value",
     r"^\tUG_PMTU_WANT,", r"\tUG_PMTU_NEW,\n\g<0>", False),
    ("a function that is gone",
     r"^uint16_t ug_port\(", r"static \g<0>", False),
    ("a function with another argument",
     r"\bug_port\(const struct ug_socket \*sock", r"\g<0>, int family", False),
    ("a function that returns another type",
     r"^uint16_t (?=ug_port\()", "uint64_t ", False),
    ("a function that is added",
     r"^uint16_t ug_port\(", r"void ug_new(void);\n\g<0>", True),
    ("a struct with a size that grows at its end",
     r"^struct ug_options {\n[^}]*", r"\g<0>\tuint64_t other;\n", True),
    ("a struct with a size that grows elsewhere",
     r"^\tenum ug_families families;$", r"\g<0>\n\tuint64_t other;", False),
    ("a struct with a size that loses its last member",
     r"^(struct ug_received {\n[^}]*)\t\w+ \w+;\n(?=};)", r"\1", False),
    ("another constant behind the others",
     r"^\tUG_PMTU_OMIT,", r"\g<0>\n\tUG_PMTU_NEW,", True),
    ("a limit with another value",
     r"\bUG_MAX_SLOTS = 1024,", "UG_MAX_SLOTS = 512,", False),
    ("a constant that is gone", r"^\tUG_MAX_SLOTS = 1024,", "", False),
)


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(77)


def run_abidiff(library, directory):
    """Return: what abidiff says, or an empty text."""
    run = subprocess.run(
        ["abidiff", "--suppressions", directory / "abi.suppr", "--no-added-syms",
         "--exported-interfaces-only", directory / "libudpgather.abi", library],
        capture_output=True, text=True, check=False)
    # Bits 0 and 1 of the status are errors of abidiff itself.
    if run.returncode & 3:
        sys.exit(f"abidiff: {run.stdout}{run.stderr}")
    return run.stdout if run.returncode else ""


def run_abidw(library, path, *options):
    # Without --exported-interfaces-only, abidw leaves out exported functions of which it
    # meets a declaration first.
    subprocess.run(["abidw", "--exported-interfaces-only", "--no-show-locs", "--no-corpus-path",
                    "--no-comp-dir-path", *options, "--out-file", path, library],
                   check=True)


class Types:
    """The types in a file of abidw."""

    def __init__(self, path):
        self.by_id, self.structs = {}, {}
        for node in ET.parse(path).iter():
            if "id" in node.attrib:
                self.by_id.setdefault(node.get("id"), node)
            if node.tag == "class-decl" and node.find("data-member") is not None:
                self.structs[node.get("name")] = node

    def describe(self, type_id):
        """A type as a text that is the same for equal types."""
        node = self.by_id[type_id]
        name, inner = node.get("name"), node.get("type-id")
        if node.tag == "function-type":
            return "(" + ", ".join(self.describe(p.get("type-id"))
                                   for p in node) + ")"
        if node.tag == "array-type-def":
            return self.describe(inner) + f"[{node.find('subrange').get('length')}]"
        if node.tag == "pointer-type-def":
            target = self.by_id[inner]
            return (target.get("name") if target.tag == "class-decl"
                    else self.describe(inner)) + "*"
        if node.tag == "qualified-type-def":
            return f"{self.describe(inner)} {node.get('const')}"
        if node.tag == "typedef-decl":
            return f"{name} {self.describe(inner)}"
        return f"{name} {node.get('size-in-bits')}"

    def members(self, struct):
        return [f"{m.get('layout-offset-in-bits')} {v.get('name')} "
                f"{self.describe(v.get('type-id'))}"
                for m in self.structs[struct].findall("data-member")
                for v in m]


def compare_growing(library, directory, work):
    """Return: what has changed in structs that may only grow at their end."""
    run_abidw(library, work / "now.abi")
    old, new = Types(directory / "libudpgather.abi"), Types(work / "now.abi")
    said = ""
    for struct in GROWING:
        was = old.members(struct)
        now = new.members(struct) if struct in new.structs else []
        if now[:len(was)] != was:
            said += f"struct {struct}: {was} is now {now}\n"
    return said


def find_missing(directory):
    """Return: exported functions of which the reference has no type."""
    root = ET.parse(directory / "libudpgather.abi").getroot()
    symbols = {f"{s.get('name')}@@{s.get('version')}" for s in root.iter("elf-symbol")
               if s.get("name").startswith("ug_")}
    return symbols - {f.get("elf-symbol-id") for f in root.iter("function-decl")}


def find_growing(header):
    """The structs whose size the program tells."""
    return set(re.findall(r"\bstruct (ug_\w+) \*\w+,\s*size_t size\b", header) +
               re.findall(r"^struct (ug_\w+) {\n\tsize_t size;", header, re.M))


def read_constants(cc, header, work):
    """The values of the header's constants, by their names."""
    code = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.S)
    names = [n for body in re.findall(r"\benum\s+\w*\s*{(.*?)}", code, re.S)
             for n in re.findall(r"\bUG_\w+", re.sub(r"=[^,]*", "", body))]
    names += re.findall(r"^#define (UG_(?!VERSION)\w+) ", code, re.M)
    (work / "constants.c").write_text(
        '#include <stdio.h>\n#include "udpgather.h"\nint main(void)\n{\n' +
        "".join(f'\tprintf("{n} %lld\\n", (long long){n});\n' for n in names) + "}\n")
    subprocess.run([cc, f"-I{header.parent}", work / "constants.c", "-o",
                    work / "constants"], check=True)
    return subprocess.run([work / "constants"], check=True, capture_output=True,
                          text=True).stdout.splitlines()


def compare_constants(cc, header, directory, work):
    """Return: which constants of the reference are gone or have another value."""
    now = read_constants(cc, header, work)
    return "".join(f"no constant {line} any more\n" for line in
                   (directory / "constants.txt").read_text().splitlines()
                   if line not in now)


def compare(cc, library, header, directory):
    """Return: changes that may not be, or an empty text."""
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        return (compare_constants(cc, header, directory, work) or
                run_abidiff(library, directory) or
                compare_growing(library, directory, work))


def make_stub(cc, work, text):
    """A library with the functions of a header, which do nothing."""
    include = work / "include"
    shutil.rmtree(include, ignore_errors=True)
    include.mkdir()
    (include / "udpgather.h").write_text(text)
    code = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    functions = [f for f in re.findall(
        r"^[^\s#}/][^;{}()]*\bug_\w+\([^;{}]*\);", code, re.M)
        if not f.startswith("static")]
    source = work / "stub.c"
    source.write_text('#include "udpgather.h"\n' + "".join(
        f[:-1] + "\n{\n\t__builtin_trap();\n}\n" for f in functions))
    library = work / "libudpgather.so"
    subprocess.run([cc, "-g", "-w", "-fPIC", "-shared", f"-I{include}",
                    str(source), "-o", str(library),
                    f"-Wl,-soname,{SONAME}",
                    f"-Wl,--version-script,{write_map(work, functions)}"],
                   check=True)
    return library, include / "udpgather.h"


def write_map(work, functions):
    path = work / "stub.map"
    names = [re.search(r"\b(ug_\w+)\(", f)[1] for f in functions]
    path.write_text(f"{NODE} {{\nglobal:\n" +
                    "".join(f"\t{n};\n" for n in names) + "local:\n\t*;\n};\n")
    return path


def check_changes(cc, header, directory):
    """Does the comparison notice the changes of the table? Return: how many not."""
    bad = 0
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        rows = (("the header as it is", r"\A", "", True),) + CHANGES
        for what, pattern, new, is_fine in rows:
            text, n = re.subn(pattern, new, header.read_text(), count=1,
                              flags=re.M)
            if not n:
                sys.exit(f"{what}: the header has no {pattern}")
            library, changed = make_stub(cc, work, text)
            said = compare(cc, library, changed, directory)
            if bool(said) != is_fine:
                print(f"{'allowed' if is_fine else 'refused'}: {what}")
                continue
            bad += 1
            print(f"refused: {what}\n{said}" if is_fine else f"not noticed: {what}")
    return bad


def read_names(library):
    """The SONAME and the version of the symbols."""
    dynamic = subprocess.run(["readelf", "-d", "-W", library], check=True,
                             capture_output=True, text=True).stdout
    symbols = subprocess.run(["readelf", "--dyn-syms", "-W", library],
                             check=True, capture_output=True, text=True).stdout
    return (re.search(r"\(SONAME\).*\[(.*)\]", dynamic)[1],
            re.search(r"\bug_\w+@@(\S+)", symbols)[1])


def main():
    cc, library, header, directory = sys.argv[2:]
    header, directory = pathlib.Path(header), pathlib.Path(directory)
    if sys.argv[1] == "reference":
        # Types that the header does not define may change.
        run_abidw(library, directory / "libudpgather.abi", "--headers-dir",
                  header.parent, "--drop-private-types")
        with tempfile.TemporaryDirectory() as work:
            constants = read_constants(cc, header, pathlib.Path(work))
        (directory / "constants.txt").write_text("\n".join(constants) + "\n")
        return 0
    if not shutil.which("abidiff"):
        skip("no abidiff here (package abigail-tools)")
    if platform.machine() != "x86_64" or platform.libc_ver()[0] != "glibc":
        skip("the reference is one for x86-64 and glibc")
    global SONAME, NODE
    SONAME, NODE = read_names(library)
    if find_growing(header.read_text()) != set(GROWING):
        print("GROWING is not", *sorted(find_growing(header.read_text())))
        return 1
    missing = find_missing(directory)
    if missing:
        print("the reference has no type of", *sorted(missing))
        return 1
    said = compare(cc, library, header, directory)
    if said:
        print(f"Programs of version 1.0 would not run with this library.\n{said}")
        return 1
    print("the library is compatible")
    return 1 if check_changes(cc, header, directory) else 0


if __name__ == "__main__":
    sys.exit(main())
