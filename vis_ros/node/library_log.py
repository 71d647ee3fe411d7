"""LibraryLog: what the library says while it works (Python's logging) in the log of the node."""

from __future__ import annotations

import logging

from rclpy.impl.rcutils_logger import RcutilsLogger


class LibraryLog(logging.Handler):
    """Passes records of the package on to a ROS logger until it is closed. `newest`: the last text; '' for none."""

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
