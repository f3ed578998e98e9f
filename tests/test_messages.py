"""Messages of worker processes."""

from __future__ import annotations

import pickle
from multiprocessing import connection

from pipeline.work.messages import Mailbox


def test_a_process_connects_once_for_all_its_tasks(monkeypatch):
    """Each task brings a sender of its own, and to connect takes as long as to read a series."""
    opened, connect = [], connection.Client
    monkeypatch.setattr(connection, "Client", lambda *a, **k: opened.append(a) or connect(*a, **k))
    mailboxes = Mailbox(), Mailbox()
    for number, mailbox in enumerate(mailboxes, 1):
        for task in "ab":
            sender = pickle.loads(pickle.dumps(mailbox.sender()))
            sender.put((task, number))
        assert len(opened) == number
        assert [mailbox.messages.get(timeout=5) for _ in "ab"] == [("a", number), ("b", number)]
    monkeypatch.undo()
    for mailbox in mailboxes:
        mailbox.close()
    sender.put("nobody hears this, and nothing fails")
