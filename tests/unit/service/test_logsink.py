"""Log lines that nobody reads hold nobody up."""

import asyncio
import os

from checkpw.service.logsink import AT_ONCE, DELAY, MOST_HELD, LogSink


def _drain(reading):
    os.set_blocking(reading, False)
    text = b""
    while True:
        try:
            piece = os.read(reading, 65536)
        except BlockingIOError:
            return text
        if not piece:
            return text
        text += piece


def test_lines_are_written_together_and_in_order():
    """Each write is whole lines, no more than the kernel keeps together."""
    reading, writing = os.pipe2(os.O_DIRECT)  # each write is read by itself
    loop = asyncio.new_event_loop()
    sink = LogSink(loop, "x", writing)
    lines = [b"line %d %s\n" % (number, b"x" * 900) for number in range(10)]
    for line in lines:
        sink.write(line)
    loop.call_later(20 * DELAY, loop.stop)
    loop.run_forever()
    pieces = []
    os.set_blocking(reading, False)
    for _ in range(10):
        try:
            pieces.append(os.read(reading, 65536))
        except BlockingIOError:
            break
    assert b"".join(pieces) == b"".join(lines)
    assert 1 < len(pieces) < 10
    assert all(len(piece) <= AT_ONCE and piece.endswith(b"\n") for piece in pieces)
    loop.close()
    os.close(reading)
    os.close(writing)


def test_what_nobody_reads_is_lost_and_counted():
    """Memory is bounded; once somebody reads again, the log says how much is missing."""
    reading, writing = os.pipe()
    loop = asyncio.new_event_loop()
    sink = LogSink(loop, "x", writing)
    line = b"y" * 1000 + b"\n"
    for _ in range(2 * MOST_HELD // len(line)):
        sink.write(line)
    sink.flush()  # comes back although the pipe is full
    text = b""
    for _ in range(200):
        text += _drain(reading)
        sink.flush()
        if b"lost=" in text:
            break
    assert text.startswith(line)
    assert b"x: event=warning lost=" in text
    assert len(text) <= MOST_HELD + 65536 + AT_ONCE
    loop.close()
    os.close(reading)
    os.close(writing)


def test_a_closed_log_is_no_trouble():
    """Mail goes on without a log."""
    reading, writing = os.pipe()
    os.close(reading)
    loop = asyncio.new_event_loop()
    sink = LogSink(loop, "x", writing)
    sink.write(b"line\n")
    sink.flush()
    sink.write(b"line\n")
    sink.flush()
    loop.close()
    os.close(writing)
