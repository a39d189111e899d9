"""The words of the data channel: one JSON object a message, with `type`; names are OpenAI Realtime's where it has one.

What the server says is built here, one function an event; what the page says is read by `chatanyone.talk.commands.parse`.
`docs/live.md` lists both. Own events begin with ``chatanyone.``. An event is a plain ``dict`` that `json.dumps` takes.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from chatanyone.stream.types import SessionState
from chatanyone.talk.fields import CommandError

Event = dict[str, Any]
Status = Literal["in_progress", "completed", "cancelled", "failed", "incomplete"]
# Why a response ended early: the user spoke, pressed the button, or something in the server is broken.
Reason = Literal["turn_detected", "client_cancelled", "service_failed"]


def new_id(kind: str) -> str:
    """``item_…``, ``resp_…``, ``event_…``, ``sess_…``: unique across sessions."""
    return f"{kind}_{uuid.uuid4().hex[:16]}"


def _event(name: str, **fields: Any) -> Event:
    return {"type": name, "event_id": new_id("event"), **fields}


# The session.

def session_created(session: Mapping[str, Any]) -> Event:
    """First event on the channel; `session` holds every setting in force (`Conversation.settings`)."""
    return _event("session.created", session=dict(session))


def session_updated(session: Mapping[str, Any]) -> Event:
    """After `session.update`: every setting in force now."""
    return _event("session.updated", session=dict(session))


def state(value: SessionState) -> Event:
    """What the person in the picture does: listening, thinking, speaking."""
    return _event("chatanyone.state", state=value.value)


def notice(message: str, code: str = "notice") -> Event:
    """A sentence for the user; nobody did anything wrong in a message (that is `error`).

    code: for programs: notice, mind_failed, voice_failed, ear_failed, no_ear, renderer
    """
    return _event("chatanyone.notice", code=code, message=message)


def stats(values: Mapping[str, float]) -> Event:
    """Once a second, sent by the server: `LiveSession.stats` and the transport's own numbers; what is no number is left
    out, for JSON knows none such."""
    return _event("chatanyone.stats", stats={name: value for name, value in values.items() if math.isfinite(value)})


def ended(reason: str) -> Event:
    """The session is over; `reason` is a sentence. The last event."""
    return _event("chatanyone.ended", reason=reason)


def error(fault: CommandError) -> Event:
    """A message was refused; `error.event_id` is the refused message's own, when it had one."""
    about = {"type": "invalid_request_error", "code": fault.code, "message": str(fault), "param": fault.param,
             "event_id": fault.event_id}
    return _event("error", error=about)


# What the user says.

def speech_started(item_id: str, audio_start_ms: int) -> Event:
    """The user's voice began, at that time of the sound received in this session."""
    return _event("input_audio_buffer.speech_started", item_id=item_id, audio_start_ms=audio_start_ms)


def speech_stopped(item_id: str, audio_end_ms: int) -> Event:
    """The user's voice ended."""
    return _event("input_audio_buffer.speech_stopped", item_id=item_id, audio_end_ms=audio_end_ms)


def committed(item_id: str, previous_item_id: str | None) -> Event:
    """The sound so far is a user's message now."""
    return _event("input_audio_buffer.committed", item_id=item_id, previous_item_id=previous_item_id)


def input_cleared() -> Event:
    """The sound so far was thrown away; with push-to-talk, the user's turn begins."""
    return _event("input_audio_buffer.cleared")


def item_added(item: Mapping[str, Any], previous_item_id: str | None) -> Event:
    """A message of either side entered the conversation."""
    return _event("conversation.item.added", item=dict(item), previous_item_id=previous_item_id)


def item_truncated(item_id: str, audio_end_ms: int) -> Event:
    """The avatar's message was cut to what was heard: so many ms of its sound."""
    return _event("conversation.item.truncated", item_id=item_id, content_index=0, audio_end_ms=audio_end_ms)


def transcription_delta(item_id: str, delta: str) -> Event:
    """Words of the user, more than those sent before."""
    return _event("conversation.item.input_audio_transcription.delta", item_id=item_id, content_index=0, delta=delta)


def transcription_completed(item_id: str, transcript: str) -> Event:
    """All words of the user's message."""
    return _event("conversation.item.input_audio_transcription.completed", item_id=item_id, content_index=0,
                  transcript=transcript)


def transcription_failed(item_id: str, message: str) -> Event:
    """The ear did not answer; `message` is a sentence."""
    fault = {"type": "server_error", "code": "ear_failed", "message": message}
    return _event("conversation.item.input_audio_transcription.failed", item_id=item_id, content_index=0, error=fault)


# What the avatar says.

def response_created(response_id: str) -> Event:
    """The avatar begins to think about an answer."""
    return _event("response.created", response=response(response_id, "in_progress"))


def transcript_delta(response_id: str, item_id: str, delta: str) -> Event:
    """Words that are being played now (not those that were only generated)."""
    return _event("response.output_audio_transcript.delta", **_place(response_id, item_id), delta=delta)


def transcript_done(response_id: str, item_id: str, transcript: str) -> Event:
    """All words of the answer that were played."""
    return _event("response.output_audio_transcript.done", **_place(response_id, item_id), transcript=transcript)


def response_done(body: Mapping[str, Any]) -> Event:
    """The answer ended; `body` is what `response` made."""
    return _event("response.done", response=dict(body))


def output_started(response_id: str) -> Event:
    """The first sound of the answer is played; again after a false alarm (`chatanyone.resumed` before it)."""
    return _event("output_audio_buffer.started", response_id=response_id)


def output_stopped(response_id: str) -> Event:
    """The last sound of the answer was played."""
    return _event("output_audio_buffer.stopped", response_id=response_id)


def output_cleared(response_id: str) -> Event:
    """The answer was cut off for good."""
    return _event("output_audio_buffer.cleared", response_id=response_id)


def paused(response_id: str) -> Event:
    """The user's voice stopped the avatar; words will cut the answer off, no words within 1.5 s let it go on."""
    return _event("chatanyone.paused", response_id=response_id)


def resumed(response_id: str) -> Event:
    """It was a false alarm: the avatar goes on where it stopped."""
    return _event("chatanyone.resumed", response_id=response_id)


# Parts of events.

def _place(response_id: str, item_id: str) -> dict[str, Any]:
    return {"response_id": response_id, "item_id": item_id, "output_index": 0, "content_index": 0}


def user_item(item_id: str, text: str | None, *, spoken: bool) -> dict[str, Any]:
    """A user's message; `text` None: spoken words that nobody has transcribed (yet)."""
    content = {"type": "input_audio", "transcript": text} if spoken else {"type": "input_text", "text": text}
    return {"id": item_id, "type": "message", "role": "user", "status": "completed", "content": [content]}


def avatar_item(item_id: str, transcript: str, *, whole: bool) -> dict[str, Any]:
    """A message of the avatar; `whole` False: it was cut off."""
    return {"id": item_id, "type": "message", "role": "assistant", "status": "completed" if whole else "incomplete",
            "content": [{"type": "output_audio", "transcript": transcript}]}


def response(response_id: str, status: Status, *, reason: Reason | None = None, message: str | None = None,
             output: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """The answer as `response.created` and `response.done` carry it; `message`: what failed, a sentence."""
    details: dict[str, Any] | None = None
    if reason is not None:
        details = {"type": status, "reason": reason}
        if message is not None:
            details["error"] = {"type": "server_error", "code": reason, "message": message}
    return {"object": "realtime.response", "id": response_id, "status": status, "status_details": details,
            "output": [dict(item) for item in output]}
