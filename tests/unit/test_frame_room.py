"""Room for the frames that wait for the engine: bounded in bytes, and never closed for good."""

import threading

from worker.inference.room import FrameRoom

WAIT_S = 5.0


def taking(room: FrameRoom, size_bytes: int) -> threading.Event:
    """Take in a thread; the event is set once there was room."""
    taken = threading.Event()

    def take() -> None:
        room.take(size_bytes)
        taken.set()

    threading.Thread(target=take, daemon=True).start()
    return taken


def test_take_waits_when_the_room_is_used_up() -> None:
    room = FrameRoom(10)
    room.take(6)

    second = taking(room, 5)
    assert not second.wait(0.05)
    room.give_back(6)

    assert second.wait(WAIT_S)


def test_take_lets_a_frame_in_alone_when_it_is_larger_than_the_room() -> None:
    room = FrameRoom(10)
    room.take(1)

    large = taking(room, 100)
    assert not large.wait(0.05)
    room.give_back(1)

    assert large.wait(WAIT_S)
    small = taking(room, 1)
    assert not small.wait(0.05)
    room.give_back(100)
    assert small.wait(WAIT_S)
