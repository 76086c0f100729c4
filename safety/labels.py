"""Labels in plain metadata: IPTC's DigitalSourceType and China's implicit label, in one XMP packet.

They are read by programs that know nothing of Content Credentials, and prove nothing: anybody can write or remove them.
Ours are written before the file is signed, so that within a signed file they cannot be changed unnoticed. No name of a
person, no prompt and no seed is in them.

IPTC Photo Metadata 2025.1 (Iptc4xmpExt:DigitalSourceType); GB 45438-2025, appendix E, in the namespace of TC260.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from xml.sax.saxutils import escape

from backend import images
from backend.types import LabelReport

AIGC_FIELDS = (
    "Label",
    "ContentProducer",
    "ProduceID",
    "ReservedCode1",
    "ContentPropagator",
    "PropagateID",
    "ReservedCode2",
)
IS_AI = "1"
"""GB 45438-2025: 1 is generated, 2 may be, 3 is suspected to be."""
AI_TYPES = frozenset(
    {
        "trainedAlgorithmicMedia",
        "compositeWithTrainedAlgorithmicMedia",
        "compositeSynthetic",
        "trainedAlgorithmicData",
    }
)
_LONGEST = 200
_LONGEST_PACKET = 1 << 20
_SOURCE_TYPE = re.compile(
    r"""DigitalSourceType\s{0,20}=\s{0,20}["']([^"'<>]{1,300})["']|<[\w-]{1,40}:DigitalSourceType[^<>]{0,300}>([^<>]{1,300})<"""
)
_RESOURCE = re.compile(
    r"""<[\w-]{1,40}:DigitalSourceType\s[^<>]{0,300}resource\s{0,20}=\s{0,20}["']([^"'<>]{1,300})["']"""
)
_AIGC = re.compile(
    r"""<[\w-]{1,40}:AIGC[^<>]{0,300}>([^<>]{1,4000})<|[\w-]{1,40}:AIGC\s{0,20}=\s{0,20}"([^"<>]{1,4000})\""""
)


def is_ai(source_type: str | None) -> bool:
    """Whether IPTC's type, full address or last part, says that AI had a part."""
    return (source_type or "").rstrip("/").rsplit("/", 1)[-1] in AI_TYPES


def packet(source_type: str, record_id: str, app: str, version: str) -> str:
    """The XMP packet of one picture. China's label is in it only where AI had a part."""
    aigc = {**dict.fromkeys(AIGC_FIELDS, ""), "Label": IS_AI, "ContentProducer": app, "ProduceID": record_id}
    label = f"<TC260:AIGC>{escape(json.dumps(aigc))}</TC260:AIGC>" if is_ai(source_type) else ""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
        ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
        ' xmlns:TC260="http://www.tc260.org.cn/ns/AIGC/1.0/">'
        f"<xmp:CreatorTool>{escape(app)} {escape(version)}</xmp:CreatorTool>"
        f"<Iptc4xmpExt:DigitalSourceType>{escape(source_type)}</Iptc4xmpExt:DigitalSourceType>{label}"
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    )


def read(data: bytes) -> tuple[LabelReport, ...]:
    """The labels in any file, by where they stand; nothing raises.

    XMP is searched as text and not parsed: it comes from strangers.
    """
    found = (_report(where, text[:_LONGEST_PACKET]) for where, text in images.metadata(data).items())
    return tuple(each for each in found if each)


def declared(data: bytes) -> str | None:
    """The first source type that the labels of a file state."""
    return next((each.source_type for each in read(data) if each.source_type), None)


def _report(where: str, text: str) -> LabelReport | None:
    match = _SOURCE_TYPE.search(text) or _RESOURCE.search(text)
    source_type = next((part for part in match.groups() if part), None) if match else None
    stated = _AIGC.search(text)
    box = next((part for part in stated.groups() if part), None) if stated else None
    if where.endswith("AIGC") or (box is None and '"AIGC"' in text[:_LONGEST_PACKET]):
        box = text
    aigc = _aigc(box) if box else {}
    if not source_type and not aigc:
        return None
    return LabelReport(
        where=where[:80], source_type=html.unescape(source_type)[:_LONGEST] if source_type else None, aigc=aigc
    )


def _aigc(text: str) -> Mapping[str, str]:
    """The fields of China's label; it is JSON, some programs put it under the key "AIGC" once more."""
    try:
        found = json.loads(html.unescape(text[:4000]))
    except (ValueError, RecursionError):
        return {}
    if isinstance(found, dict) and isinstance(found.get("AIGC"), dict):
        found = found["AIGC"]
    if not isinstance(found, dict) or "Label" not in found:
        return {}
    return {name: str(found[name])[:_LONGEST] for name in AIGC_FIELDS if name in found}
