"""Segments that the user gives: a table, RTTM, a Praat TextGrid or an ELAN file."""

from collections.abc import Iterable
from pathlib import Path

from emofuse.errors import DataError
from emofuse.media.elan import read_elan
from emofuse.media.segment import Segment, in_order, read_bytes, read_text
from emofuse.media.segment_rows import RTTM_LINE, read_rttm, read_table
from emofuse.media.textgrid import read_textgrid
from emofuse.media.tiers import segments_of

EXTENSIONS = (".csv", ".tsv", ".rttm", ".textgrid", ".eaf")
"""Names of segment files end so, in either case; what decides is their content."""


def read_segments(path: Path, recording: str | None = None) -> list[Segment]:
    """Read the segments of one recording.

    * **Table** (csv, tsv; ``,`` ``;`` or tab): a header with ``start_s``, ``end_s`` (or ``start``, ``begin``,
      ``end``) in seconds, and where known ``speaker``, ``text`` and ``source``.
    * **RTTM**: its SPEAKER lines.
    * **TextGrid** (long or short text file): non-empty intervals of the interval tiers.
    * **ELAN**: annotations of the time-aligned tiers; the speaker is the tier's participant, else its name.

    In the latter two a tier is a speaker, named ``Anna`` or ``Anna - text``; a tier ``words`` (``Anna -
    words``) gives the times of words, or the utterances too where there is no other tier.

    Args:
        path: The file; what it holds is told from its content.
        recording: Name or stem of the recording to take from a table or RTTM file that holds several.

    Returns:
        Segments in order of time, overlaps as they are in the file.

    Raises:
        DataError: The file cannot be read, holds no segment, has a bad time (the message names the
            row), or several recordings of which none is `recording`.
    """
    content = read_bytes(path)
    if content.startswith(b"ooBinaryFile"):
        raise DataError(f"{path}: a binary TextGrid; save it as a text file in Praat")
    xml = path.suffix.lower() == ".eaf" or content.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<")
    text = "" if xml else read_text(path)  # XML says itself how it is encoded
    if xml:
        segments = segments_of(read_elan(path, content))
    elif "ooTextFile" in text[:40] or "Praat chronological" in text[:40]:
        segments = segments_of(read_textgrid(path, text))
    elif path.suffix.lower() == ".rttm" or RTTM_LINE.match(text):
        segments = _choose(read_rttm(path, text), path, recording)
    else:
        segments = _choose(read_table(path, text), path, recording)
    if not segments:
        raise DataError(f"{path}: no segments")
    return in_order(segments)


def _choose(found: Iterable[tuple[str | None, Segment]], path: Path, recording: str | None) -> list[Segment]:
    """Segments of the one recording that a file holds, or of the one that is asked for."""
    by_name: dict[str | None, list[Segment]] = {}
    for name, segment in found:
        by_name.setdefault(name, []).append(segment)
    if len(by_name) <= 1:
        return next(iter(by_name.values()), [])
    wanted = Path(recording or "")
    # As it is named, else by the file's name, else by its stem, which RTTM files use.
    for matches in (
        lambda name: name == recording,
        lambda name: Path(name).name == wanted.name,
        lambda name: wanted.stem in (Path(name).name, Path(name).stem),
    ):
        chosen = [s for name, segments in by_name.items() if name and matches(name) for s in segments]
        if chosen and recording:
            return chosen
    names = ", ".join(sorted(str(name) for name in by_name)[:10])
    asked = "need the name of one of them" if recording is None else f"none is {recording}"
    raise DataError(f"{path}: segments of {len(by_name)} recordings, {asked}: {names}")
