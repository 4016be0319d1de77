"""Weight files: the way there and back, and everything that must be refused."""

import errno
import hashlib
import json
import os
import struct

import pytest
import torch
from brains import structures, t1w

from dal_fast import DalFastError, weights
from dal_fast.models import (
    DAL,
    DALConfig,
    load_weights,
    read_card,
    rewrite_card,
    save_weights,
    weights_sha256,
)
from dal_fast.weights import DEFAULT, PACKAGED

CONFIG = DALConfig(tissue_widths=(4, 8), anatomy_widths=(4, 8), decoder_width=8)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return DAL(CONFIG).eval()


@pytest.fixture
def file(model, tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(path, model, {"seed": 3}, parts=("tissue",))
    return path


def _rewrite(path, change):
    """Change the file's header; tensors keep their bytes."""
    raw = path.read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + size])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + size :])


def test_round_trip(model, file):
    back = load_weights(file)
    assert back.config == CONFIG
    assert back.parts == ("tissue",)
    assert not back.training
    assert read_card(file) == {"seed": 3}
    assert weights_sha256(file) == hashlib.sha256(file.read_bytes()).hexdigest()
    maps = structures((16, 16, 16))
    with torch.inference_mode():
        a, b = (m(t1w(maps), maps > 0).probabilities for m in (model, back))
    assert (a - b).abs().max() < 5e-3  # half precision storage
    assert next(back.parameters()).dtype == torch.float32


def test_weights_are_hashed_once_for_as_long_as_they_stay(file, monkeypatch):
    calls, digest = [], hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *a: calls.append(a) or digest(*a))
    first = weights_sha256(file)
    assert weights_sha256(file) == first
    assert len(calls) == 1
    file.write_bytes(file.read_bytes() + b" ")
    assert weights_sha256(file) != first
    assert len(calls) == 2


def test_saving_leaves_no_temporary_file_and_replaces(model, file):
    save_weights(file, model, {"seed": 4}, parts=("tissue",))
    assert read_card(file) == {"seed": 4}
    assert [p.name for p in file.parent.iterdir()] == [file.name]
    with pytest.raises(TypeError):
        save_weights(file, model, {"seed": object()}, parts=("tissue",))


def test_a_full_disk_is_said_and_the_old_file_stays(model, file, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DalFastError) as refused:
        save_weights(file, model, {"seed": 5}, parts=("tissue",))
    assert refused.value.code == "disk-full"
    monkeypatch.undo()
    assert read_card(file) == {"seed": 3}
    assert [p.name for p in file.parent.iterdir()] == [file.name]
    with pytest.raises(DalFastError) as refused:
        save_weights(file.parent / "nowhere" / "w.safetensors", model, {}, parts=("tissue",))
    assert refused.value.code == "output-unwritable"
    assert [p.name for p in file.parent.iterdir()] == [file.name]


def test_a_file_beside_the_shipped_ones_has_a_name(file, tmp_path, monkeypatch):
    monkeypatch.setitem(weights.PACKAGED, "extra", file)
    assert weights_sha256("extra") == weights_sha256(file)
    assert set(weights.PACKAGED) - {"extra"} == {
        path.stem for path in DEFAULT.parent.glob("*.safetensors")
    }


def test_missing(tmp_path):
    with pytest.raises(DalFastError, match="or 'default'") as refused:
        load_weights(tmp_path / "none.safetensors")
    assert refused.value.code == "weights-missing"


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_cut_short(file, keep):
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(DalFastError) as refused:
        load_weights(file)
    assert refused.value.code == "weights-corrupt"


def test_values_that_are_not_finite(model, file):
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    save_weights(file, model, {}, parts=("tissue",))
    with pytest.raises(DalFastError) as refused:
        load_weights(file)
    assert refused.value.code == "weights-corrupt"


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h["__metadata__"].update(format="other"),
        lambda h: h["__metadata__"].pop("config"),
        lambda h: h["__metadata__"].update(config='{"recoupler": "magic"}'),
        lambda h: h["__metadata__"].update(parts='["brain"]'),
        lambda h: h["__metadata__"].update(parts='["tissue", "decoder"]'),
        lambda h: h["__metadata__"].update(config=DALConfig().model_dump_json()),
        lambda h: h.pop("__metadata__"),
    ],
)
def test_mismatch(file, change):
    _rewrite(file, change)
    with pytest.raises(DalFastError) as refused:
        load_weights(file)
    assert refused.value.code == "weights-mismatch"


def test_a_card_is_rewritten_and_the_tensors_keep_their_bytes(file, tmp_path):
    before = file.read_bytes()
    (size,) = struct.unpack("<Q", before[:8])
    rewrite_card(file, tmp_path / "new.safetensors", {"healthy": {"peaks": {}}})
    after = (tmp_path / "new.safetensors").read_bytes()
    (own,) = struct.unpack("<Q", after[:8])
    assert after[8 + own :] == before[8 + size :]
    assert read_card(tmp_path / "new.safetensors") == {"seed": 3, "healthy": {"peaks": {}}}
    rewrite_card(file, file, {"seed": 4})
    assert read_card(file) == {"seed": 4}
    rewrite_card(file, file, {"seed": 3})
    assert file.read_bytes() == before, "equal facts are equal bytes"
    with pytest.raises(DalFastError) as refused:
        rewrite_card(tmp_path / "none.safetensors", file, {})
    assert refused.value.code == "weights-missing"


def test_film_weights_without_its_networks_refuse_to_run(file):
    config = CONFIG.model_copy(update={"recoupler": "film"})
    _rewrite(file, lambda h: h["__metadata__"].update(config=config.model_dump_json()))
    maps = structures((16, 16, 16))
    with pytest.raises(DalFastError, match="restorer") as refused:
        load_weights(file)(t1w(maps), maps > 0)
    assert refused.value.code == "weights-part"


def test_default_weights_are_small_and_carry_their_card():
    assert DEFAULT.stat().st_size < 5 * 2**20
    card = read_card()
    assert {"data", "seed", "steps", "metrics", "use"} <= card.keys()
    assert load_weights().parts == ("tissue", "evidence", "residual_head")
    assert DEFAULT.with_suffix(".md").is_file()


def test_the_weights_of_the_published_path():
    path = PACKAGED["published"]
    assert path.stat().st_size < 6 * 2**20
    model = load_weights("published")
    assert model.config.recoupler == "film"
    assert set(model.parts) == {"tissue", "evidence", "modality", "restorer", "decoder"}
    card = read_card("published")
    assert {"data", "seed", "steps", "recipe", "metrics", "healthy", "use"} <= card.keys()
    assert card["healthy"]["thresholds"].keys() == {"T1w", "T2w", "FLAIR"}
    assert path.with_suffix(".md").is_file()
