"""Reports: one self-contained HTML page a scan, and an index of a folder of them."""

from dal_fast.report.index import index_page
from dal_fast.report.page import scan_pictures

__all__ = ["index_page", "scan_pictures"]
