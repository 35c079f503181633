"""The tiers of an ELAN file.

The parser is our own: pympi-ling's answers a truncated file with KeyError; it cannot say where.
"""

from pathlib import Path
from typing import NoReturn
from xml.etree import ElementTree

from emofuse.errors import DataError
from emofuse.media.tiers import Tier, role_of, span_of, tier_of


class _Builder(ElementTree.TreeBuilder):
    """Builds the tree of a file without a document type: that is where entities are declared that explode."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> NoReturn:
        raise ValueError("declares a document type, as no ELAN file does")


def read_elan(path: Path, content: bytes) -> list[Tier]:
    """The tiers of a file with this content.

    Raises:
        DataError: It is not a readable ELAN file, or has a bad time; the message names `path` and where.
    """
    parser = ElementTree.XMLParser(target=_Builder())
    try:
        parser.feed(content)
        root = parser.close()
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the latter two: its encoding
        raise DataError(f"{path}: not a readable ELAN file ({error})") from None
    if root.tag != "ANNOTATION_DOCUMENT":
        raise DataError(f"{path}: not an ELAN file, its element is {root.tag[:40]!r}")
    slots = {slot.get("TIME_SLOT_ID"): slot.get("TIME_VALUE") for slot in root.iter("TIME_SLOT")}
    # Of a tier of emotions, the words are in a tier that depends on it.
    texts: dict[str | None, str] = {}
    for tier in root.iter("TIER"):
        if role_of(tier.get("TIER_ID", "")) == "text":
            texts |= {a.get("ANNOTATION_REF"): _label(a) for a in tier.iter("REF_ANNOTATION")}
    return [_elan_tier(path, tier, slots, texts) for tier in root.iter("TIER")]


def _label(annotation: ElementTree.Element) -> str:
    return " ".join((annotation.findtext("ANNOTATION_VALUE") or "").split())


def _elan_tier(
    path: Path, element: ElementTree.Element, slots: dict[str | None, str | None], texts: dict[str | None, str]
) -> Tier:
    name = element.get("TIER_ID", "")
    tier = tier_of(name, element.get("PARTICIPANT"))
    if element.get("PARENT_REF") and tier.role != "words":
        tier.role = "other"  # part of an utterance, as a gesture phase is
    if tier.role == "other":
        return tier
    for index, annotation in enumerate(element.iter("ALIGNABLE_ANNOTATION"), start=1):
        times = [slots.get(annotation.get(key)) for key in ("TIME_SLOT_REF1", "TIME_SLOT_REF2")]
        if tier.role == "words" and None in times:
            continue  # ELAN gives no time to words that nobody has aligned
        identifier = annotation.get("ANNOTATION_ID")
        label = texts.get(identifier, "") if tier.role == "places" else _label(annotation)
        where = f"{path}: tier {name!r}: annotation {index}"
        tier.spans.append(span_of(times, label, where, ("its start", "its end"), per_second=1000))
    return tier
