"""Show the tracker one object in the first frame with a box, and keep it. Needs torch.

python examples/prompt_an_object.py drive.mcap 100 80 160 170      # x0 y0 x1 y1 in pixels
"""

import sys

import vis_ros


def main(recording: str, *corners: str) -> None:
    x0, y0, x1, y1 = map(float, corners)
    model = vis_ros.load('demo', model='feelvos', start_from='prompts')
    tracker = model.tracker()
    track_id = 0
    for frame in vis_ros.open(recording):
        objects = tracker.step(frame.image, frame.stamp)
        if not track_id:  # a prompt refers to a frame that the tracker has seen
            try:
                track_id = tracker.prompt(box=(x0, y0, x1, y1))  # or mask=(height, width) array, or point=(x, y)
            except vis_ros.PromptError as error:
                sys.exit(f'that is not possible: {error}')
            print(f'following track {track_id} from {frame.name}')
            continue
        print(frame.name, objects[objects.track_ids == track_id])
    tracker.forget(track_id)


if __name__ == '__main__':
    main(*sys.argv[1:])
