#!/bin/python3
"""Does in a lab host what whoever is at the other end of its port says: a JSON object a line, an answer a line."""

import json
import os
import subprocess
import sys
import time

started = {}


def run(command, seconds):
    """A shell's command, until it ends."""
    try:
        done = subprocess.run(["sh", "-ec", command], capture_output=True, text=True, errors="replace",
                              stdin=subprocess.DEVNULL, timeout=seconds)
    except subprocess.TimeoutExpired:
        return {"code": 124, "out": "", "err": f"no end within {seconds} s"}
    return {"code": done.returncode, "out": done.stdout, "err": done.stderr}


def start(name, command, environment):
    """A program that goes on, and may answer lines."""
    with open(f"/tmp/{name}.log", "a") as log:
        started[name] = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                                         env={**os.environ, **environment})
    return {"pid": started[name].pid}


def ask(name, line):
    """Tells it a line of JSON; its next one is the answer. What else it prints is left out."""
    program = started[name]
    program.stdin.write(json.dumps(line) + "\n")
    program.stdin.flush()
    for text in program.stdout:
        try:
            return {"answer": json.loads(text)}
        except ValueError:
            pass
    with open(f"/tmp/{name}.log") as log:
        return {"gone": log.read()[-2000:]}


def stop(name, signal):
    program = started.pop(name)
    program.send_signal(signal)
    program.stdin.close()
    return {"code": program.wait()}


def lines(port):
    """Nobody at the other end is no end."""
    read = b""
    while True:
        while b"\n" not in read:
            some = os.read(port, 1 << 16)
            if not some:
                time.sleep(0.02)
            read += some
        line, read = read.split(b"\n", 1)
        yield line


def main():
    port = os.open(sys.argv[1], os.O_RDWR)
    work = {do.__name__: do for do in (run, start, ask, stop)}
    for line in lines(port):
        try:
            asked = json.loads(line)
            answer = work[asked.pop("do")](**asked)
        except Exception as error:  # whatever it is, who asked is told
            answer = {"error": repr(error)}
        told = json.dumps(answer).encode() + b"\n"
        while told:
            told = told[os.write(port, told):]


main()
