"""Faults inside the product's own processes, for tests: Python imports this first where its folder is on PYTHONPATH.

`plan.json` beside this file says which. Nothing of it is part of the product; each fault is one that real codecs,
engines, brokers and power supplies cause, at the one instant that matters.
"""

import errno
import importlib.abc
import importlib.util
import itertools
import json
import os
import random
import signal
import sys
import time
from datetime import datetime
from pathlib import Path

HERE = Path(__file__).parent
PLAN = json.loads((HERE / "plan.json").read_text())
POISON = b"\x01\xfe\x02\xfd\x03\xfc\x04\xfb"  # the last pixels of a frame that kills what decodes it


def _die(number=signal.SIGKILL):
    os.kill(os.getpid(), number)
    time.sleep(60)


def _only_once(name):
    """True for the first process, of all, that asks."""
    try:
        os.close(os.open(HERE / f"{name}.done", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def _wrap(owner, name, before):
    true = getattr(owner, name)

    def wrapped(*args, **kwargs):
        before(*args, **kwargs)
        return true(*args, **kwargs)

    setattr(owner, name, wrapped)


def decode_segfault(module):
    def before(frame, *_):
        if frame.values.tobytes().endswith(POISON):
            _die(signal.SIGSEGV)

    _wrap(module, "to_input", before)


def _of_constant_frame(act):
    def before(_engine, batch):
        if any(row.min() == row.max() for row in batch):
            act()

    return before


def engine_segfault(module):
    _wrap(module.CompiledEngine, "predict_with_maps", _of_constant_frame(lambda: _die(signal.SIGSEGV)))


def engine_hang(module):
    _wrap(module.CompiledEngine, "predict_with_maps", _of_constant_frame(lambda: time.sleep(3600)))


def load_segfault(module):
    _wrap(module, "load_keras_engine", lambda *_, **__: _die(signal.SIGSEGV))


def worker_dies_of_poison(module):
    """What kills the worker itself: the item is known only because its begin was committed."""

    def before(_self, path, *_):
        if path.read_bytes().endswith(POISON):
            _die()

    _wrap(module.Decoder, "frames", before)


def lose_delivery(module):
    """The worker dies between taking a message and noting that it has it: the broker forgets the message."""
    chance = random.Random(os.getpid())

    def before(*_, **__):
        if _only_once("lose_delivery") or chance.random() < PLAN["lose_delivery"]:
            _die()

    _wrap(module.QoS, "append", before)


def dies_before_hint(module):
    _wrap(module.HintSender, "send", lambda *_: _only_once("dies_before_hint") and _die())


def dies_before_commit(module):
    _wrap(module, "_index", lambda *_: _only_once("dies_before_commit") and _die())


def simulated_time(module):
    """The calendar goes by the time in a file. Who first makes a job from `dies_at` on lingers, and dies uncommitted.

    It lingers so that the others look at the same moment while it is locked.
    """
    plan, start = PLAN["simulated_time"], module.start_batch

    def now(_session=None):
        return datetime.fromisoformat((HERE / "now").read_text())

    def start_and_die(*given):
        made = start(*given)
        if now() >= datetime.fromisoformat(plan["dies_at"]) and _only_once("simulated_time"):
            time.sleep(plan["lingers_s"])
            _die()
        return made

    module.Calendar.__init__.__defaults__ = (now,)
    module.start_batch = start_and_die


def dies_before_rename(module):
    """Who writes the checkpoint of this number dies before it has its name, and half of it is lost."""
    replace, saved = module.Path.replace, itertools.count(1)

    def cut_and_die(path, target):
        is_checkpoint = path.name.startswith(module.CHECKPOINT_FILE)
        if is_checkpoint and next(saved) >= PLAN["dies_before_rename"] and _only_once("dies_before_rename"):
            os.truncate(path, path.stat().st_size // 2)
            _die()
        return replace(path, target)

    module.Path.replace = cut_and_die


def full_disk(module):
    """A checkpoint is written, and the disk is full; a moment later it is not."""
    replace = module.Path.replace

    def full(path, target):
        if path.name.startswith(module.CHECKPOINT_FILE) and _only_once("full_disk"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replace(path, target)

    module.Path.replace = full


def dies_before_keep(module):
    """The worker dies with the checkpoint of this number in the store's temporary folder, half of it lost."""
    put, saved = module.ContentStore.put_path, itertools.count(1)

    def put_or_die(store, path):
        is_checkpoint = path.name == "checkpoint.npz"
        if is_checkpoint and next(saved) >= PLAN["dies_before_keep"] and _only_once("dies_before_keep"):
            store.keep = lambda blob: (os.truncate(blob.path, blob.size_bytes // 2), _die())
        return put(store, path)

    module.ContentStore.put_path = put_or_die


def clock_skew(service, seconds):
    import time_machine

    time_machine.travel(time.time() + seconds, tick=True).start()
    (HERE / f"{service}.clock").write_text(str(time.time()))


HOOKS = {
    "decode_segfault": ("worker.inference.decode", decode_segfault),
    "engine_segfault": ("worker.engines.compiled", engine_segfault),
    "engine_hang": ("worker.engines.compiled", engine_hang),
    "load_segfault": ("worker.engines.keras", load_segfault),
    "worker_dies_of_poison": ("worker.inference.decode", worker_dies_of_poison),
    "lose_delivery": ("kombu.transport.redis", lose_delivery),
    "dies_before_hint": ("shared.queue", dies_before_hint),
    "dies_before_commit": ("api.intake.store", dies_before_commit),
    "simulated_time": ("scheduler.calendar", simulated_time),
    "dies_before_rename": ("worker.training.learn", dies_before_rename),
    "full_disk": ("worker.training.learn", full_disk),
    "dies_before_keep": ("shared.storage", dies_before_keep),
}


class _Finder(importlib.abc.MetaPathFinder):
    """Gives a module its fault right after it was imported."""

    def __init__(self, hooks):
        self._hooks = hooks

    def find_spec(self, name, path=None, target=None):
        if name not in self._hooks:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        hook, loader = self._hooks.pop(name), spec.loader
        exec_module = loader.exec_module

        def exec_and_hook(module):
            exec_module(module)
            hook(module)

        loader.exec_module = exec_and_hook
        return spec


sys.meta_path.insert(0, _Finder({HOOKS[name][0]: HOOKS[name][1] for name in PLAN if name in HOOKS}))
# Only services whose clocks are said to be wrong: their names are in the command line that Python was started with.
for service, seconds in PLAN.get("clock_skew", {}).items():
    if f"{service}.serve".encode() in Path("/proc/self/cmdline").read_bytes():
        clock_skew(service, seconds)
