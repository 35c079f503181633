"""Pictures of one face: a file of its own, or a tile of a contact sheet."""

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from emofuse.errors import DataError

FACE_SIZE = 48
"""Height and width of a face in pixels, as in FER2013."""


def read_face(path: Path, tile: int | None = None) -> np.ndarray:
    """A face as grey values: (48, 48), uint8.

    Args:
        path: A square picture of a face, scaled to 48 × 48; with `tile`, a contact sheet.
        tile: Index of the face in the sheet, row-major, in tiles of 48 × 48 pixels.

    Raises:
        DataError: The file cannot be read, is not square, or has no such tile.
    """
    if tile is not None:
        tiles = _read_sheet(path)
        if not 0 <= tile < len(tiles):
            raise DataError(f"{path}: no tile {tile}; the sheet holds tiles 0 to {len(tiles) - 1}")
        return tiles[tile].copy()
    picture = _read_grey(path)
    height, width = picture.shape
    if height != width:
        raise DataError(f"{path}: {height} × {width} pixels; need a square picture cut to the face")
    if height == FACE_SIZE:
        return picture
    scaled = cv2.resize(picture, (FACE_SIZE, FACE_SIZE), interpolation=cv2.INTER_AREA)
    return np.asarray(scaled, dtype=np.uint8)


@lru_cache(maxsize=1)
def _read_sheet(path: Path) -> np.ndarray:
    """Tiles of a contact sheet: (n_tiles, 48, 48). The last sheet is kept: faces are read in order."""
    sheet = _read_grey(path)
    height, width = sheet.shape
    if height % FACE_SIZE or width % FACE_SIZE:
        raise DataError(f"{path}: {height} × {width} pixels; need a sheet of whole {FACE_SIZE} × {FACE_SIZE} tiles")
    tiles = sheet.reshape(height // FACE_SIZE, FACE_SIZE, width // FACE_SIZE, FACE_SIZE)
    return tiles.transpose(0, 2, 1, 3).reshape(-1, FACE_SIZE, FACE_SIZE)


def _read_grey(path: Path) -> np.ndarray:
    """Grey values of a picture: (height, width), uint8."""
    # imread() only prints a warning when the file is missing, and cannot open every path on Windows.
    try:
        content = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    picture = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE) if content.size else None
    if picture is None:
        raise DataError(f"{path}: not a picture; need a PNG or JPEG file")
    return np.asarray(picture, dtype=np.uint8)
