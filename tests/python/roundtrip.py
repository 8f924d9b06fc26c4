"""A Python program uses libcrvideo by ctypes, in PUMP mode: two users, a command, a buffer and a file between them.

Everything happens on this one thread: the library calls back inside CRVideo_PollEvents only, so the interpreter never
sees a foreign thread. Started by tests/python_ctypes.rs as

    roundtrip.py LIBRARY RELAY PROJECT SECRET DIRECTORY

Ends with status 0 when everything arrived as it was sent.
"""

import ctypes
import gc
import hashlib
import os
import sys
import threading
import time
from ctypes import c_char_p, c_int, c_int32, c_size_t, c_uint32, c_uint64, c_void_p

NOERR = 0
TARGET_INVALID = 1102
TASK_ID_SIZE = 37


class Config(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("flags", c_uint32),
        ("queue", c_uint64),
        ("download_dir", c_char_p),
        ("buffer_limit", c_uint64),
        ("inbound_limit", c_uint64),
        ("outbound_limit", c_uint64),
        ("task_limit", c_uint32),
        ("cmd_timeout_ms", c_uint32),
        ("transfer_timeout_ms", c_uint32),
        ("offer_timeout_ms", c_uint32),
        ("file_ttl_s", c_uint32),
        ("reserved", c_uint32),
    ]


class LoginInfo(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("project", c_int32),
        ("servers", c_char_p),
        ("user_id", c_char_p),
        ("token", c_char_p),
        ("secret", c_char_p),
    ]


RSLT = ctypes.CFUNCTYPE(None, c_void_p, c_int, c_void_p)
SEND_RLST = ctypes.CFUNCTYPE(None, c_void_p, c_char_p, c_int, c_void_p)
SEND_FILE_RLST = ctypes.CFUNCTYPE(None, c_void_p, c_char_p, c_char_p, c_int, c_void_p)
SEND_PROGRESS = ctypes.CFUNCTYPE(None, c_void_p, c_char_p, c_uint64, c_uint64, c_void_p)
NOTIFY_DATA = ctypes.CFUNCTYPE(None, c_void_p, c_char_p, c_char_p, c_void_p, c_size_t)
NOTIFY_FILE = ctypes.CFUNCTYPE(None, c_void_p, c_char_p, c_char_p, c_char_p, c_char_p)


def load(path):
    library = ctypes.CDLL(path)
    library.CRVideo_ErrText.restype = c_char_p
    library.CRVideo_ErrText.argtypes = [c_int]
    library.CRVideo_Version.restype = c_char_p
    library.CRVideo_ConfigInit.restype = None
    library.CRVideo_LoginInfoInit.restype = None
    library.CRVideo_CreateQueue.argtypes = [ctypes.POINTER(c_uint64)]
    library.CRVideo_DestroyQueue.argtypes = [c_uint64]
    library.CRVideo_PollEvents.argtypes = [c_uint64, c_uint32, ctypes.POINTER(c_uint32)]
    library.CRVideo_Create.argtypes = [ctypes.POINTER(Config), ctypes.POINTER(c_uint64)]
    library.CRVideo_Destroy.argtypes = [c_uint64]
    library.CRVideo_Login.argtypes = [c_uint64, ctypes.POINTER(LoginInfo), c_void_p]
    library.CRVideo_SendCmd.argtypes = [c_uint64, c_char_p, c_char_p, c_size_t, c_void_p, c_void_p, c_char_p]
    library.CRVideo_SendBuffer.argtypes = library.CRVideo_SendCmd.argtypes
    library.CRVideo_SendFile.argtypes = [c_uint64, c_char_p, c_char_p, c_void_p, c_void_p, c_char_p]
    for name, callback in SETTERS.items():
        getattr(library, f"CRVideo_Set{name}Callback").argtypes = [c_uint64, callback, c_void_p]
    return library


SETTERS = {
    "LoginRslt": RSLT,
    "SendCmdRlst": SEND_RLST,
    "SendBufferRlst": SEND_RLST,
    "SendFileRlst": SEND_FILE_RLST,
    "SendProgress": SEND_PROGRESS,
    "NotifyCmdData": NOTIFY_DATA,
    "NotifyBufferData": NOTIFY_DATA,
    "NotifyFileData": NOTIFY_FILE,
}


class User:
    """A logged-in session; what happens to it is appended to `events`."""

    def __init__(self, library, queue, relay, project, secret, name, download_dir):
        self.library, self.queue, self.events = library, queue, []
        self.thread = threading.get_ident()
        config = Config()
        library.CRVideo_ConfigInit(ctypes.byref(config))
        assert config.struct_size == ctypes.sizeof(Config), config.struct_size
        config.queue = queue
        config.download_dir = os.fsencode(download_dir)
        self.session = c_uint64()
        check(library, library.CRVideo_Create(config, self.session))

        # ctypes forgets a callback that Python does not hold.
        self.callbacks = {
            "LoginRslt": RSLT(lambda user, err, cookie: self.note("login", err)),
            "SendCmdRlst": SEND_RLST(lambda user, task, err, cookie: self.note("cmd", task, err, cookie)),
            "SendBufferRlst": SEND_RLST(lambda user, task, err, cookie: self.note("buffer", task, err, cookie)),
            "SendFileRlst": SEND_FILE_RLST(
                lambda user, task, path, err, cookie: self.note("file", task, path, err, cookie)
            ),
            "SendProgress": SEND_PROGRESS(
                lambda user, task, sent, total, cookie: self.note("progress", task, sent, total, cookie)
            ),
            "NotifyCmdData": NOTIFY_DATA(
                lambda user, source, task, data, size: self.note("got cmd", source, task, ctypes.string_at(data, size))
            ),
            "NotifyBufferData": NOTIFY_DATA(
                lambda user, source, task, data, size: self.note(
                    "got buffer", source, task, ctypes.string_at(data, size)
                )
            ),
            "NotifyFileData": NOTIFY_FILE(
                lambda user, source, task, tmp, name: self.note("got file", source, task, tmp, name)
            ),
        }
        for event, callback in self.callbacks.items():
            check(library, getattr(library, f"CRVideo_Set{event}Callback")(self.session, callback, None))

        info = LoginInfo()
        library.CRVideo_LoginInfoInit(ctypes.byref(info))
        assert info.struct_size == ctypes.sizeof(LoginInfo), info.struct_size
        info.project, info.servers = int(project), relay.encode()
        info.secret, info.user_id = secret.encode(), name.encode()
        check(library, library.CRVideo_Login(self.session, info, None))
        assert self.wait("login") == (NOERR,)

    def note(self, *event):
        assert threading.get_ident() == self.thread, "a callback on a foreign thread"
        self.events.append(event)

    def wait(self, kind):
        """Polls until an event of this kind is there, and takes it."""
        deadline = time.monotonic() + 60
        while True:
            for at, event in enumerate(self.events):
                if event[0] == kind:
                    del self.events[at]
                    return event[1:]
            assert time.monotonic() < deadline, f"no {kind!r} among {[event[0] for event in self.events]}"
            check(self.library, self.library.CRVideo_PollEvents(self.queue, 1000, None))

    def send(self, function, *args):
        task = ctypes.create_string_buffer(TASK_ID_SIZE)
        cookie = id(task)
        check(self.library, function(self.session, *args, None, cookie, task))
        return task.value, cookie


def check(library, err):
    assert err == NOERR, f"{err}: {library.CRVideo_ErrText(err).decode()}"


def run(library_path, relay, project, secret, directory):
    library = load(library_path)
    queue = c_uint64()
    check(library, library.CRVideo_CreateQueue(queue))
    inbox = os.path.join(directory, "收件箱")
    os.mkdir(inbox)
    alice = User(library, queue, relay, project, secret, "爱丽丝", inbox)
    bob = User(library, queue, relay, project, secret, "bob", inbox)
    gc.collect()

    # A command with a NUL inside, and one to nobody.
    sent = b"open\0door \xff"
    task, cookie = alice.send(library.CRVideo_SendCmd, b"bob", sent, len(sent))
    assert alice.wait("cmd") == (task, NOERR, cookie)
    assert bob.wait("got cmd") == ("爱丽丝".encode(), task, sent)
    task, cookie = alice.send(library.CRVideo_SendCmd, b"nobody", sent, len(sent))
    assert alice.wait("cmd") == (task, TARGET_INVALID, cookie)

    # A buffer.
    sent = hashlib.shake_128(b"buffer").digest(3_000_000)
    task, cookie = alice.send(library.CRVideo_SendBuffer, b"bob", sent, len(sent))
    assert alice.wait("buffer") == (task, NOERR, cookie)
    assert bob.wait("got buffer") == ("爱丽丝".encode(), task, sent)
    check_progress(alice, task, len(sent))

    # A file, back.
    sent = hashlib.shake_128(b"file").digest(5_000_001)
    path = os.path.join(directory, "年报.bin")
    with open(path, "wb") as file:
        file.write(sent)
    task, cookie = bob.send(library.CRVideo_SendFile, "爱丽丝".encode(), os.fsencode(path))
    assert bob.wait("file") == (task, os.fsencode(path), NOERR, cookie)
    source, got_task, received, name = alice.wait("got file")
    assert (source, got_task, name.decode()) == (b"bob", task, "年报.bin")
    assert os.path.dirname(received) == os.fsencode(inbox), received
    with open(received, "rb") as file:
        assert file.read() == sent
    assert os.stat(received).st_mode & 0o777 == 0o600
    check_progress(bob, task, len(sent))

    check(library, library.CRVideo_Destroy(alice.session))
    check(library, library.CRVideo_Destroy(bob.session))
    check(library, library.CRVideo_DestroyQueue(queue))
    assert not alice.events and not bob.events, (alice.events, bob.events)
    print("everything arrived, library", library.CRVideo_Version().decode())


def check_progress(user, task, total):
    seen = [event[2:4] for event in user.events if event[:2] == ("progress", task)]
    user.events = [event for event in user.events if event[:2] != ("progress", task)]
    assert seen[0] == (0, total) and seen[-1] == (total, total) and seen == sorted(seen), seen


if __name__ == "__main__":
    run(*sys.argv[1:])
