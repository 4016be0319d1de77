"""The bundle that comes with the package is the one of the weights that come with it."""

import hashlib
import json

import numpy as np
import pytest
from safetensors.numpy import load

from dal_fast.embedding import default_bundle
from dal_fast.weights import PACKAGED

ANEW = "the packaged bundle is not that of the packaged weights: run `make bundle`"


def split(content):
    """Metadata without what any change of the payload changes, and the tensors."""
    length = int.from_bytes(content[:8], "little")
    facts = json.loads(content[8 : 8 + length])["__metadata__"]
    # golden outputs move by rounding with the processor
    return {k: v for k, v in facts.items() if k not in ("payload_sha256", "dal_fast")}, load(
        content
    )


def test_it_was_written_from_the_packaged_weights():
    facts, _ = split(default_bundle().read_bytes())
    for name, key in (("default", "weights_sha256"), ("brain", "brain_weights_sha256")):
        assert facts[key] == hashlib.sha256(PACKAGED[name].read_bytes()).hexdigest(), ANEW


def test_it_is_what_the_program_writes_today():
    pytest.importorskip("openvino")
    from dal_fast.screening.bundle import bundle

    (kept, old), (facts, new) = split(default_bundle().read_bytes()), split(bundle())
    assert kept == facts, ANEW
    assert old.keys() == new.keys(), ANEW
    for name, tensor in new.items():
        if name.startswith("golden/"):
            np.testing.assert_allclose(old[name], tensor, atol=1e-4, err_msg=ANEW)
        elif not name.endswith(".xml"):  # the text moves with OpenVINO's version
            np.testing.assert_array_equal(old[name], tensor, err_msg=ANEW)
