"""Answers what archspec's own code says, for the comparison in tests/src/bin/peers/archspec.rs.

oracle.py targets   what it says about every target: relations, family, generic, features by every name
oracle.py host      the host that runs this
oracle.py detect    one case a line on standard input, {"machine", "cpuinfo"} or {"machine", "cpuid": [[leaf, subleaf,
                    eax, ebx, ecx, edx], ...]}: the host's target and its candidates, one line each
"""

import collections
import io
import json
import platform
import sys

import archspec.cpu
from archspec.cpu import detect
from archspec.cpu.microarchitecture import FEATURE_ALIASES, TARGETS

Registers = collections.namedtuple("Registers", "eax ebx ecx edx")


def write(value):
    sys.stdout.write(json.dumps(value) + "\n")


def targets():
    # Its own list has the machine it runs on besides, where the data does not.
    data = archspec.cpu.schema.TARGETS_JSON["microarchitectures"]
    names = set(FEATURE_ALIASES).union(*(TARGETS[name].features for name in data))
    for name in sorted(data):
        target = TARGETS[name]
        write(
            {
                "name": name,
                "vendor": target.vendor,
                "generation": target.generation,
                "part": target.cpu_part,
                "parents": [str(parent) for parent in target.parents],
                "ancestors": sorted(str(ancestor) for ancestor in target.ancestors),
                "family": str(target.family),
                "generic": str(target.generic),
                "features": sorted(target.features),
                "has": sorted(feature for feature in names if feature in target),
                "has_not": sorted(feature for feature in names if feature not in target),
                "runs": sorted(other for other in data if target >= TARGETS[other]),
            }
        )


class Dump:
    """Stands for the vendored class that executes CPUID; a leaf that was not recorded is empty."""

    leaves = {}

    def registers_for(self, eax, ecx):
        return Dump.leaves.get((eax, ecx), Registers(0, 0, 0, 0))


def answer(info):
    candidates = sorted(str(target) for target in detect.compatible_microarchitectures(info))
    detect.detected_info = lambda: info
    return {"target": str(detect.host.__wrapped__()), "candidates": candidates, "features": sorted(info.features)}


def run_detect():
    detect.CPUID = Dump
    for line in sys.stdin:
        case = json.loads(line)
        detect._machine = lambda: case["machine"]
        if "cpuid" in case:
            Dump.leaves = {(leaf, subleaf): Registers(*rest) for leaf, subleaf, *rest in case["cpuid"]}
            info = detect.cpuid_info()
        else:
            detect.open = lambda *_, **__: io.StringIO(case["cpuinfo"])
            info = detect.proc_cpuinfo()
        write(answer(info))


def host():
    write({"machine": platform.machine(), "target": str(archspec.cpu.host())})


{"targets": targets, "host": host, "detect": run_detect}[sys.argv[1]]()
