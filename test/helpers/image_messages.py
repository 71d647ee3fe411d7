"""Image messages, made without the code under test."""

from array import array

import cv2
from sensor_msgs.msg import CompressedImage, Image


def image_message(image, encoding='bgr8'):
    """An Image of (H, W, 3) uint8 BGR pixels, without padding."""
    height, width = image.shape[:2]
    return Image(
        height=height, width=width, encoding=encoding, step=image.nbytes // height, data=array('B', image.tobytes())
    )


def compressed_message(image, kind='jpeg'):
    """A CompressedImage of (H, W, 3) uint8 BGR pixels, 'jpeg' or 'png'."""
    file = cv2.imencode(f'.{kind}', image)[1].tobytes()
    return CompressedImage(format=f'bgr8; {kind} compressed bgr8', data=array('B', file))
