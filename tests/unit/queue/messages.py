"""Messages for a relay door."""

import pytest

from checkpw.errors import MessageRefused
from checkpw.smtp.events import Envelope

TEXT = b"Subject: x\n\n.body\n"


def envelope(*recipients, words=(), **named):
    """Make an envelope."""
    made = Envelope(b"a@b", list(words), **named)
    for recipient in recipients or (b"c@d",):
        made.add(recipient, [])
    return made


def deliver(door, text=TEXT, to=None):
    """Send a message, and give the words of the hop."""
    delivery = yield from door.open(to or envelope(), {})
    yield from delivery.write(text)
    return (yield from delivery.commit())


def refused(steps):
    """Expect a refusal, and give it as a triple."""
    with pytest.raises(MessageRefused) as caught:
        yield from steps
    return caught.value.code, caught.value.enhanced, caught.value.reply_text
