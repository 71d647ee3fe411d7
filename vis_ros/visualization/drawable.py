"""drawable: text as OpenCV can draw it."""


def drawable(text: str) -> str:
    r"""A text with ? for what is not Unicode, as in a file name of an old encoding: OpenCV 5 crashes there.

    >>> drawable('caf\udce9')
    'caf?'
    """
    return text.encode('utf-8', 'replace').decode()
