"""`vis-ros data synth`: generate annotated videos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vis_ros.cli.console import console, progress


def synth(
    out: Annotated[Path, typer.Argument(help='Folder for instances.json, JPEGImages and bag.')],
    seed: Annotated[int, typer.Option(min=0, help='Random seed. The same seed gives the same videos.')] = 0,
    videos: Annotated[int, typer.Option(min=1, help='Number of videos.')] = 4,
    frames: Annotated[int, typer.Option(min=2, help='Frames per video.')] = 80,
    rate: Annotated[float, typer.Option(min=0.1, help='Frames per second.')] = 10.0,
    height: Annotated[int, typer.Option(min=32, help='Image height in pixels.')] = 360,
    width: Annotated[int, typer.Option(min=32, help='Image width in pixels.')] = 640,
    images: Annotated[
        Path | None, typer.Option(help='Image folder of a COCO dataset, to compose videos from its objects.')
    ] = None,
    annotations: Annotated[Path | None, typer.Option(help='Instance JSON of that dataset.')] = None,
) -> None:
    """Generate annotated videos: the shapes of the demo, or objects of a COCO dataset moving over its images."""
    from vis_ros.datasets.bag_annotations import write_bag
    from vis_ros.datasets.youtube_vis import write_youtube_vis
    from vis_ros.synthetic.coco_images import CocoDataset
    from vis_ros.synthetic.synthetic_video import composites, scenes
    from vis_ros.whole_folder import whole_folder

    if (images is None) != (annotations is None):
        raise ValueError('give both --images and --annotations of the COCO dataset, or neither')
    if images is None or annotations is None:
        synthetic = scenes(videos, frames, (height, width), rate, seed)
    else:
        dataset = CocoDataset(images, annotations)
        if dataset.problems:
            console.print(dataset.report())
        synthetic = composites(dataset, videos, frames, (height, width), rate, seed)
    with whole_folder(out) as written, progress('writing', 3 * videos * frames) as (bar, task):
        losses = write_youtube_vis(synthetic, written, lambda: bar.advance(task))
        write_bag(synthetic, written / 'bag', lambda: bar.advance(task))
    for loss in losses:
        console.print(f'the bag keeps, and instances.json does not: {loss}')
    console.print(f'wrote {videos} videos of {frames} frames: {out}/instances.json with JPEGImages, and {out}/bag')
