"""Peers for a benchmark's own tests: one that is not installed, one that fails, one that works."""


def absent(volumes):
    raise ImportError("no such package")


def failing(volumes):
    return lambda: 1 // 0


def working(volumes):
    return lambda: volumes.scan.sort()


ALL = {"absent": absent, "failing": failing, "torch": working}
