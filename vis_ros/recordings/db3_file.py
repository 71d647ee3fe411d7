"""Db3File: the messages of a .db3 file, an SQLite database."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from vis_ros.recordings.bag_files import BagError
from vis_ros.recordings.mcap_file import TopicKey

_REPAIR = '`sqlite3 FILE .recover` saves what is left'


class Db3File:
    """The messages of a .db3 file. For the fields see `McapFile`; a database that is damaged is read up to there."""

    damage = ''

    def __init__(self, path: Path) -> None:
        """Open the file and count its messages.

        Raises:
            BagError: it is not a bag, or damaged.
        """
        self._path = path
        self.counts: Counter[TopicKey] = Counter()
        self.foreign: Counter[TopicKey] = Counter()
        self._topics: dict[int, TopicKey] = {}
        with self._connected('cannot be read as a bag') as database:
            if not all(_is_plain_table(database, name) for name in ('topics', 'messages')):
                raise BagError(f'{path} is not a bag: a database without the tables topics and messages')
            counted = dict(database.execute('SELECT topic_id, count(*) FROM messages GROUP BY topic_id'))
            for number, name, kind, serialization in database.execute(
                'SELECT id, name, type, serialization_format FROM topics ORDER BY id'
            ):
                is_cdr = serialization == 'cdr'
                key = str(name), str(kind) if is_cdr else f'{kind} in {serialization}'
                (self.counts if is_cdr else self.foreign)[key] += counted.pop(number, 0)
                if is_cdr:
                    self._topics[number] = key
            if counted:
                raise BagError(f'{path} is damaged: {sum(counted.values())} messages belong to no topic. {_REPAIR}')
            first, last = database.execute('SELECT min(timestamp), max(timestamp) FROM messages').fetchone()
        self.times_ns = [first, last] if isinstance(first, int) and isinstance(last, int) else []

    def messages(self, topics: Collection[TopicKey], start_ns: int | None) -> Iterator[tuple[TopicKey, int, bytes]]:
        """See `McapFile.messages`."""
        wanted = [number for number, key in self._topics.items() if key in topics]
        marks = ', '.join('?' * len(wanted))
        query = (
            f'SELECT topic_id, timestamp, data FROM messages WHERE topic_id IN ({marks}) AND timestamp >= ? '
            'ORDER BY timestamp, id'
        )
        with self._connected('is damaged') as database:
            for number, recorded_ns, data in database.execute(
                query, (*wanted, -(1 << 63) if start_ns is None else start_ns)
            ):
                if not isinstance(data, bytes) or not isinstance(recorded_ns, int):
                    raise BagError(f'{self._path} is damaged: a message without bytes or time. {_REPAIR}')
                yield self._topics[number], recorded_ns, data

    @contextmanager
    def _connected(self, fault: str) -> Iterator[sqlite3.Connection]:
        # In an address of a file the characters # ? % have a meaning of their own: `as_uri` quotes them.
        address = f'{self._path.absolute().as_uri()}?mode=ro&immutable=1'
        try:
            database = sqlite3.connect(address, uri=True)
            try:
                database.execute('PRAGMA trusted_schema = OFF')
                yield database
            finally:
                database.close()
        except (sqlite3.Error, UnicodeDecodeError, OverflowError) as error:
            raise BagError(f'{self._path} {fault}: {error}. {_REPAIR}') from error


def _is_plain_table(database: sqlite3.Connection, name: str) -> bool:
    """Whether a table is there and its values are stored in it: a view or a computed column could have no end."""
    query = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND rootpage > 0 AND name = ?"
    columns = database.execute('SELECT hidden FROM pragma_table_xinfo(?)', (name,))
    return database.execute(query, (name,)).fetchone() == (1,) and not any(hidden for (hidden,) in columns)
