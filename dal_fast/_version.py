"""The version, without importing anything."""

__version__ = "0.1.0"


def generated_by() -> dict[str, str]:
    """What a file of results says about the program that wrote it, as BIDS asks for it."""
    return {"Name": "dal_fast", "Version": __version__}
