from pathlib import Path

import cv2
import numpy as np
import pytest

from emofuse.errors import DataError
from emofuse.media.image import read_face


def write_picture(path: Path, height: int, width: int) -> np.ndarray:
    grey = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    cv2.imwrite(str(path), grey)
    return grey


def test_tiles_are_numbered_row_by_row(tmp_path: Path) -> None:
    sheet = write_picture(tmp_path / "sheet.png", 96, 144)
    np.testing.assert_array_equal(read_face(tmp_path / "sheet.png", 0), sheet[:48, :48])
    np.testing.assert_array_equal(read_face(tmp_path / "sheet.png", 4), sheet[48:, 48:96])


def test_a_face_may_be_changed_without_changing_the_next_reading(tmp_path: Path) -> None:
    sheet = write_picture(tmp_path / "sheet.png", 48, 96)
    read_face(tmp_path / "sheet.png", 1)[:] = 0
    np.testing.assert_array_equal(read_face(tmp_path / "sheet.png", 1), sheet[:, 48:])


def test_a_picture_of_one_face_is_read_or_scaled(tmp_path: Path) -> None:
    face = write_picture(tmp_path / "face.png", 48, 48)
    np.testing.assert_array_equal(read_face(tmp_path / "face.png"), face)
    cv2.imwrite(str(tmp_path / "large.png"), np.full((96, 96, 3), 7, dtype=np.uint8))
    np.testing.assert_array_equal(read_face(tmp_path / "large.png"), np.full((48, 48), 7, dtype=np.uint8))


def test_what_is_no_face_is_refused(tmp_path: Path) -> None:
    write_picture(tmp_path / "sheet.png", 48, 96)
    write_picture(tmp_path / "odd.png", 48, 50)
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.png").touch()
    with pytest.raises(DataError, match=r"sheet\.png: no tile 2; the sheet holds tiles 0 to 1$"):
        read_face(tmp_path / "sheet.png", 2)
    with pytest.raises(DataError, match=r"no tile -1"):
        read_face(tmp_path / "sheet.png", -1)
    with pytest.raises(DataError, match=r"odd\.png: 48 × 50 pixels; need a sheet of whole 48 × 48 tiles"):
        read_face(tmp_path / "odd.png", 0)
    with pytest.raises(DataError, match=r"odd\.png: 48 × 50 pixels; need a square picture"):
        read_face(tmp_path / "odd.png")
    for name in ("text.png", "empty.png"):
        with pytest.raises(DataError, match=rf"{name}: not a picture"):
            read_face(tmp_path / name)
    with pytest.raises(DataError, match=r"none\.png: cannot be read \(No such file or directory\)"):
        read_face(tmp_path / "none.png")
