"""The NVIDIA GPUs of this machine, listed by the driver itself: needs neither torch nor the CUDA toolkit."""

from __future__ import annotations

import ctypes
from functools import cache


@cache
def nvidia_gpus() -> tuple[str, ...]:
    """Names of the GPUs in the order of their CUDA device numbers; empty if there is no driver or no visible GPU."""
    try:
        driver = ctypes.CDLL('libcuda.so.1')
    except OSError:
        return ()
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return ()
    return tuple(_name(driver, number) for number in range(count.value))


def _name(driver: ctypes.CDLL, number: int) -> str:
    device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
    if driver.cuDeviceGet(ctypes.byref(device), number) or driver.cuDeviceGetName(name, len(name), device):
        return f'GPU {number}'
    return name.value.decode()
