"""The little we read and write in session descriptions (SDP) ourselves; the rest is aiortc's."""

from __future__ import annotations

import re

from chatanyone.serve.transport import SignallingError

_MOST_CANDIDATES = 40


def wanted_kinds(offer: str) -> list[str]:
    """What the offer wants to see and hear.

    Raises:
        SignallingError: no SDP, or more than one of a kind.
    """
    if len(re.findall(r"^a=candidate:", offer, re.MULTILINE)) > _MOST_CANDIDATES:
        raise SignallingError(f"the offer has more than {_MOST_CANDIDATES} candidates")
    media = re.findall(r"^m=(\w+) (\d+)", offer, re.MULTILINE)
    names = [name for name, port in media]
    if not offer.startswith("v=0") or not media:
        raise SignallingError("the offer must be SDP with at least one m= line; send what RTCPeerConnection.createOffer gives")
    if len(set(names)) < len(names) or set(names) - {"audio", "video", "application"}:
        raise SignallingError("the offer must have one audio, one video and one data section at most, "
                              f"not {', '.join(names)}")
    return [name for name in names if name != "application"]


def without_local_names(offer: str) -> str:
    """The client's candidates whose address is an mDNS name are left out: to resolve them may take seconds, and the
    client's own checks reach us anyway. More may come, so the end of candidates is left out as well."""
    lines = offer.splitlines()
    kept = [line for line in lines if not (line.startswith("a=candidate:") and ".local " in line)
            and line != "a=end-of-candidates"]
    return "\r\n".join(kept) + "\r\n"


def with_address(sdp: str, address: str) -> str:
    """Each host candidate once more with the address under which a NAT shows this server."""
    lines = []
    for line in sdp.splitlines():
        lines.append(line)
        parts = line.split(" ")
        if line.startswith("a=candidate:") and "host" in parts and "." in parts[4]:
            parts[0] += "1"
            parts[4] = address
            lines.append(" ".join(parts))
    return "\r\n".join(lines) + "\r\n"
