# SPDX-License-Identifier: MIT
"""The machine and the commit that are measured, as text."""
import os
import pathlib
import platform
import re
import subprocess

HERE = pathlib.Path(__file__).parent


def first_match(path, pattern):
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(pattern, text, re.MULTILINE)
    return found and found[1]


def output_of(*command):
    done = subprocess.run(command, capture_output=True, text=True,
                          check=False, cwd=HERE)
    return done.stdout.strip() if done.returncode == 0 else ""


def describe_processor():
    """How many processors there are, and which."""
    cpu = first_match("/proc/cpuinfo", r"model name\s*: (.*)")
    flags = (first_match("/proc/cpuinfo", r"flags\s*: (.*)") or "").split()
    has = [name for flag, name in (
        ("avx2", "AVX2"), ("avx512f", "AVX-512"), ("avx512ifma", "IFMA"),
        ("amx_tile", "AMX"), ("hypervisor", "virtual")) if flag in flags]
    return f"{os.cpu_count()} × {cpu} ({', '.join(has)})"


def describe_kernel():
    return f"Linux {platform.release().split('-')[0]}"


def describe_commit():
    return output_of("git", "describe", "--always", "--dirty")
