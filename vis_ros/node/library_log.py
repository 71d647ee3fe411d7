"""LibraryLog: log records of the package (Python's logging) in the ROS log of the node."""

from __future__ import annotations

import logging

from rclpy.impl.rcutils_logger import RcutilsLogger


class LibraryLog(logging.Handler):
    """Forwards log records of the package to a ROS logger until it is closed.

    newest: text of the last record, '' before the first.
    """

    def __init__(self, logger: RcutilsLogger) -> None:
        super().__init__(logging.INFO)
        self.newest = ''
        self._logger = logger
        self._package = logging.getLogger('vis_ros')
        self._package.addHandler(self)
        self._package.setLevel(logging.INFO)

    def emit(self, record: logging.LogRecord) -> None:
        self.newest = record.getMessage()
        if record.levelno >= logging.ERROR:
            self._logger.error(self.newest)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(self.newest)
        else:
            self._logger.info(self.newest)

    def close(self) -> None:
        self._package.removeHandler(self)
        super().close()
