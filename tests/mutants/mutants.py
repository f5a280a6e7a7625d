#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
mutants.py - does the property suite kill policies with a mistake in them?

Each mutant is a copy of a policy's source with one mistake: an entry of POLICY.toml, or one of those made for every
policy (an event that it does not hear). The copy is built into an image and checked by `baton sched check`; a mutant that
passes has survived, and the test fails. So does an entry whose text is no longer in the source: the mutant must follow.

    mutants.py POLICY.c POLICY.toml BATON WORK-DIRECTORY [--runs N] [--only NAME]... [--skip PROPERTY]...

The folder of baton-scheduler.pc must be in PKG_CONFIG_PATH.
"""
import argparse
import json
import pathlib
import re
import shlex
import subprocess
import sys
import tomllib

# Ops without which a policy cannot be right, as far as it has them: what is not told to it is lost to it.
DEAF = ("admit", "wake", "sleep", "start", "stop", "retire", "tick")


def flags(what):
    return shlex.split(subprocess.run(["pkg-config", what, "baton-scheduler"], check=True, text=True,
                                      stdout=subprocess.PIPE).stdout)


def function_span(text, name):
    """Where the definition of a function stands: from its name to the closing brace in the first column."""
    found = re.search(r"^[^\n;]*\b%s\((?:[^;{]|\n)*?\)\n\{\n.*?^\}$" % re.escape(name), text, re.M | re.S)
    return found.span() if found else None


def apply(text, mutant):
    """The source with the mistake, or None when there is no place for it."""
    begin, end = 0, len(text)
    if "function" in mutant:
        span = function_span(text, mutant["function"])
        if not span:
            return None
        begin, end = span
    part = text[begin:end]
    if part.count(mutant["find"]) < 1 or ("function" not in mutant and part.count(mutant["find"]) > 1):
        return None
    return text[:begin] + part.replace(mutant["find"], mutant["put"], 1) + text[end:]


def mutants_of(text, path):
    listed = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    harmless = listed.get("harmless", {})
    for op in DEAF:
        entry = re.search(r"\.%s = \w+," % op, text)
        if entry and "no-" + op not in harmless:
            yield {"name": "no-" + op, "why": op + " is not heard", "find": entry.group(0), "put": ""}
    yield from listed.get("mutant", [])


def build(source, image):
    command = ["cc", "-O2", "-w", *flags("--cflags"), "-o", str(image), str(source), *flags("--libs")]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


def try_one(mutant, text, options):
    changed = apply(text, mutant)
    if changed is None:
        return "STALE", "its text is not in the source: %r" % mutant["find"]
    stem = options.work / ("%s-%s" % (options.source.stem, mutant["name"]))
    source, image = stem.with_suffix(".c"), stem.with_suffix(".baton")
    source.write_text(changed, encoding="utf-8")
    built = build(source, image)
    if built.returncode != 0:
        return "STALE", "does not compile:\n" + built.stdout
    command = [options.baton, "sched", "check", str(image), "--first", "--json", "--out", str(options.work), "--runs",
               str(options.runs)]
    for name in options.skip:
        command += ["--skip", name]
    checked = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if checked.returncode == 0:
        return "SURVIVED", "%d trials found nothing" % options.runs
    if checked.returncode != 1 or not checked.stdout.startswith("{"):
        return "STALE", "the check did not work: %s%s" % (checked.stdout[-300:], checked.stderr[-300:])
    report = json.loads(checked.stdout)
    by = ", ".join(p["property"] for p in report["properties"] if p["result"] == "failed")
    return "killed", "by %s in trial %d" % (by, report["trials"])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("list", type=pathlib.Path)
    parser.add_argument("baton")
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--runs", type=int, default=1500)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--skip", action="append", default=[])
    options = parser.parse_args()
    text = options.source.read_text(encoding="utf-8")
    options.work.mkdir(parents=True, exist_ok=True)
    missed = count = 0
    # The sound policy passes, else its mutants prove nothing.
    sound = {"name": "unchanged", "find": "BATON_SCHEDULER(", "put": "BATON_SCHEDULER("}
    outcome, how = try_one(sound, text, options)
    print("%-28s %s" % ("(unchanged)", "passes" if outcome == "SURVIVED" else "FAILS: %s %s" % (outcome, how)))
    missed += outcome != "SURVIVED"
    for mutant in mutants_of(text, options.list):
        if options.only and mutant["name"] not in options.only:
            continue
        outcome, how = try_one(mutant, text, options)
        print("%-28s %-8s %s   (%s)" % (mutant["name"], outcome, how, mutant["why"]), flush=True)
        count += 1
        missed += outcome != "killed"
    print("%d mutants of %s, %d not killed" % (count, options.source.name, missed))
    return 1 if missed or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
