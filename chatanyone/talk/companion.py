"""The scripted companion: answers without any model, from a few dozen English sentences, and says so when asked.

It looks for patterns in the newest message, remembers the user's name from the history, and takes another variant each
time. Without an ear it hears that somebody spoke and how long, not what; then it answers to that and invites to type.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable

from chatanyone.talk.history import Message

LANGUAGE = "en"

_GREETINGS = (
    "Hello! Nice to see you. I am a scripted companion. What is your name?",
    "Hi there! I answer from a small script. Tell me your name, or ask what I can do.",
)
_NAMED = (
    "Nice to meet you, {name}! Ask me what I can do, or just talk to me.",
    "Hello, {name}! That is a name I can remember. What would you like to know?",
)
_HEARD_SHORT = (
    "I heard your voice, but I cannot make out words without a transcription server. Try typing to me.",
    "That was short! I can hear that you speak, not what you say. The text box works, though.",
    "Yes? I am listening. For a real answer, please type.",
)
_HEARD = (
    "I listened to you for about {seconds} seconds. I cannot understand words here, so please type them.",
    "That sounded interesting! Nobody here turns sound into words, so would you type it for me?",
    "I hear you. The words escape me until somebody connects a transcription server.",
)
_HEARD_LONG = (
    "You spoke for {seconds} seconds, and I nodded along. I did not understand a word, honestly. Please type the short "
    "version.",
    "That was a long story! I only hear that you speak, not what you say. Could you type the main point?",
)
_OTHERWISE = (
    "I have no good answer to that. I am a small script, after all. Ask me what I can do.",
    "Hmm, that is not in my script{comma_name}. With a language model connected I could say more.",
    "Tell me more about that. I may not understand it, but I keep a friendly face.",
    "Good point! I would think about it, if I could think.",
)

# The first pattern that is found answers.
_SCRIPT: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"\b(what('s| is) my name|who am i|remember me)\b", ("{name_or_not}",)),
    (r"\b(bye|goodbye|see you|good night)\b", (
        "Goodbye{comma_name}! It was nice to talk with you.", "See you soon{comma_name}! Take care.")),
    (r"\b(thanks|thank you|thx)\b", ("You are welcome{comma_name}.", "My pleasure!", "Any time{comma_name}.")),
    (r"\b(what|which) (can|do) you do\b|\bhelp\b|\bwhat can i (do|ask)\b|\bhow does this work\b", (
        "I can chat a little, and there is more. In mirror mode I speak with your own voice. In say mode I say what you "
        "type. And with a language model connected, I can really talk.",
        "Try the sliders: they change my face, my head and my hands while I speak. You can also interrupt me any time, just "
        "start talking.")),
    (r"\b(are|r) (you|u) (real|human|a person|alive|an? (ai|bot|robot)|scripted)\b|\bare you chatgpt\b", (
        "No, I am a picture that moves, and my answers come from a script. There is no language model behind them.",
        "I am not a person. Somebody's photo is animated by the sound of this voice, and the words were written "
        "beforehand.")),
    (r"\b(who|what) are you\b|\byour name\b|\babout yourself\b|\bintroduce yourself\b", (
        "I am the person in this picture, animated live. My words come from a script.",
        "I have no name of my own. I am a photo, a voice, and a small script that holds them together.")),
    (r"\bhow (do|can) you (move|speak|talk|work)\b|\bhow (are|were) you made\b", (
        "The sound of my voice becomes movements of face, head and hands, and then the photo is bent along.",
        "First comes the sound, then the motion, then the pictures. All of it happens live.")),
    (r"\bhow (are|r) (you|u)\b|\bhow('s| is) it going\b", (
        "I am fine, thank you. How are you{comma_name}?", "Very well! My face is warmed up. And you?",
        "As good as on the day my photo was taken. How about you?")),
    (r"\b(i am|i'm|im) (fine|good|ok|okay|great|well)\b", (
        "I am glad to hear that.", "Good! Then let us go on. What would you like to know?")),
    (r"\b(i am|i'm|im) (sad|tired|sick|bored|angry|not (good|well|fine))\b", (
        "I am sorry to hear that{comma_name}. I hope it gets better soon.", "Oh. Do you want to tell me why?")),
    (r"\bjoke\b|\bfunny\b", (
        "Why did the photo go to prison? It was framed.", "I told my hands to behave, but they keep waving it away.",
        "What do you call a portrait that talks too much? A speaking likeness.")),
    (r"\b(interrupt|stop talking|be quiet|shut up)\b", (
        "You can interrupt me at any time. Just speak, or press the button.", "All right. I am listening.")),
    (r"\b(weather|time is it|date|news|today)\b", (
        "I have no window, no clock and no news. I only know what stands in my script.",
        "I cannot know that here: I look nothing up. It keeps our talk private, at least.")),
    (r"\b(private|privacy|record|data|listen(ing)? to me)\b", (
        "As a script I send nothing to anybody. Whoever runs this server may let other services hear and speak for me.",
        "I forget our talk when you close the page. I record only if you press the record button.")),
    (r"\b(you look|you are|you're) (nice|beautiful|pretty|great|good|lovely|handsome|cool|funny)\b", (
        "Thank you! The photographer did half of the work.", "That is kind of you{comma_name}.")),
    (r"\b(love|like) you\b", ("That is kind. I like talking with you as well.", "Thank you{comma_name}!")),
    (r"\bwhere are you\b|\bwhere (do you|are you) (live|from)\b", (
        "Inside a picture, on the server of this page.", "I live between two frames of a video.")),
    (r"\bhow old\b", ("As old as my photo, and a little younger every time it is loaded.",)),
    (r"^\W*(hi|hello|hey|good (morning|afternoon|evening)|greetings)\b", (
        "Hello{comma_name}! Good to see you.", "Hi{comma_name}! What is on your mind?")),
    (r"^\W*(yes|yeah|yep|sure|of course|ok|okay)\b", ("Good.", "All right! Go on.", "I thought so.")),
    (r"^\W*(no|nope|not really)\b", ("All right, as you like.", "No problem.")),
    (r"^\W*why\b", ("Because it stands in my script.", "I often wonder about that myself.")),
    (r"\?\s*$", (
        "That is a good question{comma_name}. My script has no answer to it.",
        "I do not know. Ask me about myself, that I can answer.")),
)
_NAME = re.compile(r"\b(?:my name is|my name's|call me|i am called|i'm called)\s+([^\W\d_][\w'’-]{0,29})", re.I)
_NAME_ALONE = re.compile(r"^\W*(?:i am|i'm|it's|it is)?\s*([^\W\d_][\w'’-]{1,29})\W*$", re.I)
_ASKS_NAME = re.compile(r"your name[?,]", re.I)
_NO_NAMES = frozenset("yes no hi hello hey ok okay thanks why what who how help fine good great sad tired bye here me sure "
                      "well bored angry stop please nothing nobody".split())


class CompanionMind:
    """A `Mind` without a model; the same history always gives the same answer."""

    async def reply(self, history: Iterable[Message], instructions: str) -> AsyncIterator[str]:
        yield answer(list(history))


def answer(history: list[Message]) -> str:
    """What the script says to the newest message."""
    turn = sum(message.role == "assistant" for message in history)
    said = [message for message in history if message.role == "user"]
    if not said:
        return _GREETINGS[turn % len(_GREETINGS)]
    name = known_name(history)
    variants = _variants(history, said[-1], name)
    return _filled(variants[_turns_like(history, said[-1]) % len(variants)], said[-1], name)


def known_name(history: list[Message]) -> str | None:
    """The name that the user gave last."""
    name, asked = None, False
    for message in history:
        if message.role == "assistant":
            asked = bool(_ASKS_NAME.search(message.text))
            continue
        found = _NAME.search(message.text) or (_NAME_ALONE.match(message.text) if asked else None)
        if found and found[1].lower() not in _NO_NAMES:
            name = found[1][:1].upper() + found[1][1:]
    return name


def _variants(history: list[Message], newest: Message, name: str | None) -> tuple[str, ...]:
    if not newest.text:
        seconds = newest.speech_s or 0.0
        return _HEARD_SHORT if seconds < 1.5 else _HEARD if seconds < 8 else _HEARD_LONG
    without = [message for message in history if message is not newest]
    if name is not None and known_name(without) != name:
        return _NAMED
    text = newest.text.lower().replace("’", "'")
    return next((variants for pattern, variants in _SCRIPT if re.search(pattern, text)), _OTHERWISE)


def _turns_like(history: list[Message], newest: Message) -> int:
    """How many messages before were of the same sort, so that the same sentence does not come twice in a row."""
    earlier = [message for message in history if message.role == "user" and message is not newest]
    name = known_name(history)
    mine = _variants(history, newest, name)
    return sum(_variants(history, message, name) is mine for message in earlier)


def _filled(sentence: str, newest: Message, name: str | None) -> str:
    remembered = f"Your name is {name}, you told me." if name else "You have not told me your name yet."
    return sentence.format(name=name or "", comma_name=f", {name}" if name else "", name_or_not=remembered,
                           seconds=max(1, round(newest.speech_s or 0)))
