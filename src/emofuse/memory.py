"""How a process of ours treats memory."""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names of mallopt(3)
_LARGEST = 32 * 2**20
"""What glibc takes at most as its threshold for maps of their own."""
_KEPT = 256 * 2**20


def keep_freed_memory() -> bool:
    """Let the C library keep up to 256 MiB that was freed, instead of giving it back and asking for it again.

    Arrays of some MiB are made and freed for every utterance; the kernel clears each of their pages anew, which took
    more than half of the time of extracting `voice`. For processes that are ours alone, not for a library's import.

    Returns:
        Whether the C library has such a setting (glibc has; musl, macOS and Windows have not, nor need it).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST) and mallopt(_TRIM_THRESHOLD, _KEPT))
