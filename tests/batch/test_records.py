"""What a table takes from a sidecar."""

from dal_fast.batch.records import flag_codes


def test_a_flag_with_two_messages_is_named_once():
    codes = ("negative-intensities", "negative-intensities", "cropped-brain")
    flags = [{"code": code, "message": str(number)} for number, code in enumerate(codes)]
    assert flag_codes({"QualityFlags": flags}) == ("negative-intensities", "cropped-brain")
