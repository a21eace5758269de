#!/usr/bin/env python3
"""Compiles our CUDA kernels with NVRTC, as a program does when it loads a model; no GPU is needed.

Usage: check_kernels.py CUDA_HOME COMMON KERNELS... where COMMON is what stands before each of the others. NVRTC has no headers, so a kernel that nvcc takes may still fail here.
"""

import ctypes
import sys
from pathlib import Path

SIZES = {"PAGE": 16, "CHUNK": 512, "TILE": 128, "HALVES": 2}


def compile_kernels(nvrtc, source, options):
    """NVRTC's log, if it refuses the source."""
    program = ctypes.c_void_p()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, b"kernels.cu", 0, None, None)
    words = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    if nvrtc.nvrtcCompileProgram(program, len(options), words) == 0:
        return None
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    return log.value.decode()


def main():
    home, common = Path(sys.argv[1]), Path(sys.argv[2])
    # NVRTC opens its built-ins by name alone, so they are loaded before it.
    for builtins in sorted((home / "lib").glob("libnvrtc-builtins.so.*")):
        ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
    nvrtc = ctypes.CDLL(str(home / "lib" / "libnvrtc.so"))
    for kernels in map(Path, sys.argv[3:]):
        source = common.read_bytes() + kernels.read_bytes()
        for head in (32, 64, 96, 128):
            options = ["--gpu-architecture=compute_80", "--std=c++17", "--fmad=false", f"-DHEAD={head}"]
            # Some kernels have sizes of their own.
            asked = {name: size for name, size in SIZES.items() if f"#define {name} ".encode() not in source}
            log = compile_kernels(nvrtc, source, options + [f"-D{name}={size}" for name, size in asked.items()])
            if log is not None:
                sys.exit(f"{kernels} does not compile for heads of {head}:\n{log}")
        print(f"{kernels} compiles", file=sys.stderr)


if __name__ == "__main__":
    main()
