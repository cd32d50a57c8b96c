"""Files of curves are what was written, or they are refused in one line."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pytest

from robot_wm.errors import UserError
from robot_wm_worlds.video.curves import COLUMNS, read, read_all, shipped
from robot_wm_worlds.video.encoder import MODES, QUANTISERS


@pytest.fixture
def file(tmp_path):
    source = sorted(shipped().glob("*.csv"))[0]
    return shutil.copy(source, tmp_path / source.name)


def rewritten(path, change):
    """With another body, and the header's hash made to fit it."""
    first, _, body = path.read_bytes().partition(b"\n")
    body = change(body)
    header = json.loads(first[1:]) | {"body_sha256": hashlib.sha256(body).hexdigest()}
    path.write_bytes(b"# " + json.dumps(header).encode() + b"\n" + body)


def test_shipped_curves_are_what_encoders_give():
    """Coarser is smaller and, but for a point of VMAF, no better; the first picture is part of a chunk."""
    for split in ("train", "test"):
        for curves in read_all(shipped(), split):
            size = curves.size.reshape(len(curves), -1, len(QUANTISERS))
            vmaf = curves.vmaf.reshape(size.shape)
            assert (np.diff(size, axis=2) < 0).mean() > 0.98
            assert (np.diff(vmaf, axis=2) < 1.0).mean() > 0.95
            assert (curves.first <= curves.size).all()
            assert (curves.first > 0).all()
            assert ((curves.vmaf >= 0) & (curves.vmaf <= 100)).all()


def test_a_file_is_read_as_its_lines_say(file):
    rows = [line.split(",") for line in file.read_text().splitlines()[2:]]
    curves = read(file)
    for number in (0, 5, len(MODES), len(rows) - 1):
        chunk, mode = divmod(number, len(MODES))
        assert (rows[number][1], int(rows[number][2])) == MODES[mode]
        found = (
            curves.size[chunk, mode],
            curves.first[chunk, mode],
            curves.vmaf[chunk, mode],
            curves.psnr_db[chunk, mode],
        )
        assert [float(value) for value in rows[number][3:]] == pytest.approx(list(found))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda body: body.replace(b"vmaf", b"ssim"), "line 2: is not " + ",".join(COLUMNS)),
        (lambda body: b"\n".join(body.split(b"\n")[:-2]), "lines: are not .* chunks in 27 modes each, in order"),
        (lambda body: body[: body.rindex(b",")] + b",nan\n", "not finite"),
        (lambda body: body[: body.rindex(b",")] + b",many\n", "are not four numbers in every line"),
        (lambda body: body[: body.rindex(b",")] + b"\n", "are not four numbers in every line"),
        (lambda body: body.replace(b"even,18", b"odd,18"), "lines: are not"),
    ],
)
def test_lines_that_are_no_curves_are_refused_by_what_is_wrong(file, change, told):
    rewritten(file, change)
    with pytest.raises(UserError, match=f"^{file}: .*{told}"):
        read(file)


def test_a_changed_number_is_refused(file):
    body = file.read_bytes()
    file.write_bytes(body[:-3] + bytes([body[-3] ^ 1]) + body[-2:])
    with pytest.raises(UserError, match=r"body_sha256: its lines are not those that were written$"):
        read(file)


@pytest.mark.parametrize("field", ["clip", "ffmpeg", "frames_sha256"])
def test_a_header_that_is_not_the_names_is_refused(file, field):
    first, _, body = file.read_bytes().partition(b"\n")
    header = json.loads(first[1:])
    header[field] += "x"
    file.write_bytes(b"# " + json.dumps(header).encode() + b"\n" + body)
    with pytest.raises(UserError, match=f"^{file}: name: is not "):
        read(file)


@pytest.mark.parametrize("first", [b"", b"chunk,quantiser", b"# {}", b'# {"robot_wm_video_curves": 2}'])
def test_what_is_no_file_of_curves_is_refused_by_its_first_line(file, first):
    file.write_bytes(first + b"\n" + file.read_bytes().partition(b"\n")[2])
    with pytest.raises(UserError, match=f"^{file}: first line: "):
        read(file)


def test_two_files_of_one_clip_are_refused(file):
    """The other is as sound, of other pictures."""
    first, _, body = file.read_bytes().partition(b"\n")
    header = json.loads(first[1:]) | {"frames_sha256": "0" * 64}
    other = file.with_name("other.csv")
    other.write_bytes(b"# " + json.dumps(header).encode() + b"\n" + body)
    with pytest.raises(UserError) as refused:
        read(other)
    other.rename(file.with_name(str(refused.value).split("is not ")[1].split(",")[0]))
    with pytest.raises(UserError, match=f"clip {header['clip']}: has two files of curves; remove the older one$"):
        read_all(file.parent, header["split"])
