"""`vis-ros data synth`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vis_ros.cli.console import console, progress


def synth(
    out: Annotated[Path, typer.Argument(help='Folder for instances.json, JPEGImages and bag.')],
    seed: Annotated[int, typer.Option(min=0, help='The same seed makes the same videos.')] = 0,
    videos: Annotated[int, typer.Option(min=1, help='How many.')] = 4,
    frames: Annotated[int, typer.Option(min=2, help='Length of each video.')] = 80,
    rate: Annotated[float, typer.Option(min=0.1, help='Frames per second.')] = 10.0,
    height: Annotated[int, typer.Option(min=32, help='Of the frames, in pixels.')] = 360,
    width: Annotated[int, typer.Option(min=32, help='Of the frames, in pixels.')] = 640,
    images: Annotated[
        Path | None, typer.Option(help='Folder of images of a COCO data set: compose videos from its objects.')
    ] = None,
    annotations: Annotated[Path | None, typer.Option(help='Its instance JSON.')] = None,
) -> None:
    """Make labelled videos: the scene of the demo, or objects of a COCO data set that move over its images."""
    from vis_ros.datasets import youtube_vis
    from vis_ros.datasets.bag_annotations import write_bag
    from vis_ros.synthetic.coco_images import CocoDataset
    from vis_ros.synthetic.synthetic_video import composites, scenes

    if (images is None) != (annotations is None):
        raise ValueError('--images and --annotations belong together: the pictures of a COCO data set and its JSON')
    bag = out / 'bag'
    for there in (bag, out / 'instances.json'):
        if there.exists():
            raise FileExistsError(f'{there} exists already: choose another folder, or remove it')
    if images is None or annotations is None:
        made = scenes(videos, frames, (height, width), rate, seed)
    else:
        dataset = CocoDataset(images, annotations)
        if dataset.problems:
            console.print(dataset.report())
        made = composites(dataset, videos, frames, (height, width), rate, seed)
    with progress('writing', 2 * videos * frames) as (bar, task):
        losses = youtube_vis.write(made, out, lambda: bar.advance(task))
    with console.status('writing the bag'):
        write_bag(made, bag)
    for loss in losses:
        console.print(f'not in instances.json: {loss}')
    console.print(f'wrote {videos} videos of {frames} frames: {out}/instances.json with pictures, and {bag}')
