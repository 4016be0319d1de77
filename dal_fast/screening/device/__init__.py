"""The whole chain on a device: from the raw volume to maps, mask and regions, without the host.

:mod:`~dal_fast.screening.device.plan` says beforehand what the kernels must know (sizes, where the
brain lies, how the grids lie in each other); :mod:`~dal_fast.screening.device.chain` is the chain,
a function of fixed shapes that never looks at its data; :mod:`~dal_fast.screening.device.runner`
brings scans to it in batches and takes the results home. Compared with the chain for the CPU
on the CPU; on an H100 it screens 118 volumes a second at 2 mm (``benchmarks/results``).
"""

from dal_fast.screening.device.runner import DeviceChain, Screened

__all__ = ["DeviceChain", "Screened"]
