"""PayloadBits: the numbers in the headers of H.264 and H.265."""

from __future__ import annotations


class PayloadBits:
    """Reads numbers from the payload of a NAL unit. Raises IndexError at its end."""

    def __init__(self, payload: bytes) -> None:
        plain = payload.replace(b'\0\0\3', b'\0\0')  # the 3 keeps a start code from arising in the payload
        self._left = 8 * len(plain)
        self._value = int.from_bytes(plain, 'big')

    def take(self, count: int) -> int:
        """The next bits as a number."""
        self._left -= count
        if self._left < 0:
            raise IndexError('the payload ends')
        return self._value >> self._left & (1 << count) - 1

    def code(self) -> int:
        """The next number in Exp-Golomb code. Of one with a sign this is its code."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)

    def codes(self, count: int) -> None:
        """Skip numbers in Exp-Golomb code."""
        for _ in range(count):
            self.code()
