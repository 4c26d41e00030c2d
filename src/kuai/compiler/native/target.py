"""What the processor offers: the figures that programs are shaped by."""

from __future__ import annotations

import functools
import os
import platform
from typing import NamedTuple

KIBI = 1024


class Target(NamedTuple):
    """The machine that programs are made for.

    Attributes:
        triple: LLVM's name of the architecture and system.
        cpu: LLVM's name of the processor; used for scheduling only, since a virtual machine may
            report a processor older than what it really offers.
        features: what the processor offers, as LLVM writes it: `+avx2,-avx512f,...`.
        vector_bytes: bytes of a vector register.
        registers: how many vector registers there are.
        l1, l2, l3: bytes of the caches; the first two those of one core.
        cores: how many this process may use.
    """

    triple: str
    cpu: str
    features: str
    vector_bytes: int
    registers: int
    l1: int
    l2: int
    l3: int
    cores: int

    def has(self, feature: str) -> bool:
        """Whether the processor offers something, by LLVM's name of it."""
        return f"+{feature}" in self.features.split(",")


@functools.cache
def host() -> Target:
    """The machine that this process runs on."""
    triple, cpu, features = _identity()
    vector_bytes, registers = _vectors(triple, features)
    return Target(
        triple=triple,
        cpu=cpu,
        features=features,
        vector_bytes=vector_bytes,
        registers=registers,
        l1=_cache_bytes("SC_LEVEL1_DCACHE_SIZE", 1, 32 * KIBI),
        l2=_cache_bytes("SC_LEVEL2_CACHE_SIZE", 2, 512 * KIBI),
        l3=_cache_bytes("SC_LEVEL3_CACHE_SIZE", 3, 8 * KIBI * KIBI),
        cores=_cores(),
    )


def _vectors(triple: str, features: str) -> tuple[int, int]:
    """Bytes and number of the vector registers."""
    offered = set(features.split(","))
    if {"+avx512f", "+avx512vl", "+avx512dq", "+avx512bw"} <= offered:
        return 64, 32
    if "+avx" in offered:
        return 32, 16
    return 16, 32 if triple.startswith(("aarch64", "arm64")) else 16


def _identity() -> tuple[str, str, str]:
    """Triple, processor and features, as LLVM sees them; remembered on disk for the processor."""
    from kuai.compiler.native import cache

    key = cache.key("target", processor())
    known = cache.read(key)
    if known is not None:
        triple, cpu, features = known.decode().split("\n")
        return triple, cpu, features
    from kuai.compiler.native.jit import llvm

    binding = llvm()
    triple, cpu = binding.get_process_triple(), binding.get_host_cpu_name()
    features = binding.get_host_cpu_features().flatten()
    cache.write(key, "\n".join((triple, cpu, features)).encode())
    return triple, cpu, features


def processor() -> str:
    """What tells one kind of processor from another, without asking LLVM."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            first = file.read(16384).split("\n\n")[0].splitlines()
    except OSError:
        return f"{platform.machine()} {platform.platform()} {platform.processor()}"
    telling = ("flags", "features", "model", "vendor", "cpu family", "stepping", "cpu part", "isa")
    kept = [line for line in first if line.lower().startswith(telling)]
    return "\n".join([platform.machine(), *kept])


def _cache_bytes(name: str, level: int, default: int) -> int:
    """The size of a cache: what the C library knows, else the kernel, else a usual one."""
    try:
        size = os.sysconf(name)
    except (AttributeError, ValueError, OSError):
        size = 0
    return size if size > 0 else _cache_from_kernel(level) or default


def _cache_from_kernel(level: int) -> int:
    folder = "/sys/devices/system/cpu/cpu0/cache"
    units = {"K": KIBI, "M": KIBI * KIBI, "G": KIBI**3}
    try:
        for index in sorted(os.listdir(folder)):
            facts = {}
            for fact in ("level", "type", "size"):
                with open(f"{folder}/{index}/{fact}", encoding="utf-8") as file:
                    facts[fact] = file.read().strip()
            if int(facts["level"]) == level and facts["type"] != "Instruction":
                size = facts["size"]
                return int(size[:-1]) * units[size[-1]] if size[-1] in units else int(size)
    except (OSError, ValueError, KeyError):
        pass
    return 0


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1
