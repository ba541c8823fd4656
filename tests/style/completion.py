#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The completions for bash, zsh and fish have the options that --help lists.

usage: completion.py WIREGATHER [WIREGATHERCTL]

For bash the function of the completion is called. The files for zsh and fish are
read as text; if the shell is installed, it checks their syntax, and fish completes,
too. Usage lines of wiregatherctl begin with the command that their options belong to.
"""
import pathlib
import re
import shutil
import subprocess
import sys

CONTRIB = pathlib.Path(__file__).resolve().parents[2] / "contrib"
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
# What stands in --help beside options that belong to no command.
GENERAL = {"--help", "--version"}

problems = []


def compare(what, got, wanted):
    if got != wanted:
        problems.append(f"{what}: missing {sorted(wanted - got)}, "
                        f"not in --help {sorted(got - wanted)}")


def help_of(program):
    return subprocess.run([program, "--help"], stdout=subprocess.PIPE, text=True,
                          check=True).stdout


def commands_of(text):
    """The options of each command of wiregatherctl, from its usage."""
    found, current = {}, None
    for line in text.split("\n\n")[0].splitlines():
        match = re.match(r"(?:usage:| {6}) wiregatherctl ([a-z]+)\b", line)
        if match:
            current = found.setdefault(match.group(1), set())
        elif "wiregatherctl" in line:
            current = None
        if current is not None:
            current.update(OPTION.findall(line))
    return found


def bash(name, *words):
    """What the completion for bash offers behind these words."""
    done = subprocess.run(
        ["bash", "-euc", 'source "$1"; shift; COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); '
         f'_{name}; printf "%s\\n" "${{COMPREPLY[@]}}"', "bash",
         str(CONTRIB / "bash-completion" / name), name, *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        problems.append(f"bash, {name} {words}: status {done.returncode}: {done.stdout}")
    return set(done.stdout.split())


def fish(name, line):
    """What fish offers behind a command line."""
    path = CONTRIB / "fish-completion" / f"{name}.fish"
    done = subprocess.run(
        ["fish", "--private", "-c", f"source {path}; complete -C '{line}'"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return {word.split("\t")[0] for word in done.stdout.splitlines()}


def read(folder, name):
    """A completion as text, without its comments."""
    text = (CONTRIB / folder / name).read_text(encoding="utf-8")
    return re.sub(r"^\s*#.*\n", "", text, flags=re.M)


def fish_options(text, condition):
    """The long options that lines with this condition have."""
    return {"--" + option for line in text.splitlines() if condition in line
            for option in re.findall(r" -l ([a-z-]+)", line)}


def check_syntax(shell, files, *arguments):
    if not shutil.which(shell):
        print(f"{shell} is not installed: its completions were read as text only")
        return False
    for path in files:
        done = subprocess.run([shell, *arguments, str(path)], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode or done.stdout:
            problems.append(f"{path.name}: {done.stdout}")
    return True


def check_daemon(program, has_fish):
    wanted = set(OPTION.findall(help_of(program)))
    compare("bash, wiregather", bash("wiregather", "--"), wanted)
    compare("zsh, wiregather",
            set(OPTION.findall(read("zsh-completion", "_wiregather"))), wanted)
    compare("fish, wiregather",
            fish_options(read("fish-completion", "wiregather.fish"), "wiregather"),
            wanted)
    if has_fish:
        compare("fish completes wiregather", fish("wiregather", "wiregather --"), wanted)


def check_zsh(commands):
    text = read("zsh-completion", "_wiregatherctl")
    listed = re.search(r"commands=\((.*?)\n\t\)", text, re.S).group(1)
    compare("zsh, commands", set(re.findall(r"'([a-z]+):", listed)), set(commands))
    for command, wanted in commands.items():
        match = re.search(rf"^\t{command}\)\n(.*?)^\t\t;;", text, re.S | re.M)
        got = set(OPTION.findall(match.group(1))) if match else set()
        compare(f"zsh, wiregatherctl {command}", got, wanted)


def check_fish(commands, has_fish):
    text = read("fish-completion", "wiregatherctl.fish")
    listed = set(re.findall(r"-n __fish_use_subcommand -a ([a-z]+)", text))
    compare("fish, commands", listed, set(commands))
    for command, wanted in commands.items():
        compare(f"fish, wiregatherctl {command}", fish_options(
            text, f"'__fish_seen_subcommand_from {command}'"), wanted)
        if has_fish:
            compare(f"fish completes wiregatherctl {command}",
                    fish("wiregatherctl", f"wiregatherctl {command} --"), wanted)


def check_ctl(program, has_fish):
    text = help_of(program)
    commands = commands_of(text)
    if len(commands) < 3 or set(OPTION.findall(text)) != GENERAL.union(
            *commands.values()):
        problems.append(f"the usage was not understood: {commands} in\n{text}")
    compare("bash, commands", bash("wiregatherctl", ""), set(commands) | GENERAL)
    for command, wanted in commands.items():
        compare(f"bash, wiregatherctl {command}",
                bash("wiregatherctl", command, "--"), wanted)
    check_zsh(commands)
    check_fish(commands, has_fish)


def main():
    check_syntax("bash", sorted((CONTRIB / "bash-completion").iterdir()), "-n")
    check_syntax("zsh", sorted((CONTRIB / "zsh-completion").iterdir()), "-n")
    has_fish = check_syntax("fish", sorted((CONTRIB / "fish-completion").iterdir()),
                            "--no-execute")
    check_daemon(sys.argv[1], has_fish)
    if len(sys.argv) > 2:
        check_ctl(sys.argv[2], has_fish)
    print("\n".join(problems + [f"{len(problems)} problems"]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
