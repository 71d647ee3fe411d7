"""The colors of track ids, and which ink is legible on them."""

from __future__ import annotations

Color = tuple[int, int, int]
"""Blue, green and red, as OpenCV draws them."""

BLACK: Color = (0, 0, 0)
WHITE: Color = (255, 255, 255)

PALETTE: tuple[str, ...] = (
    *('#44ffdd', '#7744aa', '#cc5566', '#ddaa11', '#337700', '#11bbaa', '#4444ff', '#aa2277'),
    *('#ff6655', '#11ccff', '#66ff99', '#8877bb', '#aa2244', '#cc7700', '#ff88aa', '#ddcc66'),
    *('#2277ee', '#007755', '#11eeff', '#dd0011', '#dd4499', '#77aa66', '#bbff44', '#33aaff'),
)
"""Found by search for the largest least difference (CIEDE2000) between any two colors, and a larger one between
neighbors in the list, in normal vision and in simulated protanopia and deuteranopia. None is nearly gray."""


def identity_color(number: int) -> Color:
    """The BGR color of a track id, the same in every picture. After len(PALETTE) ids the colors repeat."""
    value = int(PALETTE[number % len(PALETTE)][1:], 16)
    return value & 255, value >> 8 & 255, value >> 16


def ink_on(color: Color) -> Color:
    """Black or white, whichever has the higher contrast (WCAG 2.1) with a BGR color."""
    blue, green, red = (_linear(channel / 255) for channel in color)
    luminance = 0.0722 * blue + 0.7152 * green + 0.2126 * red
    return BLACK if (luminance + 0.05) ** 2 > 1.05 * 0.05 else WHITE


def _linear(value: float) -> float:
    """Linear light of a channel of sRGB."""
    return float(value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4)
