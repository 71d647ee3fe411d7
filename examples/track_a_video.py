"""Track the objects of a recording, print them, and save one picture per frame.

python examples/track_a_video.py drive.mcap pictures/      # or a video file, or a folder of images
"""

import sys
from pathlib import Path

import cv2

import vis_ros


def main(recording: str, folder: str) -> None:
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    tracker = vis_ros.load('demo').tracker()  # one tracker per camera
    for frame in vis_ros.open(recording):
        objects = tracker.step(frame.image, frame.stamp)  # BGR image, seconds
        print(f'{frame.name} at {frame.stamp:.2f} s')
        print(objects)  # one line per object: track id, class, score, box
        people = [each for each in objects if each.names == ['person']]
        for person in people:
            mask = person.full_mask(0)  # (height, width) uint8, 0 or 1
            print(f'  person {person.track_ids[0]} covers {mask.mean():.1%} of the image')
        cv2.imwrite(str(out / f'{frame.index:05d}.jpg'), objects.draw(frame.image))


if __name__ == '__main__':
    main(*sys.argv[1:])
