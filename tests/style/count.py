#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tools/count-tests prints the right summary of logs like those of Meson.

usage: count.py COUNT_TESTS
"""
import json
import pathlib
import subprocess
import sys
import tempfile

# Four programs: the first has a failed case; the second ran out of time after a
# case that passed; the third has no cases and failed; the fourth has no cases and
# passed.
JUNIT = """<testsuites>
<testsuite name="p.p:netns / one" tests="2" errors="0" failures="1">
 <testcase name="1 - good" classname="1 - good"/>
 <testcase name="2 - bad" classname="2 - bad"><failure/></testcase>
 <system-out>1..2
ok 1 - good
# seen: 7 pings of 8
# log of wga: /tmp/x
# much
not ok 2 - bad
</system-out>
</testsuite>
<testsuite name="p.p:netns / two" tests="1" errors="0" failures="0">
 <testcase name="1 - good" classname="1 - good"/>
</testsuite>
<testsuite name="p" tests="2" errors="0" failures="1">
 <testcase name="p:style / three"><failure/><system-out>a finding
</system-out></testcase>
 <testcase name="p:style / four"/>
</testsuite>
</testsuites>
"""
JSON = [
    {"name": "p:netns / one", "result": "FAIL", "stdout": ""},
    {"name": "p:netns / two", "result": "TIMEOUT",
     "stdout": "1..2\nok 1 - good\n", "stderr": "waits for an answer\n"},
    {"name": "p:style / three", "result": "FAIL", "stdout": "a finding\n"},
    {"name": "p:style / four", "result": "OK", "stdout": ""},
]
WANT = """failed: D: p.p:netns / one: 2 - bad
    # seen: 7 pings of 8
failed: D: p: p:style / three
    a finding
failed: D: p:netns / two: TIMEOUT
    1..2
    ok 1 - good
    waits for an answer
3 passed, 3 failed, 0 skipped
"""


def main():
    with tempfile.TemporaryDirectory() as directory:
        logs = pathlib.Path(directory, "meson-logs")
        logs.mkdir()
        (logs / "testlog.junit.xml").write_text(JUNIT)
        (logs / "testlog.json").write_text(
            "".join(json.dumps(line) + "\n" for line in JSON))
        done = subprocess.run([sys.argv[1], directory], text=True, check=False,
                              stdout=subprocess.PIPE)
    got = done.stdout.replace(directory, "D")
    if got != WANT or done.returncode != 1:
        print(f"status {done.returncode}, wanted:\n{WANT}printed:\n{got}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
